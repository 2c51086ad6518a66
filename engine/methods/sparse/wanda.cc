// Wanda: prune each row by |weight| x input norm, no update (Sun et al., ICLR 2024, eq. 1).
#include "common/error.h"
#include "engine/methods/sparse/pattern.h"

namespace wring {
namespace {

// S_ij = |W_ij| * ||x_j||_2.  weight [out, in], input_norm [in] -> [out, in].
at::Tensor importance(const at::Tensor& weight, const at::Tensor& input_norm) {
  if (!at::isfinite(input_norm).all().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                "the layer's inputs hold NaN or infinity on the calibration data");
  return weight.abs().mul_(input_norm).contiguous();
}

class Wanda final : public LayerMethod {
 public:
  explicit Wanda(const Params& params)
      : pattern_(params.sparsity("pattern")),
        field_(params.field("pattern")),
        value_dtype_(params.get<std::string>("value_dtype")) {}

  std::set<Statistic> needs() const override { return {Statistic::kInputNorm}; }
  void check(const Layer& layer) const override { check_pattern("wanda", pattern_, layer, field_); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json&) const override {
    const at::Tensor weight = input.layer.weight().decode(at::kFloat).cpu();
    const at::Tensor score = importance(weight, input.x->input_norm().cpu());
    const at::Tensor keep = pattern_.m > 0 ? keep_of_neighbours(score, pattern_.n, pattern_.m)
                                           : keep_largest_of_rows(score, pattern_.share);
    return masked_as(weight, keep, input.layer, value_dtype_);
  }

 private:
  SparsityPattern pattern_;
  std::string field_, value_dtype_;
};

WRING_METHOD("wanda", Wanda);

}  // namespace
}  // namespace wring
