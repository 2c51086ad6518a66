// Training of a graph on labelled examples: what its methods share.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/methods/graph_method.h"
#include "engine/train/graph_weights.h"
#include "engine/train/training_loop.h"

namespace wring {

// Parameters of every method that trains a graph.
struct GraphTraining {
  LoopOptions loop;
  std::string optimizer;  // "sgd", "adamw"
  double momentum, weight_decay, label_smoothing;
  Augmentation augmentation;
  Normalisation normalisation;
  std::string batch_field;      // for messages
  bool scores_held_out = true;  // before and after

  static GraphTraining from(const Params& params);
};

// Throws Error(kInvalidArgument) where labelled examples do not go through the graph in such batches.
void check_trainable_graph(const Graph& graph, const GraphTraining& training);

// The first examples, as the graph takes them: four, or as many as the file fixes.
NamedValues example_of(const Graph& graph, const Batches& batches);

// Mean cross entropy in nats of logits [n, classes] at labels int64 [n].
at::Tensor label_loss(const at::Tensor& logits, const at::Tensor& labels, double smoothing);

struct GraphHooks {
  // Instead of the labels' loss; of a batch, its inputs as they were varied.
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& inputs, const at::Tensor& labels)>
      loss;
  std::function<void(std::int64_t step, const Optimizer& optimizer)>
      before_update;  // the gradients are there
  std::function<void(std::int64_t step)> after_update;
};

// Minimises the labels' loss or the hook's, in the graph's training mode; batches are drawn as
// run_training_loop() says, a sixteenth of the examples, drawn by the seed and at most 1,024, is held out.
// `weights` are the graph's. Returns the loop's report with "examples" (trained on), "held_out" (how many)
// and "held_out_accuracy_before" and "_after".
Json train_graph(const GraphStage& stage, const Batches& batches, const GraphTraining& training,
                 GraphWeights& weights, const GraphHooks& hooks = {});

}  // namespace wring
