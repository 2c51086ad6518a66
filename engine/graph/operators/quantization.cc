// Values to integer codes and back, by a scale a tensor or an index of one axis.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <array>
#include <vector>

#include "engine/graph/onnx_tensor.h"
#include "engine/graph/operator_table.h"

namespace wring {
namespace {

// Scales or zero points [n] as they broadcast along the node's axis of x; one for the whole tensor as it is.
at::Tensor along_axis(const Call& call, const at::Tensor& x, const at::Tensor& values) {
  if (call.integer("block_size", 0) != 0) call.unsupported("a scale a block");
  if (values.numel() == 1) return values.reshape({});
  const std::int64_t axis = call.axis(call.integer("axis", 1), x.dim());
  if (values.dim() != 1 || values.numel() != x.size(axis)) call.refuse("its scales do not fit its axis");
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(x.dim()), 1);
  sizes[static_cast<std::size_t>(axis)] = values.numel();
  return values.reshape(sizes);
}

struct Range {
  double low, high;
};

Range range_of(const Call& call, at::ScalarType type) {
  switch (type) {
    case at::kChar:
      return {-128, 127};
    case at::kByte:
      return {0, 255};
    case at::kShort:
      return {-32768, 32767};
    case at::kUInt16:
      return {0, 65535};
    default:
      call.unsupported("codes of this type");
  }
}

at::ScalarType code_type(const Call& call) {
  if (call.has_input(2)) return call.input(2).scalar_type();
  const auto wanted = static_cast<std::int32_t>(call.integer("output_dtype", 0));
  if (wanted == 0) return at::kByte;
  const auto given = onnx_type_from(wanted);
  if (!given) call.unsupported("codes of this type");
  return scalar_type(*given, "output_dtype");
}

// Ties are rounded to even. Where a gradient is wanted the codes stay floats, and it passes as if nothing had
// been rounded, but not where codes end (the straight-through estimator of Bengio et al. 2013).
Tensors quantize(const Call& call) {
  const at::Tensor given = call.input(0), scale = along_axis(call, given, call.input(1));
  const at::Tensor x = at::isFloatingType(given.scalar_type()) ? given : given.to(scale.scalar_type());
  const auto type = code_type(call);
  const Range range = range_of(call, type);
  const at::Tensor steps = x / scale.to(x.scalar_type());
  const bool tracked = c10::GradMode::is_enabled() && steps.requires_grad();
  at::Tensor codes = tracked ? steps + (at::round(steps) - steps).detach() : at::round(steps);
  if (call.has_input(2)) codes = codes + along_axis(call, x, call.input(2)).to(codes.scalar_type());
  codes = at::clamp(codes, range.low, range.high);
  return {tracked ? codes : codes.to(type)};
}

Tensors dequantize(const Call& call) {
  const at::Tensor codes = call.input(0), scale = along_axis(call, codes, call.input(1));
  at::Tensor values = codes.to(at::kFloat);
  if (call.has_input(2)) values = values - along_axis(call, codes, call.input(2)).to(at::kFloat);
  return {(values * scale.to(at::kFloat)).to(scale.scalar_type())};
}

constexpr std::array kRows{
    OperatorRow{"DequantizeLinear", dequantize},
    OperatorRow{"QuantizeLinear", quantize},
};

}  // namespace

std::span<const OperatorRow> quantization_operators() {
  return kRows;
}

}  // namespace wring
