// GGUF v3: keys and tensor table, every count and offset checked against the file before it is believed.
#include "formats/gguf.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"
#include "formats/file_cursor.h"

namespace wring {
namespace {

constexpr std::uint64_t kMaxString = 64ull << 20, kMaxName = 65535, kMaxDimensions = 4;

enum ValueType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kFloat64
};

[[noreturn]] void throw_bad(const FileView& file, const std::string& field, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_GGUF", file.name() + ": " + why, field, kDamaged);
}

std::string take_string(FileCursor& cursor, const std::string& field) {
  const auto length = cursor.take<std::uint64_t>(field);
  if (length > kMaxString) cursor.refuse(field, "a string of " + std::to_string(length) + " bytes");
  return cursor.take_text(length, field);
}

std::uint64_t least_bytes(std::uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kFloat32:
      return 4;
    default:
      return 8;  // also a string's length
  }
}

template <typename Stored, typename Wide>
std::vector<Wide> take_many(FileCursor& cursor, std::uint64_t count, const std::string& field) {
  std::vector<Wide> values;
  values.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) values.push_back(static_cast<Wide>(cursor.take<Stored>(field)));
  return values;
}

GgufValue take_array(const FileView& file, FileCursor& cursor, const std::string& key) {
  const auto type = cursor.take<std::uint32_t>(key);
  const auto count = cursor.take<std::uint64_t>(key);
  if (type > kFloat64 || type == kArray)
    throw_bad(file, key, "a list of type " + std::to_string(type) + " is not supported");
  if (count > cursor.left() / least_bytes(type))
    throw_bad(file, key, "claims " + std::to_string(count) + " elements, more than the file can hold");
  switch (type) {
    case kU8:
      return {take_many<std::uint8_t, std::uint64_t>(cursor, count, key)};
    case kU16:
      return {take_many<std::uint16_t, std::uint64_t>(cursor, count, key)};
    case kU32:
      return {take_many<std::uint32_t, std::uint64_t>(cursor, count, key)};
    case kU64:
      return {take_many<std::uint64_t, std::uint64_t>(cursor, count, key)};
    case kI8:
      return {take_many<std::int8_t, std::int64_t>(cursor, count, key)};
    case kI16:
      return {take_many<std::int16_t, std::int64_t>(cursor, count, key)};
    case kI32:
      return {take_many<std::int32_t, std::int64_t>(cursor, count, key)};
    case kI64:
      return {take_many<std::int64_t, std::int64_t>(cursor, count, key)};
    case kFloat32:
      return {take_many<float, double>(cursor, count, key)};
    case kFloat64:
      return {take_many<double, double>(cursor, count, key)};
    case kBool: {
      std::vector<bool> values;
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(cursor.take<std::uint8_t>(key) != 0);
      return {values};
    }
    default:
      break;
  }
  std::vector<std::string> values;
  for (std::uint64_t i = 0; i < count; ++i) values.push_back(take_string(cursor, key));
  return {std::move(values)};
}

GgufValue take_value(const FileView& file, FileCursor& cursor, const std::string& key) {
  const auto type = cursor.take<std::uint32_t>(key);
  switch (type) {
    case kU8:
      return {std::uint64_t{cursor.take<std::uint8_t>(key)}};
    case kU16:
      return {std::uint64_t{cursor.take<std::uint16_t>(key)}};
    case kU32:
      return {std::uint64_t{cursor.take<std::uint32_t>(key)}};
    case kU64:
      return {cursor.take<std::uint64_t>(key)};
    case kI8:
      return {std::int64_t{cursor.take<std::int8_t>(key)}};
    case kI16:
      return {std::int64_t{cursor.take<std::int16_t>(key)}};
    case kI32:
      return {std::int64_t{cursor.take<std::int32_t>(key)}};
    case kI64:
      return {cursor.take<std::int64_t>(key)};
    case kFloat32:
      return {static_cast<double>(cursor.take<float>(key))};
    case kFloat64:
      return {cursor.take<double>(key)};
    case kBool:
      return {cursor.take<std::uint8_t>(key) != 0};
    case kString:
      return {take_string(cursor, key)};
    case kArray:
      return take_array(file, cursor, key);
    default:
      throw_bad(file, key, "value type " + std::to_string(type) + " is not known");
  }
}

// Name, shape, type and offset (relative to the data section, for now).
GgufTensor take_tensor(const FileView& file, FileCursor& cursor, std::uint64_t index) {
  GgufTensor tensor;
  const std::string place = "tensor " + std::to_string(index);
  tensor.name = take_string(cursor, place);
  if (tensor.name.empty() || tensor.name.size() > kMaxName) throw_bad(file, place, "has no usable name");
  const auto dimensions = cursor.take<std::uint32_t>(tensor.name);
  if (dimensions < 1 || dimensions > kMaxDimensions)
    throw_bad(file, tensor.name, std::to_string(dimensions) + " dimensions; 1 to 4 are allowed");
  tensor.elements = 1;
  for (std::uint32_t d = 0; d < dimensions; ++d) {
    const auto n = cursor.take<std::uint64_t>(tensor.name);
    if (n < 1 || n > INT64_MAX || __builtin_mul_overflow(tensor.elements, n, &tensor.elements) ||
        tensor.elements > INT64_MAX)
      throw_bad(file, tensor.name, "a shape that overflows or is empty");
    tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(n));
  }
  tensor.type = static_cast<GgmlType>(cursor.take<std::uint32_t>(tensor.name));
  tensor.offset = cursor.take<std::uint64_t>(tensor.name);
  std::uint64_t block = 0;
  try {
    block = ggml_block_elements(tensor.type);
  } catch (const Error& error) {
    throw Error(error.code(), error.reason(), file.name() + ": " + error.message(), tensor.name,
                error.hint());
  }
  if (static_cast<std::uint64_t>(tensor.shape.back()) % block != 0)
    throw_bad(file, tensor.name,
              "rows of " + std::to_string(tensor.shape.back()) + " elements are no whole blocks of " +
                  std::to_string(block));
  if (__builtin_mul_overflow(tensor.elements / block, ggml_block_bytes(tensor.type), &tensor.bytes))
    throw_bad(file, tensor.name, "a size that overflows");
  return tensor;
}

}  // namespace

GgufFile::GgufFile(FileView file) : file_(std::move(file)) {
  FileCursor cursor(file_, "BAD_GGUF");
  if (cursor.take<std::uint32_t>("magic") != 0x46554747) throw_bad(file_, "magic", "this is no GGUF file");
  const auto version = cursor.take<std::uint32_t>("version");
  if (version != 2 && version != 3)
    throw Error(ErrorCode::kUnimplemented, "BAD_GGUF",
                file_.name() + ": GGUF version " + std::to_string(version) + " is not supported", "version",
                "Supported: 2 and 3, little-endian.");
  const auto tensor_count = cursor.take<std::uint64_t>("tensor count"),
             key_count = cursor.take<std::uint64_t>("key count");
  // Each takes at least so many bytes: a count that cannot fit is refused before anything is allocated.
  if (tensor_count > cursor.left() / 25)
    throw_bad(file_, "tensor count", std::to_string(tensor_count) + " tensors cannot fit in the file");
  if (key_count > cursor.left() / 13)
    throw_bad(file_, "key count", std::to_string(key_count) + " keys cannot fit in the file");
  for (std::uint64_t i = 0; i < key_count; ++i) {
    const std::string key = take_string(cursor, "key " + std::to_string(i));
    if (key.empty() || key.size() > kMaxName)
      throw_bad(file_, "key " + std::to_string(i), "has no usable name");
    const auto begin = cursor.at();
    if (!keys_.emplace(key, take_value(file_, cursor, key)).second)
      throw_bad(file_, key, "the key stands twice");
    places_[key] = {begin, cursor.at()};
  }
  for (std::uint64_t i = 0; i < tensor_count; ++i) {
    tensors_.push_back(take_tensor(file_, cursor, i));
    if (!index_.emplace(tensors_.back().name, i).second)
      throw_bad(file_, tensors_.back().name, "the tensor stands twice");
  }
  const std::uint64_t alignment =
      has_key("general.alignment") ? static_cast<std::uint64_t>(integer("general.alignment")) : 32;
  if (alignment < 1 || alignment > (1u << 20) || (alignment & (alignment - 1)) != 0)
    throw_bad(file_, "general.alignment", "is no power of two up to 1 MiB");
  const std::uint64_t data = (cursor.at() + alignment - 1) / alignment * alignment;
  for (auto& tensor : tensors_) {
    if (tensor.offset % alignment != 0) throw_bad(file_, tensor.name, "its offset is not aligned");
    if (data > file_.size() || tensor.offset > file_.size() - data ||
        tensor.bytes > file_.size() - data - tensor.offset)
      throw_bad(file_, tensor.name, "its data lie outside the file");
    tensor.offset += data;
  }
}

namespace {

[[noreturn]] void throw_key(const FileView& file, const std::string& key, const char* why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_GGUF_KEY", file.name() + ": the key " + why, key);
}

}  // namespace

Bytes GgufFile::key_bytes(const std::string& key) const {
  const auto it = places_.find(key);
  if (it == places_.end()) throw_key(file_, key, "is missing");
  return file_.read(it->second.first, it->second.second - it->second.first);
}

std::int64_t GgufFile::integer(const std::string& key) const {
  const auto it = keys_.find(key);
  if (it == keys_.end()) throw_key(file_, key, "is missing");
  if (const auto* i = std::get_if<std::int64_t>(&it->second.value)) return *i;
  if (const auto* u = std::get_if<std::uint64_t>(&it->second.value); u && *u <= INT64_MAX)
    return static_cast<std::int64_t>(*u);
  throw_key(file_, key, "is no whole number");
}

double GgufFile::number(const std::string& key) const {
  const auto it = keys_.find(key);
  if (it == keys_.end()) throw_key(file_, key, "is missing");
  const auto* d = std::get_if<double>(&it->second.value);
  const double value = d ? *d : static_cast<double>(integer(key));
  if (!std::isfinite(value)) throw_key(file_, key, "is not finite");
  return value;
}

const std::string& GgufFile::string(const std::string& key) const {
  const auto it = keys_.find(key);
  if (it == keys_.end()) throw_key(file_, key, "is missing");
  if (const auto* s = std::get_if<std::string>(&it->second.value)) return *s;
  throw_key(file_, key, "is no string");
}

const std::vector<std::string>& GgufFile::strings(const std::string& key) const {
  const auto it = keys_.find(key);
  if (it == keys_.end()) throw_key(file_, key, "is missing");
  if (const auto* s = std::get_if<std::vector<std::string>>(&it->second.value)) return *s;
  throw_key(file_, key, "is no list of strings");
}

std::vector<std::int64_t> GgufFile::integers(const std::string& key) const {
  const auto it = keys_.find(key);
  if (it == keys_.end()) throw_key(file_, key, "is missing");
  if (const auto* i = std::get_if<std::vector<std::int64_t>>(&it->second.value)) return *i;
  if (const auto* u = std::get_if<std::vector<std::uint64_t>>(&it->second.value);
      u && std::all_of(u->begin(), u->end(), [](std::uint64_t n) { return n <= INT64_MAX; }))
    return {u->begin(), u->end()};
  throw_key(file_, key, "is no list of whole numbers");
}

bool GgufFile::boolean_or(const std::string& key, bool fallback) const {
  const auto it = keys_.find(key);
  if (it == keys_.end()) return fallback;
  if (const auto* b = std::get_if<bool>(&it->second.value)) return *b;
  throw_key(file_, key, "is neither true nor false");
}

const GgufTensor& GgufFile::tensor(const std::string& name) const {
  const auto it = index_.find(name);
  if (it == index_.end())
    throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", file_.name() + " holds no such tensor", name);
  return tensors_[it->second];
}

void GgufFile::decode(const GgufTensor& tensor, std::span<float> values) const {
  ggml_decode(tensor.type, raw(tensor).data, values);
}

Bytes GgufFile::raw(const GgufTensor& tensor) const {
  return file_.read(tensor.offset, tensor.bytes);
}

}  // namespace wring
