// Sequences as the loop's examples, and a forward that keeps what losses compare.
#include "engine/train/trainer.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "engine/calibrate/calibrate.h"

namespace wring {
namespace {

constexpr std::int64_t kMostHeldOut = 32;

// The mean loss of sequences [n, positions], so many at a time.
double mean_loss(const at::Tensor& sequences, std::int64_t at_once, Trainable& weights,
                 const TrainingObjective& objective, at::Device device) {
  if (sequences.size(0) == 0) return 0;
  const c10::NoGradGuard unrecorded;
  weights.refresh();
  double sum = 0;
  for (std::int64_t first = 0; first < sequences.size(0); first += at_once) {
    const auto part = sequences.narrow(0, first, std::min(at_once, sequences.size(0) - first));
    sum += objective.loss(part.to(device)).item<double>() * static_cast<double>(part.size(0));
  }
  return sum / static_cast<double>(sequences.size(0));
}

}  // namespace

TrainOptions TrainOptions::from(const Params& params) {
  TrainOptions options;
  static_cast<LoopOptions&>(options) = LoopOptions::from(params);
  options.optimizer.weight_decay = params.get<double>("weight_decay");
  return options;
}

Json train(const StageInput& stage, Trainable& weights, Optimizer& optimizer, const LoopOptions& options,
           const TrainingObjective& objective) {
  const auto& ids = stage.calibration.ids;
  const auto device = stage.model.device();
  const std::int64_t held_out = std::min(kMostHeldOut, ids.size(0) / 16);
  const at::Tensor last = ids.narrow(0, ids.size(0) - held_out, held_out);
  LoopTask task;
  task.examples = ids.size(0) - held_out;
  task.at_once = std::max<std::int64_t>(1, training_tokens_at_once(device) / ids.size(1));
  task.loss = [&](const at::Tensor& examples, std::int64_t) {
    return objective.loss(ids.index_select(0, examples).to(device));
  };
  task.held_out_loss = [&] { return mean_loss(last, task.at_once, weights, objective, device); };
  task.before_step = objective.before_step;
  Json report = run_training_loop(weights, optimizer, options, task,
                                  {stage.progress, stage.snapshot, stage.seed, stage.calibration.processes});
  report["tokens"] = options.rate.steps * options.batch * ids.size(1);
  return report;
}

Json train(const StageInput& stage, TrainedWeights& weights, const TrainOptions& options,
           const TrainingObjective& objective) {
  AdamW optimizer(weights.leaves(), options.optimizer);
  return train(stage, weights, optimizer, options, objective);
}

std::int64_t training_tokens_at_once(at::Device device) {
  return device.is_cpu() ? 1024 : 8192;
}

TrainingForward run_forward(const Model& model, const at::Tensor& ids,
                            const std::vector<std::size_t>& after) {
  TrainingForward forward;
  at::Tensor hidden = model.embed(ids, at::kFloat);
  std::vector<at::Tensor> states;
  for (std::size_t block = 0; block < model.block_count(); ++block) {
    hidden = model.run_block(block, hidden, {});
    states.push_back(hidden);
  }
  for (const std::size_t block : after) forward.hidden.push_back(states[block]);
  forward.logits = model.head(model.final_norm(hidden));
  return forward;
}

}  // namespace wring
