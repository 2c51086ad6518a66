// Arrays of other tools' data sets: NumPy's .npz, and the idx files of MNIST.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/tensor_type.h"

namespace wring {

inline constexpr std::uint64_t kMostArrayBytes = 1ull << 34;

// The arrays of an archive that numpy.savez or savez_compressed wrote, in its order, without ".npy" in their
// names. Throws Error(kInvalidArgument, "BAD_NPZ") that names the file and the array; kUnimplemented
// "UNSUPPORTED_NPZ" for ZIP64, other compressions, big-endian, Fortran order, and types that are no
// ElementType.
std::vector<FileTensor> read_npz(const FileView& file);

// An idx file of bytes, also where it is gzipped: [items, ...]. Throws Error(kInvalidArgument, "BAD_IDX")
// that names the file.
FileTensor read_idx(const FileView& file);

}  // namespace wring
