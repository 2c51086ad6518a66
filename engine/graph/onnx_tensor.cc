// Element types of both sides.
#include "engine/graph/onnx_tensor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::array<std::pair<OnnxType, at::ScalarType>, 17> kTypes{{
    {OnnxType::kFloat, at::kFloat},
    {OnnxType::kUint8, at::kByte},
    {OnnxType::kInt8, at::kChar},
    {OnnxType::kUint16, at::kUInt16},
    {OnnxType::kInt16, at::kShort},
    {OnnxType::kInt32, at::kInt},
    {OnnxType::kInt64, at::kLong},
    {OnnxType::kBool, at::kBool},
    {OnnxType::kFloat16, at::kHalf},
    {OnnxType::kDouble, at::kDouble},
    {OnnxType::kUint32, at::kUInt32},
    {OnnxType::kUint64, at::kUInt64},
    {OnnxType::kBfloat16, at::kBFloat16},
    {OnnxType::kFloat8E4M3, at::kFloat8_e4m3fn},
    {OnnxType::kFloat8E4M3Fnuz, at::kFloat8_e4m3fnuz},
    {OnnxType::kFloat8E5M2, at::kFloat8_e5m2},
    {OnnxType::kFloat8E5M2Fnuz, at::kFloat8_e5m2fnuz},
}};

}  // namespace

at::ScalarType scalar_type(OnnxType type, const std::string& place) {
  const auto it =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& row) { return row.first == type; });
  if (it == kTypes.end())
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_DTYPE",
                "element type " + std::string(onnx_type_name(type)) + " cannot be computed with", place,
                "Computed with are bool, integers of 8 to 64 bits and floats of 8 to 64 bits.");
  return it->second;
}

OnnxType onnx_type(at::ScalarType type) {
  const auto it =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& row) { return row.second == type; });
  if (it == kTypes.end())
    throw Error(ErrorCode::kInternal, "UNSUPPORTED_DTYPE", "a tensor of a type that ONNX has no name for");
  return it->first;
}

at::Tensor view_of(const OnnxTensor& tensor, const std::string& place) {
  const auto options = at::TensorOptions().dtype(scalar_type(tensor.type, place));
  if (tensor.data.data.empty()) return at::empty(tensor.shape, options);
  const auto owner = tensor.data.owner;
  return at::from_blob(
      const_cast<std::byte*>(tensor.data.data.data()), tensor.shape, [owner](void*) {}, options);
}

at::Tensor to_tensor(const OnnxTensor& tensor, const std::string& place) {
  at::Tensor made = at::empty(tensor.shape, at::TensorOptions().dtype(scalar_type(tensor.type, place)));
  if (!tensor.data.data.empty())
    std::memcpy(made.data_ptr(), tensor.data.data.data(), tensor.data.data.size());
  return made;
}

OnnxTensor to_onnx(const std::string& name, const at::Tensor& tensor) {
  const auto plain = std::make_shared<const at::Tensor>(tensor.detach().to(at::kCPU).contiguous());
  return {name, onnx_type(plain->scalar_type()), plain->sizes().vec(),
          Bytes{{static_cast<const std::byte*>(plain->const_data_ptr()), plain->nbytes()}, plain}};
}

}  // namespace wring
