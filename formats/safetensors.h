// safetensors: read mapped and sharded, write atomically and sharded (shared layout facts:
// huggingface/safetensors).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/files.h"
#include "formats/file_tree.h"
#include "formats/tensor_type.h"

namespace wring {

// Where one tensor lies in one file.
struct SafetensorsEntry {
  std::string name;
  ElementType type;
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  // from the start of the file
  std::uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by offset
  std::map<std::string, std::string> metadata;
};

// Parses and checks the header of a safetensors file: length limit 100 MB, no hole, overlap, duplicate or
// overflow, size = product of shape, data within the file. Throws Error(kDataLoss or kInvalidArgument,
// "BAD_SAFETENSORS") that names the file, the tensor and what is wrong, before anything is allocated for a
// lie.
SafetensorsHeader read_safetensors_header(const FileView& file);

// All tensors of a model folder: model.safetensors, or the shards of model.safetensors.index.json, or, where
// neither is there, every *.safetensors file. Immutable; any thread may read it.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const FileTree& tree);

  std::vector<std::string> names() const;  // sorted
  bool has(const std::string& name) const;
  const SafetensorsEntry& entry(const std::string& name) const;
  FileTensor tensor(const std::string& name) const;  // throws kNotFound "NO_SUCH_TENSOR"
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  struct Place {
    std::size_t file;
    SafetensorsEntry entry;
  };
  std::vector<FileView> files_;
  std::map<std::string, Place> places_;
  std::map<std::string, std::string> metadata_;
};

// A tensor to be written: its bytes are asked for only when its turn comes, so a model larger than memory can
// be written.
struct TensorToWrite {
  std::string name;
  ElementType type;
  std::vector<std::int64_t> shape;
  std::function<Bytes()> data;
};

inline constexpr std::uint64_t kShardBytes = 5'000'000'000;

// Writes `tensors` (in the given order) to folder/STEM.safetensors, or, above `shard_bytes`, to
// STEM-0000i-of-0000n.safetensors with STEM.safetensors.index.json. metadata gets {"format": "pt"} unless it
// has it. Each file is written to a temporary name and renamed. Offsets are 64-byte aligned (header
// padding, not holes).
void write_safetensors(const std::filesystem::path& folder, const std::string& stem,
                       const std::vector<TensorToWrite>& tensors,
                       std::map<std::string, std::string> metadata = {},
                       std::uint64_t shard_bytes = kShardBytes, Durability durability = Durability::kMachine);

}  // namespace wring
