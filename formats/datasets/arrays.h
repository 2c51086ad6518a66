// Arrays of other tools' data sets: NumPy's .npz, and the idx files of MNIST.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/tensor_type.h"

namespace wring {

inline constexpr std::uint64_t kMostArrayBytes = 1ull << 34;

// An archive that numpy.savez or savez_compressed wrote. Only its directory is read until an array is asked
// for. Throws Error(kInvalidArgument, "BAD_NPZ") that names the file and the array; kUnimplemented
// "UNSUPPORTED_NPZ" for ZIP64, other compressions, big-endian, Fortran order, and types that are no
// ElementType.
class NpzReader {
 public:
  explicit NpzReader(FileView file);

  std::vector<std::string> names() const;              // without ".npy", in the archive's order
  std::uint64_t bytes(const std::string& name) const;  // once it is unpacked, its header with it
  FileTensor read(const std::string& name) const;      // its checksum is compared

 private:
  struct Entry {
    std::string name;
    std::uint16_t method;
    std::uint32_t checksum;              // CRC-32 of the bytes in the end
    std::uint64_t packed, size, header;  // bytes as they lie, bytes in the end, where its header is
  };
  static std::vector<Entry> directory(const FileView& file);
  const Entry& entry(const std::string& name) const;
  Bytes unpack(const Entry& entry) const;

  FileView file_;
  std::vector<Entry> entries_;
};

// An idx file of bytes, also where it is gzipped and makes at most `most`: [items, ...]. Throws
// Error(kInvalidArgument, "BAD_IDX") that names the file.
FileTensor read_idx(const FileView& file, std::uint64_t most = kMostArrayBytes);

}  // namespace wring
