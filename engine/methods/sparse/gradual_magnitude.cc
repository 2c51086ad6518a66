// Gradual magnitude pruning: while the model trains, a share of each weight that grows along a cubic is
// masked (Zhu and Gupta 2017).
#include <algorithm>

#include "common/error.h"
#include "engine/methods/sparse/pattern.h"
#include "engine/train/losses.h"
#include "engine/train/trainer.h"

namespace wring {
namespace {

class GradualMagnitude final : public Method {
 public:
  explicit GradualMagnitude(const Params& params)
      : parts_(TrainedParts::from(params)),
        options_(TrainOptions::from(params)),
        global_(params.get<std::string>("scope") == "global") {
    const auto step_of = [&](const char* name) {
      return static_cast<std::int64_t>(params.get<double>(name) * static_cast<double>(options_.rate.steps));
    };
    const std::int64_t last = options_.rate.steps - 1;
    ramp_.last = params.get<double>("sparsity");
    ramp_.begin = std::min(step_of("begin"), last);
    ramp_.end = std::min(step_of("end"), last);
    ramp_.interval = params.get<std::int64_t>("interval");
    ramp_.exponent = params.get<double>("exponent");
    if (ramp_.begin > ramp_.end)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "the ramp ends before it begins",
                  params.field("end"), "Set end above begin.");
  }

  bool reads_data() const override { return true; }
  std::optional<TrainingSize> training() const override { return options_.size(parts_.rank); }
  bool keeps_layers() const override { return true; }

  void check_model(const Model&, const std::set<const Layer*>& targets) const override {
    check_trainable(targets);
  }

  Json run(const StageInput& stage) const override {
    TrainedWeights weights(stage, parts_);
    const Objective objective{
        [&](const at::Tensor& ids) { return next_token_loss(run_forward(stage.model, ids, {}).logits, ids); },
        [&](std::int64_t step) {
          if (ramp_.changes_at(step)) mask(weights, ramp_.at(step));
        }};
    Json report{{"training", train(stage, weights, options_, objective)}};
    report["layers"] = weights.store();
    return report;
  }

  void try_out(Layer& layer, const Statistics*) const override {
    const at::Tensor weight = decode_to_own(layer.weight());
    parts_.store(layer, weight, keep_largest(weight.abs(), ramp_.last));
  }

 private:
  void mask(TrainedWeights& weights, double share) const {
    std::vector<at::Tensor> scores, flat;
    for (std::size_t i = 0; i < weights.layer_count(); ++i) {
      scores.push_back(weights.value(i).abs().cpu().contiguous());
      flat.push_back(scores.back().reshape({-1}));
    }
    at::Tensor kept = global_ ? keep_largest(at::cat(flat), share) : at::Tensor();
    for (std::size_t i = 0, first = 0; i < scores.size();
         first += static_cast<std::size_t>(flat[i++].numel()))
      weights.set_mask(
          i,
          global_
              ? kept.narrow(0, static_cast<std::int64_t>(first), flat[i].numel()).reshape(scores[i].sizes())
              : keep_largest(scores[i], share));
  }

  TrainedParts parts_;
  TrainOptions options_;
  SparsityRamp ramp_;
  bool global_;
};

WRING_METHOD("gradual-magnitude", GradualMagnitude);

}  // namespace
}  // namespace wring
