// Gradual magnitude pruning: while the model trains, a share of each weight that grows along a cubic is
// masked (Zhu and Gupta 2017).
#include <algorithm>

#include "common/error.h"
#include "engine/methods/sparse/pattern.h"
#include "engine/methods/train/training_method.h"
#include "engine/train/losses.h"

namespace wring {
namespace {

class GradualMagnitude final : public TrainingMethod {
 public:
  explicit GradualMagnitude(const Params& params)
      : TrainingMethod(params), global_(params.get<std::string>("scope") == "global") {
    const auto step_of = [&](const char* name) {
      return static_cast<std::int64_t>(params.get<double>(name) * static_cast<double>(options().rate.steps));
    };
    const std::int64_t last = options().rate.steps - 1;
    ramp_.last = params.get<double>("sparsity");
    ramp_.begin = std::min(step_of("begin"), last);
    ramp_.end = std::min(step_of("end"), last);
    ramp_.interval = params.get<std::int64_t>("interval");
    ramp_.exponent = params.get<double>("exponent");
    if (ramp_.begin > ramp_.end)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "the ramp ends before it begins",
                  params.field("end"), "Set end above begin.");
  }

 private:
  TrainingObjective objective(const StageInput& stage, TrainedWeights& weights) const override {
    return {[&model = stage.model](const at::Tensor& ids) {
              return next_token_loss(run_forward(model, ids, {}).logits, ids);
            },
            [this, &weights](std::int64_t step) {
              if (ramp_.changes_at(step)) mask(weights, ramp_.at(step));
            }};
  }

  at::Tensor kept_at_the_end(const at::Tensor& weight) const override {
    return keep_largest(weight.abs(), ramp_.last).logical_and(weight.ne(0));
  }

  // What an earlier stage left out goes first; it stays out however small the share.
  void mask(TrainedWeights& weights, double share) const {
    std::vector<at::Tensor> scores, flat;
    for (std::size_t i = 0; i < weights.layer_count(); ++i) {
      at::Tensor score = weights.value(i).abs();
      if (const auto& given = weights.given_mask(i); given.defined()) score = score * given;
      scores.push_back(score.cpu().contiguous());
      flat.push_back(scores.back().reshape({-1}));
    }
    const at::Tensor all = global_ ? keep_largest(at::cat(flat), share) : at::Tensor();
    for (std::size_t i = 0, first = 0; i < scores.size();
         first += static_cast<std::size_t>(flat[i++].numel()))
      weights.set_mask(
          i, global_
                 ? all.narrow(0, static_cast<std::int64_t>(first), flat[i].numel()).reshape(scores[i].sizes())
                 : keep_largest(scores[i], share));
  }

  SparsityRamp ramp_;
  bool global_;
};

WRING_METHOD("gradual-magnitude", GradualMagnitude);

}  // namespace
}  // namespace wring
