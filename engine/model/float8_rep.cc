// The weight in eight-bit floats (E4M3, "FP8 Formats for Deep Learning", arXiv 2209.05433) with a scale for
// each row or tile.
#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

std::int64_t tiles(std::int64_t size, std::int64_t block) {
  return (size + block - 1) / block;
}

class Float8Rep final : public WeightRep {
 public:
  explicit Float8Rep(Float8 parts) : parts_(std::move(parts)) {}

  std::string_view format() const override { return "float8"; }
  std::int64_t rows() const override { return parts_.values.size(0); }
  std::int64_t columns() const override { return parts_.values.size(1); }
  std::vector<NamedTensor> tensors() const override {
    return {{"values", parts_.values}, {"scales", parts_.scales}};
  }
  Json attributes() const override {
    return {{"block_rows", parts_.block_rows}, {"block_columns", parts_.block_columns}};
  }

  at::Tensor decode(at::ScalarType dtype) const override {
    const at::Tensor scales = parts_.scales.to(at::kFloat)
                                  .repeat_interleave(parts_.block_rows, 0)
                                  .narrow(0, 0, rows())
                                  .repeat_interleave(parts_.block_columns, 1)
                                  .narrow(1, 0, columns());
    return parts_.values.to(at::kFloat).mul_(scales).to(dtype);
  }

 private:
  Float8 parts_;
};

}  // namespace

std::shared_ptr<const WeightRep> float8_rep(const Float8& parts) {
  if (parts.values.dim() != 2 || parts.values.scalar_type() != at::kFloat8_e4m3fn ||
      parts.values.numel() == 0)
    throw_bad_weight_rep("its values are no matrix of float8_e4m3fn");
  const std::int64_t rows = parts.values.size(0), columns = parts.values.size(1);
  if (parts.block_rows < 1 || parts.block_rows > rows || parts.block_columns < 1 ||
      parts.block_columns > columns)
    throw_bad_weight_rep("its block is " + std::to_string(parts.block_rows) + " x " +
                         std::to_string(parts.block_columns));
  if (parts.scales.dim() != 2 || !is_value_dtype(parts.scales.scalar_type()) ||
      parts.scales.size(0) != tiles(rows, parts.block_rows) ||
      parts.scales.size(1) != tiles(columns, parts.block_columns))
    throw_bad_weight_rep("its scales are not one of fp32, bf16 or fp16 for each tile");
  if (!at::isfinite(parts.scales).all().item<bool>()) throw_bad_weight_rep("a scale is NaN or infinite");
  if (at::isnan(parts.values.to(at::kFloat)).any().item<bool>()) throw_bad_weight_rep("a value is NaN");
  return std::make_shared<Float8Rep>(
      Float8{parts.values.contiguous(), parts.scales.contiguous(), parts.block_rows, parts.block_columns});
}

std::shared_ptr<const WeightRep> load_float8_rep(const Json& attributes, const TensorLookup& tensor) {
  return float8_rep({tensor("values"), tensor("scales"),
                     json_at<std::int64_t>(attributes, "block_rows", "attributes"),
                     json_at<std::int64_t>(attributes, "block_columns", "attributes")});
}

}  // namespace wring
