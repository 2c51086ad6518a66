// Width magnitude: the heads and FFN channels of smallest norm go, the same share in every block.
#include "engine/methods/structured/groups.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

class MagnitudeSp final : public Method {
 public:
  explicit MagnitudeSp(const Params& params) : budget_(Budget::from(params)) {}

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    prunable_groups(model, targets);
  }

  Json run(const StageInput& stage) const override {
    auto parts = prunable_groups(stage.model, stage.targets);
    for (auto& part : parts) {
      // S_j = ||W_j||_2 of the columns that read it, a head's the sum over its channels.
      const at::Tensor weight = stage.model.reader_of(part.groups).weight().decode(at::kFloat).cpu();
      part.scores = sum_of_groups(weight.to(at::kDouble).square().sum(0).sqrt(), part);
    }
    const auto kept = choose_groups(parts, budget_);
    std::vector<Json> lines;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      stage.progress.report(i, parts.size(), "modules");
      lines.push_back(cut_down(stage.model, parts[i], kept[i]));
    }
    stage.progress.report(parts.size(), parts.size(), "modules");
    return cut_report(std::move(lines), parts, kept);
  }

  void try_out(Layer& layer, const Statistics*) const override { shrink(layer, budget_.ratio); }

 private:
  Budget budget_;
};

WRING_METHOD("magnitude-sp", MagnitudeSp);

}  // namespace
}  // namespace wring
