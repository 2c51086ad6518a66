// RTN: round every weight to the nearest point of its group's grid.
#include "engine/methods/quantize/grid.h"

namespace wring {
namespace {

class Rtn final : public LayerMethod {
 public:
  explicit Rtn(const Params& params) : spec_(GridSpec::from(params)), field_(params.field("group_size")) {}

  void check(const Layer& layer) const override { check_group_size("rtn", spec_, layer, field_); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json&) const override {
    const at::Tensor weight = input.layer.weight().decode(at::kFloat).cpu().contiguous();
    QuantizedWeight quantized(spec_, weight.size(0), weight.size(1));
    find_all_grids(weight, {}, quantized);
    round_to_grids(weight, quantized);
    return quantized.rep();
  }

 private:
  GridSpec spec_;
  std::string field_;
};

WRING_METHOD("rtn", Rtn);

}  // namespace
}  // namespace wring
