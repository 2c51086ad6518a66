// FP8: round every weight to E4M3 on a scale for its row, or for its tile (arXiv 2209.05433; tiles as in
// DeepSeek-V3, arXiv 2412.19437, section 3.3).
#include "engine/methods/quantize/float_grid.h"

namespace wring {
namespace {

class Fp8 final : public LayerMethod {
 public:
  explicit Fp8(const Params& params)
      : params_(params),
        spec_{FloatFormat::kFp8, params.get<std::int64_t>("block"), params.dtype("scale_dtype")} {}

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

WRING_METHOD("fp8", Fp8);

}  // namespace
}  // namespace wring
