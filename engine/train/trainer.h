// Training of token models: the loop over a stage's sequences.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "common/json.h"
#include "engine/methods/method.h"
#include "engine/train/adamw.h"
#include "engine/train/trained_weights.h"
#include "engine/train/training_loop.h"

namespace wring {

struct TrainOptions : LoopOptions {
  AdamWOptions optimizer;

  static TrainOptions from(const Params& params);  // what the loop reads, and weight_decay
  TrainingSize size(std::int64_t rank) const { return {rate.steps, batch, rank}; }
};

struct TrainingObjective {
  // Of sequences ids [n, positions] where the model computes -> a scalar, their mean, with its gradient.
  std::function<at::Tensor(const at::Tensor& ids)> loss;
  // Before each step; may change masks. Called again with the same step where a run goes on.
  std::function<void(std::int64_t step)> before_step;
};

// Trains on the stage's sequences by run_training_loop(), whose report gets "tokens". A sixteenth of them, at
// most 32, is held out.
Json train(const StageInput& stage, Trainable& weights, Optimizer& optimizer, const LoopOptions& options,
           const TrainingObjective& objective);
// The same, by AdamW.
Json train(const StageInput& stage, TrainedWeights& weights, const TrainOptions& options,
           const TrainingObjective& objective);

// Tokens that go through a model at once: bounds the activations that wait for the backward pass.
std::int64_t training_tokens_at_once(at::Device device);

// Logits [n, positions, vocabulary] fp32 and the hidden states after some blocks, with gradients where they
// are enabled.
struct TrainingForward {
  at::Tensor logits;
  std::vector<at::Tensor> hidden;  // in the order of `after`
};
TrainingForward run_forward(const Model& model, const at::Tensor& ids, const std::vector<std::size_t>& after);

}  // namespace wring
