// Magnitude pruning: the weights of smallest absolute value in a layer go (Han et al., NeurIPS 2015).
#include "engine/methods/sparse/pattern.h"

namespace wring {
namespace {

class Magnitude final : public LayerMethod {
 public:
  explicit Magnitude(const Params& params)
      : pattern_(params.sparsity("pattern")),
        field_(params.field("pattern")),
        value_dtype_(params.get<std::string>("value_dtype")) {}

  void check(const Layer& layer) const override { check_pattern("magnitude", pattern_, layer, field_); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json&) const override {
    const at::Tensor weight = input.layer.weight().decode(at::kFloat).cpu();
    const at::Tensor score = weight.abs().contiguous();
    const at::Tensor keep = pattern_.m > 0 ? keep_of_neighbours(score, pattern_.n, pattern_.m)
                                           : keep_largest(score, pattern_.share);
    return masked_as(weight, keep, input.layer, value_dtype_);
  }

 private:
  SparsityPattern pattern_;
  std::string field_, value_dtype_;
};

WRING_METHOD("magnitude", Magnitude);

}  // namespace
}  // namespace wring
