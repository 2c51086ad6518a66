// Wanda-sp: heads and FFN channels by |weight| x input norm, the same share in every block (the structured
// baseline of An et al., AAAI 2024, after Sun et al., ICLR 2024).
#include "common/error.h"
#include "engine/calibrate/block_walk.h"
#include "engine/methods/structured/groups.h"

namespace wring {
namespace {

// S_j = mean_i |W_ij| ||x_j||_2, a head's the sum over its channels.  weight [out, in], input_norm [in]
at::Tensor importance(const at::Tensor& weight, const at::Tensor& input_norm, const PrunableGroups& part) {
  if (!at::isfinite(input_norm).all().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                "the inputs of " + name_of(part) + " hold NaN or infinity on the calibration data");
  return sum_of_groups(weight.abs().mean(0, false, at::kDouble) * input_norm, part);
}

class WandaSp final : public Method {
 public:
  explicit WandaSp(const Params& params) : budget_(Budget::from(params)) {}

  std::set<Statistic> needs() const override { return {Statistic::kInputNorm}; }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    prunable_groups(model, targets);
  }

  Json run(const StageInput& stage) const override {
    const auto parts = prunable_groups(stage.model, stage.targets);
    const auto readers = readers_of(stage.model, parts);
    std::vector<Json> lines;
    std::vector<at::Tensor> all_kept;
    const auto measure = [&](std::size_t block, BlockStream& stream) {
      TapObserver observer(readers, needs());
      if (stage.calibration.propagate == Propagate::kDense)
        stream.observe_and_advance(block, observer);
      else
        stream.observe(block, observer);
      return choose(stage.model, parts, block, observer);
    };
    walk_blocks(stage, measure, [&](std::size_t block, const BlockTensors& kept) {
      for (const auto& part : parts) {
        if (part.groups.block != block) continue;
        all_kept.push_back(kept.at(name_of(part)));
        lines.push_back(cut_down(stage.model, part, all_kept.back()));
      }
    });
    return cut_report(std::move(lines), parts, all_kept);
  }

  void try_out(Layer& layer, const Statistics*) const override { shrink(layer, budget_.ratio); }

 private:
  // The groups of a block that stay.
  BlockTensors choose(Model& model, const std::vector<PrunableGroups>& parts, std::size_t block,
                      const TapObserver& observer) const {
    std::vector<PrunableGroups> here;
    for (PrunableGroups part : parts) {
      if (part.groups.block != block) continue;
      const Layer& reader = model.reader_of(part.groups);
      part.scores =
          importance(reader.weight().decode(at::kFloat).cpu(), observer.of(reader)->input_norm().cpu(), part);
      here.push_back(std::move(part));
    }
    const auto kept = choose_groups(here, budget_);
    BlockTensors chosen;
    for (std::size_t i = 0; i < here.size(); ++i) chosen[name_of(here[i])] = kept[i];
    return chosen;
  }

  Budget budget_;
};

WRING_METHOD("wanda-sp", WandaSp);

}  // namespace
}  // namespace wring
