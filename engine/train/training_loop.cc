// Which examples a step takes is a function of the seed and the step alone.
#include "engine/train/training_loop.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "common/clock.h"
#include "common/error.h"
#include "engine/run/hardware.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "engine/run/team.h"

namespace wring {
namespace {

constexpr std::size_t kCurve = 200;  // points of the loss in the report
constexpr const char *kWeights = "weights", *kOptimizer = "optimizer";

double seconds_between_snapshots = 60;

// A curve's points, thinned evenly.
std::vector<double> thinned(const std::vector<double>& values) {
  std::vector<double> points;
  const std::size_t stride = (values.size() + kCurve - 1) / kCurve;
  for (std::size_t i = 0; i < values.size(); i += stride) points.push_back(values[i]);
  return points;
}

void call(const std::function<void(std::int64_t)>& hook, std::int64_t step) {
  if (hook) hook(step);
}

class Loop {
 public:
  Loop(Trainable& trainable, Optimizer& optimizer, const LoopOptions& options, const LoopTask& task,
       const LoopContext& context)
      : trainable_(trainable),
        optimizer_(optimizer),
        options_(options),
        task_(task),
        context_(context),
        team_(context.processes ? *context.processes : alone_) {}

  Json run() {
    take_up();
    check_same();
    if (!held_out_before_) held_out_before_ = held_out_loss();
    const Stopwatch watch;
    double kept_at = 0;
    for (std::int64_t step = static_cast<std::int64_t>(losses_.size()); step < options_.rate.steps; ++step) {
      report(step);
      call(task_.before_step, step);
      losses_.push_back(one(step));
      if (watch.seconds() - kept_at < seconds_between_snapshots || step + 1 == options_.rate.steps) continue;
      keep();
      kept_at = watch.seconds();
    }
    report(options_.rate.steps);
    return {{"steps", options_.rate.steps},
            {"loss", thinned(losses_)},
            {"held_out_before", *held_out_before_},
            {"held_out_after", held_out_loss()}};
  }

 private:
  void report(std::int64_t done) const {
    context_.progress.report(static_cast<std::uint64_t>(done),
                             static_cast<std::uint64_t>(options_.rate.steps), "steps", "loss",
                             losses_.empty() ? *held_out_before_ : losses_.back());
  }

  // For the report, which is the first process's.
  double held_out_loss() const { return team_.first() ? task_.held_out_loss() : 0; }

  // Those that a step trains on: the n-th examples of all epochs one after the other, each in an order of its
  // own.
  at::Tensor batch_of(std::int64_t step) {
    std::vector<std::int64_t> numbers;
    for (std::int64_t i = step * options_.batch; i < (step + 1) * options_.batch; ++i) {
      const std::int64_t epoch = i / task_.examples;
      if (epoch != epoch_) {
        auto generator =
            at::make_generator<at::CPUGeneratorImpl>(context_.seed + static_cast<std::uint64_t>(epoch));
        order_ = at::randperm(task_.examples, generator, at::TensorOptions(at::kLong));
        epoch_ = epoch;
      }
      numbers.push_back(order_[i % task_.examples].item<std::int64_t>());
    }
    return at::tensor(numbers, at::kLong);
  }

  // One step. Returns its loss.
  double one(std::int64_t step) {
    const at::Tensor batch = batch_of(step);
    const std::int64_t end = batch.size(0) * (team_.rank() + 1) / team_.size();
    double sum = 0;
    for (std::int64_t first = batch.size(0) * team_.rank() / team_.size(); first < end;
         first += task_.at_once) {
      const at::Tensor part = batch.narrow(0, first, std::min(task_.at_once, end - first));
      const double share = static_cast<double>(part.size(0)) / static_cast<double>(batch.size(0));
      trainable_.refresh();
      const at::Tensor loss = task_.loss(part, step) * share;
      loss.backward();
      sum += loss.item<double>();
    }
    sum = add_up_gradients(sum);
    const double norm = optimizer_.clip_gradients(options_.clip);
    if (!std::isfinite(sum) || !std::isfinite(norm))
      throw Error(ErrorCode::kInvalidArgument, "DIVERGED",
                  "the loss or its gradient is no longer finite at step " + std::to_string(step),
                  options_.rate_field, "Lower it, or lengthen the warm-up.");
    call(task_.before_update, step);
    optimizer_.step(options_.rate.at(step));
    optimizer_.clear_gradients();
    trainable_.hold();
    call(task_.after_update, step);
    return sum;
  }

  // Of all processes. Returns the sum of their losses.
  double add_up_gradients(double loss) {
    if (team_.alone()) return loss;
    std::vector<at::Tensor> all{at::tensor(loss, at::kDouble)};
    for (const auto& leaf : trainable_.leaves()) all.push_back(leaf.grad());
    team_.add_up(all);
    for (std::size_t i = 0; i < trainable_.leaves().size(); ++i) {
      at::Tensor leaf = trainable_.leaves()[i];
      leaf.mutable_grad() = all[i + 1].defined() ? all[i + 1].to(leaf.device()) : at::Tensor();
    }
    return all.front().item<double>();
  }

  void keep() {
    if (!team_.first()) return;
    context_.snapshot.put(kWeights, trainable_.state());
    context_.snapshot.put(kOptimizer, optimizer_.state());
    context_.snapshot.commit({{"losses", losses_}, {"held_out_before", *held_out_before_}});
  }

  void take_up() {
    const auto& state = context_.snapshot.state();
    if (!state || !state->contains("losses")) return;  // of what the method did before
    const auto losses = json_at<std::vector<double>>(*state, "losses", "snapshot");
    trainable_.set_state(context_.snapshot.part(kWeights).tensors);
    optimizer_.set_state(context_.snapshot.part(kOptimizer).tensors);
    held_out_before_ = json_at<double>(*state, "held_out_before", "snapshot");
    losses_ = losses;
    context_.snapshot.note_resumed(losses_.size());
  }

  // A step of an earlier snapshot would be added to one of a later.
  void check_same() {
    const auto first = team_.share(0, {{{"step", losses_.size()}}, {}}).json.at("step").get<std::size_t>();
    if (first != losses_.size())
      throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT",
                  "two processes found different snapshots of the stage", "",
                  "They are read anew: run the job again.");
  }

  Trainable& trainable_;
  Optimizer& optimizer_;
  const LoopOptions& options_;
  const LoopTask& task_;
  const LoopContext& context_;
  Team alone_;
  Team& team_;
  std::int64_t epoch_ = -1;
  at::Tensor order_;  // of that epoch
  std::vector<double> losses_;
  std::optional<double> held_out_before_;
};

}  // namespace

LoopOptions LoopOptions::from(const Params& params) {
  LoopOptions options;
  options.batch = params.get<std::int64_t>("batch");
  options.clip = params.get<double>("clip");
  options.rate.peak = params.get<double>("learning_rate");
  options.rate.steps = params.get<std::int64_t>("steps");
  options.rate.warmup =
      static_cast<std::int64_t>(params.get<double>("warmup") * static_cast<double>(options.rate.steps));
  options.rate.decay = parse_decay(params.get<std::string>("decay"));
  options.rate_field = params.field("learning_rate");
  return options;
}

void set_seconds_between_snapshots(double seconds) {
  seconds_between_snapshots = seconds;
}

Json run_training_loop(Trainable& trainable, Optimizer& optimizer, const LoopOptions& options,
                       const LoopTask& task, const LoopContext& context) {
  const KeptHeap heap;
  return Loop(trainable, optimizer, options, task, context).run();
}

}  // namespace wring
