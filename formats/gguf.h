// GGUF v3 read: keys, tensors, and their values as fp32 (format: ggml's gguf.md).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "formats/file_tree.h"
#include "formats/ggml_blocks.h"

namespace wring {

struct GgufTensor {
  std::string name;
  GgmlType type;
  std::vector<std::int64_t> shape;  // torch order: [out, in], the reverse of ggml's ne
  std::uint64_t offset = 0;         // from the start of the file
  std::uint64_t bytes = 0;
  std::uint64_t elements = 0;
};

// A key's value. Arrays hold values of one scalar kind.
struct GgufValue {
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string, std::vector<std::uint64_t>,
               std::vector<std::int64_t>, std::vector<double>, std::vector<bool>, std::vector<std::string>>
      value;
};

// One GGUF file. Immutable; any thread may read it. The constructor checks every count, length, product and
// offset against the size of the file before it allocates, and throws Error(kInvalidArgument or kDataLoss,
// "BAD_GGUF") that names the key or tensor and what is wrong. Other versions than 3 (and 2, same layout) are
// refused by name.
class GgufFile {
 public:
  explicit GgufFile(FileView file);

  const std::map<std::string, GgufValue>& keys() const { return keys_; }
  bool has_key(const std::string& key) const { return keys_.contains(key); }
  // A key's value as it lies in the file, its type first. Throws as the typed look-ups do.
  Bytes key_bytes(const std::string& key) const;
  // Typed look-ups; integers of any width convert where the value fits. Throw Error(kInvalidArgument,
  // "BAD_GGUF_KEY") that names the key where it is absent or of another type.
  std::int64_t integer(const std::string& key) const;
  double number(const std::string& key) const;
  const std::string& string(const std::string& key) const;
  const std::vector<std::string>& strings(const std::string& key) const;
  std::vector<std::int64_t> integers(const std::string& key) const;
  bool boolean_or(const std::string& key, bool fallback) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  bool has_tensor(const std::string& name) const { return index_.contains(name); }
  const GgufTensor& tensor(const std::string& name) const;  // throws kNotFound "NO_SUCH_TENSOR"

  // The tensor's values as fp32, in C order of `shape`. values.size() == elements.
  void decode(const GgufTensor& tensor, std::span<float> values) const;
  Bytes raw(const GgufTensor& tensor) const;

 private:
  FileView file_;
  std::map<std::string, GgufValue> keys_;
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> places_;  // of their values: begin, end
  std::vector<GgufTensor> tensors_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace wring
