// The life of a training stage: leaves, loop, weights as they are stored.
#include "engine/methods/train/training_method.h"

namespace wring {

TrainingMethod::TrainingMethod(const Params& params)
    : parts_(TrainedParts::from(params)), options_(TrainOptions::from(params)) {}

void TrainingMethod::check_model(const Model&, const std::set<const Layer*>& targets) const {
  check_trainable(targets);
}

Json TrainingMethod::run(const StageInput& stage) const {
  TrainedWeights weights(stage, parts_);
  Json report{{"training", train(stage, weights, options_, objective(stage, weights))}};
  report["layers"] = weights.store();
  return report;
}

void TrainingMethod::try_out(Layer& layer, const Statistics*) const {
  const at::Tensor weight = decode_to_own(layer.weight());
  parts_.store(layer, weight, kept_at_the_end(weight));
}

at::Tensor TrainingMethod::kept_at_the_end(const at::Tensor&) const {
  return {};
}

}  // namespace wring
