// The truncated singular value decomposition of the weight itself, stored as two thin matrices.
#include "engine/methods/lowrank/factors.h"

namespace wring {
namespace {

class Svd final : public LayerMethod {
 public:
  explicit Svd(const Params& params) : factors_(FactorSpec::from(params)) {}

  void check(const Layer& layer) const override { factors_.check(layer); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const override {
    const WeightRep& weight = input.layer.weight();
    const auto rank = factors_.rank_of(weight);
    report["rank"] = rank;
    return factors_.rep(best_factors(weight.decode(at::kFloat), {}, rank));
  }

 private:
  FactorSpec factors_;
};

WRING_METHOD("svd", Svd);

}  // namespace
}  // namespace wring
