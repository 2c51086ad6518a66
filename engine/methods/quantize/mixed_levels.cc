// Mixed precision: each layer at a level of its own.
#include "common/error.h"
#include "engine/methods/levels.h"

namespace wring {
namespace {

class MixedLevels final : public LayerMethod {
 public:
  explicit MixedLevels(const Params& params)
      : levels_(make_levels(params, "levels")), field_(params.field("levels")) {}

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }
  void check(const Layer& layer) const override { level_of(layer).method->check(layer); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const override {
    return level_of(input.layer).method->compress(input, report);
  }

 private:
  const Level& level_of(const Layer& layer) const {
    for (const auto& level : levels_)
      if (level.takes(layer)) return level;
    throw Error(ErrorCode::kInvalidArgument, "NO_LEVEL", "no level takes " + layer.name(), field_,
                "Name it in a level's targets, or leave it out of the stage's.");
  }

  std::vector<Level> levels_;
  std::string field_;
};

WRING_METHOD("mixed-levels", MixedLevels);

}  // namespace
}  // namespace wring
