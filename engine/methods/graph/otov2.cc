// OTOv2: DHSPG drives redundant units to exact zero while the network trains, then they are cut (Chen et al.,
// ICLR 2023; card C1, part B).
#include <c10/core/GradMode.h>

#include <algorithm>

#include "common/error.h"
#include "engine/methods/graph/hybrid.h"

namespace wring {
namespace {

constexpr double kTiny = 1e-8;
enum : std::int64_t { kImportant = 0, kRedundant = 1, kZero = 2 };

struct Penalty {
  double lambda = 1e-3, amplify = 2, cap = 10, epsilon = 0;
};

// What a step sees of the units before it moves them: x a unit's values, d the direction.
struct Seen {
  std::vector<at::Tensor> x;    // of the parameters
  at::Tensor size, speed, dot;  // |x|, |d|, <x, d>, fp64 [units]
};

Seen look(const UnitValues& values, const GraphWeights& weights, const Optimizer& optimizer) {
  const c10::NoGradGuard unrecorded;
  Seen seen;
  std::vector<at::Tensor> d;
  for (std::size_t i = 0; i < weights.leaves().size(); ++i) {
    seen.x.push_back(weights.leaves()[i].detach().clone());
    d.push_back(optimizer.direction(i));
  }
  seen.size = values.squares().sqrt();
  seen.speed = values.sum([&](std::size_t i) { return d[i].defined() ? d[i].square() : d[i]; }).sqrt();
  seen.dot = values.sum([&](std::size_t i) { return d[i].defined() ? d[i] * seen.x[i] : d[i]; });
  return seen;
}

// High where the step shrinks a unit anyway, and where it is small.
at::Tensor redundancy(const Seen& seen, const at::Tensor& lengths) {
  const at::Tensor cosine = seen.dot / (seen.size * seen.speed + kTiny);
  const at::Tensor smallness = 1 / (seen.size / lengths + 1e-6);
  return 0.5 * cosine / (cosine.norm() + kTiny) + 0.5 * smallness / (smallness.norm() + kTiny);
}

// Where the step would grow a unit, the penalty is raised above the least that shrinks it, but stays below
// what keeps a descent direction.
at::Tensor penalties(const Seen& seen, const Penalty& penalty) {
  const at::Tensor grows = seen.dot < 0;
  const at::Tensor safe = at::where(grows, seen.dot, at::full_like(seen.dot, -1));
  const at::Tensor low = -safe / (seen.size + kTiny), high = -seen.speed.square() * seen.size / safe;
  at::Tensor raised = (penalty.amplify * low).clamp(penalty.lambda, penalty.cap * penalty.lambda);
  raised = at::where(raised >= high, (low + high) / 2, raised);
  return at::where(grows, raised, at::full_like(raised, penalty.lambda));
}

class Otov2 final : public GraphMethod {
 public:
  explicit Otov2(const Params& params)
      : training_(GraphTraining::from(params)),
        target_(params.get<double>("target_group_sparsity")),
        tolerance_(params.get<double>("tolerance_group_sparsity")),
        multiple_(params.get<std::int64_t>("group_divisible")),
        begin_(static_cast<std::int64_t>(params.get<double>("start_pruning") *
                                         static_cast<double>(training_.loop.rate.steps))),
        penalty_{params.get<double>("lambda"), params.get<double>("lambda_amplify"),
                 params.get<double>("lambda_cap"), params.get<double>("epsilon")} {}

  void check(const Graph& graph) const override { check_trainable_graph(graph, training_); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const Batches batches = stage.data(training_.normalisation);
    const NamedValues example = example_of(stage.graph, batches);
    const GraphLabels labels = units_of(stage, example);
    const UnitValues values(stage.graph, labels);
    const at::Tensor state = at::zeros({static_cast<std::int64_t>(labels.units.size())}, at::kLong);
    {
      GraphWeights weights(stage.graph);
      weights.keep("units", state);
      Seen seen;
      GraphHooks hooks;
      hooks.before_update = [&](std::int64_t step, const Optimizer& optimizer) {
        if (step < begin_) return;
        seen = look(values, weights, optimizer);
        if (step == begin_) mark_redundant(labels, redundancy(seen, values.lengths()), state);
      };
      hooks.after_update = [&](std::int64_t step) {
        if (step >= begin_) push(values, seen, training_.loop.rate.at(step), labels, state);
      };
      report["training"] = train_graph(stage, batches, training_, weights, hooks);
    }
    std::vector<std::size_t> removed;
    for (std::int64_t i = 0; i < state.size(0); ++i)
      if (state[i].item<std::int64_t>() == kZero) removed.push_back(static_cast<std::size_t>(i));
    keep_multiples(labels, multiple_, removed);
    return cut_units(stage.graph, labels, removed, example, report);
  }

 private:
  void mark_redundant(const GraphLabels& labels, const at::Tensor& redundant, const at::Tensor& state) const {
    std::vector<bool> removed(labels.units.size());
    const std::size_t candidates = units_to_remove(labels, target_ + tolerance_);
    for (const auto unit : choose_units(labels, -redundant, candidates, multiple_, removed))
      state[static_cast<std::int64_t>(unit)] = kRedundant;
  }

  // After the plain step: while a smaller share of the units than wanted is zero, those that are redundant
  // are pushed towards it, and projected to it once they have turned away from where they were.
  void push(const UnitValues& values, const Seen& seen, double rate, const GraphLabels& labels,
            const at::Tensor& state) const {
    const auto zeros = static_cast<double>((state == kZero).sum().item<std::int64_t>());
    if (zeros / static_cast<double>(labels.units.size()) < target_) {
      const at::Tensor redundant = (state == kRedundant).to(at::kDouble);
      values.add(-rate * redundant * penalties(seen, penalty_) / (seen.size + kTiny), seen.x);
      const at::Tensor along = values.dot(seen.x);
      state.masked_fill_((redundant > 0).logical_and(along < penalty_.epsilon * seen.size.square()), kZero);
    }
    values.scale((state != kZero).to(at::kFloat));
  }

  GraphTraining training_;
  double target_, tolerance_;
  std::int64_t multiple_, begin_;
  Penalty penalty_;
};

WRING_GRAPH_METHOD("otov2", Otov2);

}  // namespace
}  // namespace wring
