// GGUF v3 written: everything is checked and laid out first, then the tensors' bytes stream past.
#include "formats/gguf_writer.h"

#include <bit>
#include <set>
#include <type_traits>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::uint64_t kMaxKey = 65535, kMaxAlignment = 1u << 20;
constexpr std::uint32_t kArray = 9;

[[noreturn]] void throw_cannot(const std::string& name, const std::string& why, const std::string& way_out) {
  throw Error(ErrorCode::kInvalidArgument, "GGUF_CANNOT_HOLD", why, name, way_out);
}

template <typename T>
constexpr std::uint32_t value_type() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return 0;
  if constexpr (std::is_same_v<T, std::int8_t>) return 1;
  if constexpr (std::is_same_v<T, std::uint16_t>) return 2;
  if constexpr (std::is_same_v<T, std::int16_t>) return 3;
  if constexpr (std::is_same_v<T, std::uint32_t>) return 4;
  if constexpr (std::is_same_v<T, std::int32_t>) return 5;
  if constexpr (std::is_same_v<T, float>) return 6;
  if constexpr (std::is_same_v<T, bool>) return 7;
  if constexpr (std::is_same_v<T, std::string>) return 8;
  if constexpr (std::is_same_v<T, std::uint64_t>) return 10;
  if constexpr (std::is_same_v<T, std::int64_t>) return 11;
  if constexpr (std::is_same_v<T, double>) return 12;
}

// The file's head: little-endian values end to end.
class Head {
 public:
  template <typename T>
  void add(T value) {
    if constexpr (std::is_same_v<T, bool>)
      text_ += static_cast<char>(value);
    else
      text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void add(const std::string& text) {
    add<std::uint64_t>(text.size());
    text_ += text;
  }
  template <typename T>
  void add_typed(const T& value) {
    add(value_type<T>());
    add(value);
  }
  template <typename T>
  void add_typed(const std::vector<T>& values) {
    add(kArray);
    add(value_type<T>());
    add<std::uint64_t>(values.size());
    for (const T& value : values) add(value);
  }
  void add_typed(const GgufStored& stored) {
    std::visit([&](const auto& value) { add_typed(value); }, stored);
  }
  void pad_to(std::uint64_t alignment) {
    text_.append((alignment - text_.size() % alignment) % alignment, '\0');
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::uint64_t alignment_of(std::span<const GgufKeyToWrite> keys) {
  for (const auto& key : keys) {
    if (key.name != "general.alignment") continue;
    const auto* alignment = std::get_if<std::uint32_t>(&key.value);
    if (!alignment || !std::has_single_bit(*alignment) || *alignment > kMaxAlignment)
      throw_cannot(key.name, "is no power of two up to 1 MiB of type UINT32", "Leave it out for 32.");
    return *alignment;
  }
  return 32;
}

void check_keys(std::span<const GgufKeyToWrite> keys) {
  std::set<std::string_view> seen;
  for (const auto& key : keys) {
    if (key.name.empty() || key.name.size() > kMaxKey)
      throw_cannot(key.name.substr(0, 100), "a key of " + std::to_string(key.name.size()) + " bytes",
                   "Keys have 1 to 65535 bytes.");
    if (!seen.insert(key.name).second) throw_cannot(key.name, "the key stands twice", "Give each key once.");
  }
}

// Bytes of the tensor's data, once all that GGUF asks of it is checked.
std::uint64_t checked_bytes(const GgufTensorToWrite& tensor) {
  if (tensor.name.empty() || tensor.name.size() > kGgufMaxName)
    throw_cannot(tensor.name, "a tensor name of " + std::to_string(tensor.name.size()) + " bytes",
                 "Names have 1 to 63 bytes: rename the tensor, or take safetensors.");
  if (tensor.shape.empty() || tensor.shape.size() > kGgufMaxDimensions)
    throw_cannot(tensor.name, "a tensor of " + std::to_string(tensor.shape.size()) + " dimensions",
                 "GGUF holds 1 to 4: give a scalar the shape [1], and join dimensions that are too many.");
  std::uint64_t rows = 1;
  for (std::size_t d = 0; d + 1 < tensor.shape.size(); ++d)
    if (tensor.shape[d] < 1 ||
        __builtin_mul_overflow(rows, static_cast<std::uint64_t>(tensor.shape[d]), &rows))
      throw_cannot(tensor.name, "a shape that is empty or overflows", "Leave the tensor out.");
  if (tensor.shape.back() < 1) throw_cannot(tensor.name, "a shape that is empty", "Leave the tensor out.");
  std::uint64_t bytes = 0;
  try {
    bytes = ggml_row_bytes(tensor.type, static_cast<std::uint64_t>(tensor.shape.back()));
  } catch (const Error& error) {
    throw_cannot(tensor.name, error.message(), error.hint());
  }
  if (__builtin_mul_overflow(bytes, rows, &bytes) || bytes > INT64_MAX / 2)
    throw_cannot(tensor.name, "a size that overflows", "Check its shape.");
  return bytes;
}

Head make_head(std::span<const GgufKeyToWrite> keys, std::span<const GgufTensorToWrite> tensors,
               const std::vector<std::uint64_t>& sizes, std::uint64_t alignment) {
  Head head;
  head.add<std::uint32_t>(0x46554747);  // "GGUF"
  head.add<std::uint32_t>(3);
  head.add<std::uint64_t>(tensors.size());
  head.add<std::uint64_t>(keys.size());
  for (const auto& key : keys) {
    head.add(key.name);
    head.add_typed(key.value);
  }
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& tensor = tensors[i];
    head.add(tensor.name);
    head.add<std::uint32_t>(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto n = tensor.shape.rbegin(); n != tensor.shape.rend(); ++n) head.add<std::uint64_t>(*n);
    head.add<std::uint32_t>(static_cast<std::uint32_t>(tensor.type));
    head.add<std::uint64_t>(offset);
    offset += (sizes[i] + alignment - 1) / alignment * alignment;
  }
  head.pad_to(alignment);
  return head;
}

void write_data(AtomicFile& file, const GgufTensorToWrite& tensor, std::uint64_t size,
                std::uint64_t alignment) {
  std::uint64_t written = 0;
  const auto throw_size = [&] {
    throw Error(ErrorCode::kInternal, "TENSOR_SIZE", "a tensor whose bytes do not match its shape",
                tensor.name);
  };
  tensor.data([&](std::span<const std::byte> piece) {
    if (piece.size() > size - written) throw_size();
    file.write(piece);
    written += piece.size();
  });
  if (written != size) throw_size();
  file.write(std::vector<std::byte>((alignment - size % alignment) % alignment));
}

}  // namespace

std::string gguf_value_bytes(const GgufStored& value) {
  Head head;
  head.add_typed(value);
  return head.text();
}

void write_gguf(const std::filesystem::path& path, std::span<const GgufKeyToWrite> keys,
                std::span<const GgufTensorToWrite> tensors, Durability durability) {
  check_keys(keys);
  const std::uint64_t alignment = alignment_of(keys);
  std::vector<std::uint64_t> sizes;
  std::set<std::string_view> seen;
  for (const auto& tensor : tensors) {
    sizes.push_back(checked_bytes(tensor));
    if (!seen.insert(tensor.name).second)
      throw_cannot(tensor.name, "the tensor stands twice", "Give each tensor a name of its own.");
  }
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(make_head(keys, tensors, sizes, alignment).text())));
  for (std::size_t i = 0; i < tensors.size(); ++i) write_data(file, tensors[i], sizes[i], alignment);
  file.commit(durability);
}

}  // namespace wring
