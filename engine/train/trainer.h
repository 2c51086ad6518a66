// The one training loop: batches from a seed, a schedule, held-out sequences, snapshots by step.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/methods/method.h"
#include "engine/train/adamw.h"
#include "engine/train/schedule.h"
#include "engine/train/trained_weights.h"

namespace wring {

struct TrainOptions {
  std::int64_t batch = 8;  // sequences a step
  double clip = 1;         // of the gradients' norm; 0: none
  LearningRate rate;       // and how many steps
  AdamWOptions optimizer;
  std::string rate_field;  // of learning_rate, for messages

  static TrainOptions from(const Params& params);  // steps, batch, learning_rate, decay, warmup, ...
  TrainingSize size(std::int64_t rank) const { return {rate.steps, batch, rank}; }
};

// At least so many between two snapshots; 60 unless a test says otherwise.
void set_seconds_between_snapshots(double seconds);

struct Objective {
  // Of sequences ids [n, positions] where the model computes -> a scalar, their mean, with its gradient.
  std::function<at::Tensor(const at::Tensor& ids)> loss;
  // Before each step; may change masks. Called again with the same step where a run goes on.
  std::function<void(std::int64_t step)> before_step;
};

// Trains on the stage's sequences: each epoch takes all of them in a new order. A sixteenth of them, at most
// 32, is held out. Goes on after the step that the snapshot holds, and ends with the bits of a run that was
// not cut off. Returns {"steps", "tokens", "loss": [of up to 200 steps], "held_out_before",
// "held_out_after"}. Throws Error(kInvalidArgument, "DIVERGED") naming the step where the loss is no longer
// finite.
Json train(const StageInput& stage, TrainedWeights& weights, const TrainOptions& options,
           const Objective& objective);

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
