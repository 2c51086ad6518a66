// FP4: round every weight to E2M1 on a scale for its group: NVFP4 (groups of 16, E4M3 scales) or MXFP4
// (groups of 32, powers of two; OCP Microscaling Formats 1.0).
#include "engine/methods/quantize/float_grid.h"

namespace wring {
namespace {

class Fp4 final : public LayerMethod {
 public:
  explicit Fp4(const Params& params)
      : params_(params), spec_{.format = float_format_named(params.get<std::string>("format"))} {}

  void check(const Layer& layer) const override { check_float_grid(spec_, layer, params_); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json&) const override {
    const at::Tensor weight = input.layer.weight().decode(at::kFloat).cpu();
    const FloatGrid grid(spec_, weight);
    return grid.rep(grid.nearest(weight));
  }

 private:
  Params params_;
  FloatSpec spec_;
};

WRING_METHOD("fp4", Fp4);

}  // namespace
}  // namespace wring
