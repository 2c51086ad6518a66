// Values of a TensorProto: raw, in typed fields, or in a file beside the model; as bytes in C order.
#include "formats/onnx/read_tensor.h"

#include <charconv>
#include <cstring>
#include <utility>

#include "formats/onnx/refuse.h"

namespace wring {
namespace {

constexpr int kMaxDimensions = 32;

Bytes owned(std::string&& text) {
  auto owner = std::make_shared<const std::string>(std::move(text));
  const auto* data = reinterpret_cast<const std::byte*>(owner->data());
  return {{data, owner->size()}, owner};
}

// The product of the shape, which is checked.
std::uint64_t element_count(const onnx::TensorProto& proto, const std::string& place) {
  if (proto.dims_size() > kMaxDimensions)
    bad_onnx(place, std::to_string(proto.dims_size()) + " dimensions; at most " +
                        std::to_string(kMaxDimensions) + " are read");
  std::uint64_t count = 1;
  for (const auto size : proto.dims()) {
    if (size < 0) bad_onnx(place, "a size of " + std::to_string(size));
    if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(size), &count) || count > (1ull << 56))
      bad_onnx(place, "a shape whose product overflows");
  }
  return count;
}

template <typename Stored, typename Field>
std::string narrowed(const Field& field, const std::string& place) {
  std::string bytes(static_cast<std::size_t>(field.size()) * sizeof(Stored), '\0');
  char* out = bytes.data();
  for (const auto value : field) {
    const auto stored = static_cast<Stored>(value);
    // Types below 32 bits lie in int32s, unsigned and signed: what does not fit is no value of the type.
    if (static_cast<decltype(value)>(stored) != value) bad_onnx(place, "a value that its type cannot hold");
    std::memcpy(out, &stored, sizeof stored);
    out += sizeof stored;
  }
  return bytes;
}

template <typename Stored, typename Field>
std::string copied(const Field& field) {
  return {reinterpret_cast<const char*>(field.data()),
          static_cast<std::size_t>(field.size()) * sizeof(Stored)};
}

// The values of a typed field as bytes; how many elements there are the caller checks.
std::string typed_data(const onnx::TensorProto& proto, OnnxType type, const std::string& place) {
  switch (type) {
    case OnnxType::kFloat:
      return copied<float>(proto.float_data());
    case OnnxType::kDouble:
      return copied<double>(proto.double_data());
    case OnnxType::kInt64:
      return copied<std::int64_t>(proto.int64_data());
    case OnnxType::kUint64:
      return copied<std::uint64_t>(proto.uint64_data());
    case OnnxType::kUint32:
      return narrowed<std::uint32_t>(proto.uint64_data(), place);
    case OnnxType::kInt32:
      return copied<std::int32_t>(proto.int32_data());
    case OnnxType::kInt16:
      return narrowed<std::int16_t>(proto.int32_data(), place);
    case OnnxType::kInt8:
      return narrowed<std::int8_t>(proto.int32_data(), place);
    case OnnxType::kUint16:
    case OnnxType::kFloat16:
    case OnnxType::kBfloat16:
      return narrowed<std::uint16_t>(proto.int32_data(), place);
    default:  // one byte an int32: bool, uint8, float8, and two 4-bit values in each
      return narrowed<std::uint8_t>(proto.int32_data(), place);
  }
}

std::uint64_t parse_number(const std::string& text, const std::string& place, const std::string& key) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    bad_onnx(place, "external data: " + key + " is no number");
  return value;
}

Bytes external_data(const onnx::TensorProto& proto, const std::string& place, std::uint64_t bytes,
                    const OnnxDataOpener& open_data) {
  std::string location;
  std::uint64_t offset = 0, length = bytes;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = parse_number(entry.value(), place, "offset");
    if (entry.key() == "length") length = parse_number(entry.value(), place, "length");
  }
  if (location.starts_with("./")) location.erase(0, 2);
  if (!is_safe_relative_path(location))
    bad_onnx(place, "external data: the location is no path inside the model's folder");
  if (length != bytes)
    bad_onnx(place, "external data of " + std::to_string(length) + " bytes; its shape and type say " +
                        std::to_string(bytes));
  const FileView file = open_data(location);
  if (offset > file.size() || bytes > file.size() - offset)
    bad_onnx(place, "external data: " + std::to_string(bytes) + " bytes at " + std::to_string(offset) +
                        " lie outside " + file.name() + " (" + std::to_string(file.size()) + " bytes)");
  return file.read(offset, bytes);
}

OnnxType element_type(const onnx::TensorProto& proto, const std::string& place) {
  if (const auto type = onnx_type_from(proto.data_type())) return *type;
  unsupported_onnx(place, "element type " + std::to_string(proto.data_type()) + " of TensorProto is not read",
                   "Read are float, double, float16, bfloat16, float8, bool and integers of 4 to 64 bits.");
}

int typed_fields(const onnx::TensorProto& proto) {
  return (proto.float_data_size() > 0) + (proto.int32_data_size() > 0) + (proto.int64_data_size() > 0) +
         (proto.double_data_size() > 0) + (proto.uint64_data_size() > 0) + (proto.string_data_size() > 0);
}

}  // namespace

OnnxTensor take_tensor(onnx::TensorProto& proto, const std::string& place, const OnnxDataOpener& open_data) {
  const std::string& where = proto.name().empty() ? place : proto.name();
  OnnxTensor tensor;
  tensor.name = proto.name();
  tensor.type = element_type(proto, where);
  if (proto.has_segment()) unsupported_onnx(where, "a tensor in segments", "Tensors must be whole.");
  const std::uint64_t elements = element_count(proto, where), bytes = onnx_bytes(tensor.type, elements);
  tensor.shape.assign(proto.dims().begin(), proto.dims().end());
  const bool external = proto.data_location() == onnx::TensorProto::EXTERNAL;
  if (typed_fields(proto) + proto.has_raw_data() + external > 1 && !(external && proto.raw_data().empty()))
    bad_onnx(where, "its values stand in more than one place");
  if (external) {
    tensor.data = external_data(proto, where, bytes, open_data);
  } else if (proto.has_raw_data()) {
    tensor.data = owned(std::move(*proto.mutable_raw_data()));
  } else {
    tensor.data = owned(typed_data(proto, tensor.type, where));
  }
  if (tensor.data.data.size() != bytes)
    bad_onnx(where, "holds " + std::to_string(tensor.data.data.size()) + " bytes; its shape and type say " +
                        std::to_string(bytes));
  return tensor;
}

}  // namespace wring
