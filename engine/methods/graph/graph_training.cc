// A loss on batches that the seed and the step name.
#include "engine/methods/graph/graph_training.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

#include "common/error.h"
#include "engine/train/adamw.h"
#include "engine/train/sgd.h"

namespace wring {
namespace {

constexpr std::int64_t kMostHeldOut = 1024;

std::unique_ptr<Optimizer> make_optimizer(const GraphTraining& training, const GraphWeights& weights) {
  if (training.optimizer == "adamw")
    return std::make_unique<AdamW>(weights.leaves(), AdamWOptions{.weight_decay = training.weight_decay});
  return std::make_unique<Sgd>(weights.leaves(), SgdOptions{training.momentum, training.weight_decay});
}

// Trained on, and held out.
std::pair<at::Tensor, at::Tensor> divided(std::int64_t count, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const at::Tensor order = at::randperm(count, generator, at::TensorOptions(at::kLong));
  const std::int64_t held_out = std::min(kMostHeldOut, count / 16);
  return {order.narrow(0, 0, count - held_out), order.narrow(0, count - held_out, held_out)};
}

}  // namespace

GraphTraining GraphTraining::from(const Params& params) {
  return {LoopOptions::from(params),
          params.get<std::string>("optimizer"),
          params.get<double>("momentum"),
          params.get<double>("weight_decay"),
          params.get<double>("label_smoothing"),
          Augmentation::from(params),
          Normalisation::from(params),
          params.field("batch")};
}

void check_trainable_graph(const Graph& graph, const GraphTraining& training) {
  if (graph.parameters().empty())
    throw Error(ErrorCode::kInvalidArgument, "NOTHING_TO_TRAIN", "the graph has no weights in floats",
                "model", "Train before quantising, or with qat.");
  const auto fixed = Classifier(graph).fixed_batch();
  if (fixed && *fixed != training.loop.batch)
    throw Error(ErrorCode::kInvalidArgument, "FIXED_BATCH",
                "the file fixes the batch at " + std::to_string(*fixed) + ", the stage trains with " +
                    std::to_string(training.loop.batch),
                training.batch_field,
                "Export the network with a free batch (torch.onnx.export: dynamic_axes or dynamic_shapes).");
}

NamedValues example_of(const Graph& graph, const Batches& batches) {
  const Classifier classifier(graph);
  const at::Tensor numbers = at::arange(classifier.fixed_batch().value_or(4), at::kLong);
  return classifier.as_inputs(batches.inputs(numbers.remainder(batches.count())));
}

at::Tensor label_loss(const at::Tensor& logits, const at::Tensor& labels, double smoothing) {
  return at::cross_entropy_loss(logits, labels, {}, at::Reduction::Mean, -100, smoothing);
}

Json train_graph(const GraphStage& stage, const Batches& batches, const GraphTraining& training,
                 GraphWeights& weights, const GraphHooks& hooks) {
  const Classifier classifier(stage.graph);
  const auto optimizer = make_optimizer(training, weights);
  const auto parts = divided(batches.count(), stage.seed);
  const at::Tensor &trained = parts.first, &held_out = parts.second;
  const at::Tensor accuracy_before = at::full({}, -1, at::kDouble);  // outlives a kill
  if (training.scores_held_out) weights.keep("accuracy_before", accuracy_before);
  double accuracy_after = 0;
  LoopTask task;
  task.examples = trained.size(0);
  task.at_once = training.loop.batch;
  task.loss = [&](const at::Tensor& numbers, std::int64_t step) {
    const at::Tensor examples = trained.index_select(0, numbers);
    at::manual_seed(Random(stage.seed, static_cast<std::uint64_t>(step)).next());  // dropout's
    const at::Tensor inputs = batches.varied_inputs(examples, training.augmentation,
                                                    Random(stage.seed, static_cast<std::uint64_t>(step)));
    const at::Tensor logits = classifier.logits(inputs, GraphMode::kTraining);
    const at::Tensor labels = batches.labels(examples).to(logits.device());
    return hooks.loss ? hooks.loss(logits, inputs, labels)
                      : label_loss(logits, labels, training.label_smoothing);
  };
  task.held_out_loss = [&] {
    if (held_out.size(0) == 0 || !training.scores_held_out) return 0.0;
    const Scored scored = classifier.score(batches, held_out);
    accuracy_after = scored.accuracy();
    if (accuracy_before.item<double>() < 0) accuracy_before.fill_(accuracy_after);
    return scored.mean_loss();
  };
  if (hooks.before_update)
    task.before_update = [&](std::int64_t step) { hooks.before_update(step, *optimizer); };
  task.after_update = hooks.after_update;
  Json report = run_training_loop(weights, *optimizer, training.loop, task,
                                  {stage.progress, stage.snapshot, stage.seed});
  report["examples"] = trained.size(0);
  report["held_out"] = held_out.size(0);
  if (accuracy_before.item<double>() < 0) return report;
  report["held_out_accuracy_before"] = accuracy_before.item<double>();
  report["held_out_accuracy_after"] = accuracy_after;
  return report;
}

}  // namespace wring
