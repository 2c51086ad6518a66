// EoRA: a low-rank path beside a compressed weight, for the part of its error that the layer's inputs meet
// (Liu et al., 2024, algorithm 1).
#include "engine/methods/lowrank/factors.h"

namespace wring {
namespace {

class Eora final : public LayerMethod {
 public:
  explicit Eora(const Params& params)
      : factors_(FactorSpec::from(params)),
        eigenspace_(params.get<std::string>("weighting") == "eigenspace") {}

  std::set<Statistic> needs() const override {
    if (eigenspace_) return {Statistic::kHessian};
    return {Statistic::kInputMagnitude, Statistic::kInputNorm};
  }
  bool needs_reference() const override { return true; }
  void check(const Layer& layer) const override { factors_.check(layer); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const override {
    return compensated(input, moment(*input.x), factors_, report);
  }

 private:
  // Of the inputs: X X^T, of which only the scale is another in the Hessian; or, for ACT-S, that of inputs
  // that are independent and as large as mean |x_j|.
  at::Tensor moment(const Statistics& x) const {
    return eigenspace_ ? x.hessian() : x.input_magnitude().square();
  }

  FactorSpec factors_;
  bool eigenspace_;
};

WRING_METHOD("eora", Eora);

}  // namespace
}  // namespace wring
