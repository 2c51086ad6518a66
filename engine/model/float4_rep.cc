// The weight in four-bit floats: NVFP4, MXFP4 (OCP Microscaling Formats 1.0, section 5).
#include <cmath>

#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

// Those of codes 0 to 15.
const at::Tensor& values_of_codes() {
  static const at::Tensor values =
      at::tensor({0., .5, 1., 1.5, 2., 3., 4., 6., -0., -.5, -1., -1.5, -2., -3., -4., -6.}, at::kFloat);
  return values;
}

at::Tensor plain_scales(const Float4& parts) {
  if (parts.scales.scalar_type() == at::kByte) return at::exp2(parts.scales.to(at::kFloat) - 127);
  return parts.scales.to(at::kFloat) / parts.global_scale;
}

class Float4Rep final : public WeightRep {
 public:
  explicit Float4Rep(Float4 parts) : parts_(std::move(parts)) {}

  std::string_view format() const override { return "float4"; }
  std::int64_t rows() const override { return parts_.codes.size(0); }
  std::int64_t columns() const override { return 2 * parts_.codes.size(1); }
  std::vector<NamedTensor> tensors() const override {
    return {{"codes", parts_.codes}, {"scales", parts_.scales}};
  }
  Json attributes() const override { return {{"global_scale", parts_.global_scale}}; }

  at::Tensor decode(at::ScalarType dtype) const override {
    const at::Tensor codes = parts_.codes.to(at::kInt);
    const at::Tensor both = at::stack({codes.bitwise_and(15), codes.bitwise_right_shift(4)}, -1);
    const at::Tensor values = values_of_codes().to(codes.device()).index_select(0, both.reshape({-1}));
    return (values.reshape({rows(), parts_.scales.size(1), -1}) * plain_scales(parts_).unsqueeze(-1))
        .reshape({rows(), columns()})
        .to(dtype);
  }

 private:
  Float4 parts_;
};

}  // namespace

std::shared_ptr<const WeightRep> float4_rep(const Float4& parts) {
  const auto& [codes, scales, global_scale] = parts;
  if (codes.dim() != 2 || codes.scalar_type() != at::kByte || codes.numel() == 0)
    throw_bad_weight_rep("its codes are no matrix of bytes");
  const bool exponents = scales.scalar_type() == at::kByte;
  if (scales.dim() != 2 || (!exponents && scales.scalar_type() != at::kFloat8_e4m3fn) ||
      scales.size(0) != codes.size(0) || scales.size(1) == 0 || 2 * codes.size(1) % scales.size(1) != 0)
    throw_bad_weight_rep("its scales are not float8_e4m3fn or uint8 for each group of a row");
  if (!(global_scale > 0) || !std::isfinite(global_scale) || (exponents && global_scale != 1))
    throw_bad_weight_rep("its global scale is " + std::to_string(global_scale));
  const bool wrong =
      exponents ? (scales == 255).any().item<bool>() : at::isnan(scales.to(at::kFloat)).any().item<bool>();
  if (wrong) throw_bad_weight_rep("a scale is NaN");
  return std::make_shared<Float4Rep>(Float4{codes.contiguous(), scales.contiguous(), global_scale});
}

std::shared_ptr<const WeightRep> load_float4_rep(const Json& attributes, const TensorLookup& tensor) {
  return float4_rep(
      {tensor("codes"), tensor("scales"), json_at<double>(attributes, "global_scale", "attributes")});
}

}  // namespace wring
