// The plain low-rank path beside a compressed weight: the truncated singular value decomposition of its error
// (LoRC of ZeroQuant-V2: Yao et al., 2023).
#include "engine/methods/lowrank/factors.h"

namespace wring {
namespace {

class SvdCompensation final : public LayerMethod {
 public:
  explicit SvdCompensation(const Params& params) : factors_(FactorSpec::from(params)) {}

  bool needs_reference() const override { return true; }
  void check(const Layer& layer) const override { factors_.check(layer); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const override {
    return compensated(input, {}, factors_, report);
  }

 private:
  FactorSpec factors_;
};

WRING_METHOD("svd-compensation", SvdCompensation);

}  // namespace
}  // namespace wring
