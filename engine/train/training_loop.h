// The one training loop: batches from a seed, a schedule, what is held out, snapshots by step.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/methods/method.h"
#include "engine/train/optimizer.h"
#include "engine/train/schedule.h"

namespace wring {

class Progress;
class Snapshot;
class Team;

// What a loop trains: leaves that an optimiser moves, and all else that changes meanwhile.
class Trainable {
 public:
  virtual ~Trainable() = default;
  virtual const std::vector<at::Tensor>& leaves() const = 0;
  virtual void refresh() {}  // before each forward whose gradients are wanted
  virtual void hold() {}     // after the optimiser's step, which may have moved what it must not

  // For a snapshot; and back. Throws Error(kDataLoss) where it does not fit.
  virtual std::vector<NamedTensor> state() const = 0;
  virtual void set_state(const std::map<std::string, at::Tensor>& state) = 0;
};

struct LoopOptions {
  std::int64_t batch = 8;  // examples a step
  double clip = 1;         // of the gradients' norm; 0: none
  LearningRate rate;       // and how many steps
  std::string rate_field;  // of learning_rate, for messages

  static LoopOptions from(const Params& params);  // steps, batch, learning_rate, decay, warmup, clip
};

struct LoopTask {
  std::int64_t examples = 0;  // that are trained on, by number
  std::int64_t at_once = 1;   // that go through the model together
  // Of examples int64 [n] -> a scalar, their mean, with its gradient.
  std::function<at::Tensor(const at::Tensor& examples, std::int64_t step)> loss;
  std::function<double()> held_out_loss;
  // Before each step; called again with the same step where a run goes on. May be empty, as those below.
  std::function<void(std::int64_t step)> before_step;
  std::function<void(std::int64_t step)> before_update;  // the gradients are there
  std::function<void(std::int64_t step)> after_update;
};

struct LoopContext {
  Progress& progress;
  Snapshot& snapshot;
  std::uint64_t seed;
  Team* processes = nullptr;  // that share each step's examples; null: this one takes all
};

// At least so many between two snapshots; 60 unless a test says otherwise.
void set_seconds_between_snapshots(double seconds);

// Each epoch takes all examples in a new order, which hangs on the seed alone. Goes on after the step that
// the snapshot holds, if it holds "losses" (a method may keep what it did before), and ends with the bits of
// a run that was not cut off. Of a team each process takes some of a step's examples; gradients are added in
// the order of the ranks, so that equal teams end with equal bits. Returns {"steps", "loss": [of up to 200
// steps], "held_out_before", "held_out_after"}. Throws Error(kInvalidArgument, "DIVERGED") naming the step
// where the loss is no longer finite.
Json run_training_loop(Trainable& trainable, Optimizer& optimizer, const LoopOptions& options,
                       const LoopTask& task, const LoopContext& context);

}  // namespace wring
