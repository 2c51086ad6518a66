// Which sequences a step takes is a function of the seed and the step alone.
#include "engine/train/trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "engine/calibrate/calibrate.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"

namespace wring {
namespace {

constexpr std::int64_t kMostHeldOut = 32;
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

class Run {
 public:
  Run(const StageInput& stage, TrainedWeights& weights, const TrainOptions& options,
      const Objective& objective)
      : stage_(stage),
        weights_(weights),
        options_(options),
        objective_(objective),
        optimizer_(weights.leaves(), options.optimizer) {
    const auto& ids = stage.calibration.ids;
    const std::int64_t held_out = std::min(kMostHeldOut, ids.size(0) / 16);
    held_out_ = ids.narrow(0, ids.size(0) - held_out, held_out);
    sequences_ = ids.narrow(0, 0, ids.size(0) - held_out);
    at_once_ = std::max<std::int64_t>(1, training_tokens_at_once(stage.model.device()) / ids.size(1));
  }

  Json run() {
    take_up();
    if (!held_out_before_) held_out_before_ = held_out_loss();
    const Stopwatch watch;
    double kept_at = 0;
    for (std::int64_t step = static_cast<std::int64_t>(losses_.size()); step < options_.rate.steps; ++step) {
      report(step);
      if (objective_.before_step) objective_.before_step(step);
      losses_.push_back(one(step));
      if (watch.seconds() - kept_at < seconds_between_snapshots || step + 1 == options_.rate.steps) continue;
      keep();
      kept_at = watch.seconds();
    }
    report(options_.rate.steps);
    const auto trained = static_cast<std::int64_t>(losses_.size()) * options_.batch * sequences_.size(1);
    return {{"steps", options_.rate.steps},
            {"tokens", trained},
            {"loss", thinned(losses_)},
            {"held_out_before", *held_out_before_},
            {"held_out_after", held_out_loss()}};
  }

 private:
  void report(std::int64_t done) const {
    stage_.progress.report(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(options_.rate.steps),
                           "steps", "loss", losses_.empty() ? *held_out_before_ : losses_.back());
  }

  // Those that a step trains on: the n-th sequences of all epochs one after the other, each in an order of
  // its own.
  at::Tensor batch_of(std::int64_t step) {
    std::vector<at::Tensor> rows;
    for (std::int64_t i = step * options_.batch; i < (step + 1) * options_.batch; ++i) {
      const std::int64_t epoch = i / sequences_.size(0);
      if (epoch != epoch_) {
        auto generator =
            at::make_generator<at::CPUGeneratorImpl>(stage_.seed + static_cast<std::uint64_t>(epoch));
        order_ = at::randperm(sequences_.size(0), generator, at::TensorOptions(at::kLong));
        epoch_ = epoch;
      }
      rows.push_back(sequences_[order_[i % sequences_.size(0)].item<std::int64_t>()]);
    }
    return at::stack(rows).to(stage_.model.device());
  }

  // One step. Returns its loss.
  double one(std::int64_t step) {
    const at::Tensor ids = batch_of(step);
    double sum = 0;
    for (std::int64_t first = 0; first < ids.size(0); first += at_once_) {
      const at::Tensor part = ids.narrow(0, first, std::min(at_once_, ids.size(0) - first));
      const double share = static_cast<double>(part.size(0)) / static_cast<double>(ids.size(0));
      weights_.refresh();
      const at::Tensor loss = objective_.loss(part) * share;
      loss.backward();
      sum += loss.item<double>();
    }
    const double norm = optimizer_.clip_gradients(options_.clip);
    if (!std::isfinite(sum) || !std::isfinite(norm))
      throw Error(ErrorCode::kInvalidArgument, "DIVERGED",
                  "the loss or its gradient is no longer finite at step " + std::to_string(step),
                  options_.rate_field, "Lower it, or lengthen the warm-up.");
    optimizer_.step(options_.rate.at(step));
    optimizer_.clear_gradients();
    weights_.hold_masked();
    return sum;
  }

  double held_out_loss() {
    if (held_out_.size(0) == 0) return 0;
    const c10::NoGradGuard unrecorded;
    weights_.refresh();
    double sum = 0;
    for (std::int64_t first = 0; first < held_out_.size(0); first += at_once_) {
      const auto part = held_out_.narrow(0, first, std::min(at_once_, held_out_.size(0) - first));
      sum +=
          objective_.loss(part.to(stage_.model.device())).item<double>() * static_cast<double>(part.size(0));
    }
    return sum / static_cast<double>(held_out_.size(0));
  }

  void keep() {
    stage_.snapshot.put(kWeights, weights_.state());
    stage_.snapshot.put(kOptimizer, optimizer_.state());
    stage_.snapshot.commit({{"losses", losses_}, {"held_out_before", *held_out_before_}});
  }

  void take_up() {
    const auto& state = stage_.snapshot.state();
    if (!state) return;
    const auto losses = json_at<std::vector<double>>(*state, "losses", "snapshot");
    weights_.set_state(stage_.snapshot.part(kWeights).tensors);
    optimizer_.set_state(stage_.snapshot.part(kOptimizer).tensors);
    held_out_before_ = json_at<double>(*state, "held_out_before", "snapshot");
    losses_ = losses;
    stage_.snapshot.note_resumed(losses_.size());
  }

  const StageInput& stage_;
  TrainedWeights& weights_;
  const TrainOptions& options_;
  const Objective& objective_;
  AdamW optimizer_;
  at::Tensor sequences_, held_out_;  // [n, positions]
  std::int64_t at_once_ = 1;         // sequences
  std::int64_t epoch_ = -1;
  at::Tensor order_;  // of that epoch
  std::vector<double> losses_;
  std::optional<double> held_out_before_;
};

}  // namespace

TrainOptions TrainOptions::from(const Params& params) {
  TrainOptions options;
  options.batch = params.get<std::int64_t>("batch");
  options.clip = params.get<double>("clip");
  options.rate.peak = params.get<double>("learning_rate");
  options.rate.steps = params.get<std::int64_t>("steps");
  options.rate.warmup =
      static_cast<std::int64_t>(params.get<double>("warmup") * static_cast<double>(options.rate.steps));
  options.rate.decay = parse_decay(params.get<std::string>("decay"));
  options.rate_field = params.field("learning_rate");
  options.optimizer.weight_decay = params.get<double>("weight_decay");
  return options;
}

void set_seconds_between_snapshots(double seconds) {
  seconds_between_snapshots = seconds;
}

Json train(const StageInput& stage, TrainedWeights& weights, const TrainOptions& options,
           const Objective& objective) {
  return Run(stage, weights, options, objective).run();
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
