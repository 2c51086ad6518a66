// Element types of both sides, and bytes without a copy where that is possible.
#include "engine/model/tensor_file.h"

#include <algorithm>
#include <memory>

#include "common/error.h"

namespace wring {
namespace {

at::ScalarType scalar_type(const FileTensor& file) {
  switch (file.type) {
    case ElementType::kF64:
      return at::kDouble;
    case ElementType::kF32:
      return at::kFloat;
    case ElementType::kF16:
      return at::kHalf;
    case ElementType::kBF16:
      return at::kBFloat16;
    case ElementType::kI64:
      return at::kLong;
    case ElementType::kI32:
      return at::kInt;
    case ElementType::kI16:
      return at::kShort;
    case ElementType::kI8:
      return at::kChar;
    case ElementType::kU8:
      return at::kByte;
    case ElementType::kBool:
      return at::kBool;
    case ElementType::kF8E4M3:
      return at::kFloat8_e4m3fn;
    default:
      break;
  }
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_DTYPE",
              "element type " + std::string(safetensors_name(file.type)) + " is not supported", file.name);
}

ElementType element_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return ElementType::kF64;
    case at::kFloat:
      return ElementType::kF32;
    case at::kHalf:
      return ElementType::kF16;
    case at::kBFloat16:
      return ElementType::kBF16;
    case at::kLong:
      return ElementType::kI64;
    case at::kInt:
      return ElementType::kI32;
    case at::kShort:
      return ElementType::kI16;
    case at::kChar:
      return ElementType::kI8;
    case at::kByte:
      return ElementType::kU8;
    case at::kFloat8_e4m3fn:
      return ElementType::kF8E4M3;
    case at::kBool:
      return ElementType::kBool;
    default:
      break;
  }
  throw Error(ErrorCode::kInternal, "UNSUPPORTED_DTYPE",
              "a tensor of a type that safetensors has no name for");
}

}  // namespace

at::Tensor tensor_of(const FileTensor& file) {
  const auto type = scalar_type(file);
  auto* data = const_cast<std::byte*>(file.data.data.data());
  const auto options = at::TensorOptions().dtype(type);
  if (file.data.data.empty()) return at::empty(file.shape, options);
  at::Tensor view = at::from_blob(
      data, file.shape, [owner = file.data.owner](void*) {}, options);
  const bool aligned = reinterpret_cast<std::uintptr_t>(data) % at::elementSize(type) == 0;
  if (aligned) return view;
  at::Tensor copy = at::empty(file.shape, options);
  std::copy(file.data.data.begin(), file.data.data.end(), static_cast<std::byte*>(copy.data_ptr()));
  return copy;
}

at::Tensor read_tensor(const SafetensorsReader& reader, const std::string& name) {
  return tensor_of(reader.tensor(name));
}

TensorToWrite to_write(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor plain = tensor.to(at::kCPU).contiguous();
  return {name, element_type(plain), plain.sizes().vec(), [plain] {
            return Bytes{{static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()},
                         std::make_shared<at::Tensor>(plain)};
          }};
}

}  // namespace wring
