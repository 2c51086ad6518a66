// HESSO-CRIC: before units are shrunk for good, suspects are walked towards zero in cycles that are taken
// back, and scored along the way (Chen et al. 2024; card C3, part C).
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <array>
#include <set>

#include "engine/methods/graph/hybrid.h"
#include "engine/methods/graph/saliency.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"

namespace wring {
namespace {

constexpr std::array kProbedShares{0.25, 0.5, 0.75};
constexpr std::int64_t kProbed = 256;  // examples
constexpr const char* kCycles = "cycles";

// Every tensor of a training run as it was: running statistics too. Moments start anew with each cycle.
class Restore {
 public:
  explicit Restore(GraphWeights& weights) : weights_(weights) {
    for (const auto& named : weights.state()) first_[named.suffix] = named.tensor.clone();
  }
  void operator()() const { weights_.set_state(first_); }

 private:
  GraphWeights& weights_;
  std::map<std::string, at::Tensor> first_;
};

// Of a training that others went before, all of them counted as one.
class StepsOfAll final : public Progress {
 public:
  StepsOfAll(Progress& all, std::int64_t before, std::int64_t total)
      : all_(all), before_(static_cast<std::uint64_t>(before)), total_(static_cast<std::uint64_t>(total)) {}
  void report(std::uint64_t done, std::uint64_t total, const std::string& unit, const std::string& metric,
              double value) override {
    if (unit == "steps")
      all_.report(before_ + done, total_, unit, metric, value);
    else
      all_.report(done, total, unit, metric, value);
  }

 private:
  Progress& all_;
  const std::uint64_t before_, total_;
};

class HessoCric final : public GraphMethod {
 public:
  explicit HessoCric(const Params& params)
      : training_(GraphTraining::from(params)),
        schedule_(HybridSchedule::from(params, training_.loop, 1)),
        saliency_(SaliencyOptions::from(params)),
        target_(params.get<double>("target_group_sparsity")),
        multiple_(params.get<std::int64_t>("group_divisible")),
        cycles_(params.get<std::int64_t>("max_cycle_period")),
        sampling_steps_(params.get<std::int64_t>("sampling_steps")),
        tolerance_(params.get<std::int64_t>("tolerance")) {}

  void check(const Graph& graph) const override { check_trainable_graph(graph, training_); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const Batches batches = stage.data(training_.normalisation);
    const NamedValues example = example_of(stage.graph, batches);
    const GraphLabels labels = units_of(stage, example);
    const UnitValues values(stage.graph, labels);
    Hybrid hybrid(labels, values, schedule_);
    {
      GraphWeights weights(stage.graph);
      const at::Tensor told = at::zeros({2}, at::kLong);  // cycles, and how many units were examined
      // A snapshot of the hybrid phase knows what was chosen.
      const auto& state = stage.snapshot.state();
      if (!state || state->contains(kCycles)) choose({stage, batches, labels, values, weights}, hybrid, told);
      weights.keep("units", hybrid.state());
      weights.keep("told", told);
      GraphHooks hooks;
      hooks.after_update = [&](std::int64_t step) {
        if (step >= schedule_.begin) hybrid.shrink(step);
      };
      StepsOfAll steps(stage.progress, cycles_ * sampling_steps_, most_steps());
      report["training"] = train_graph(
          {stage.graph, stage.data, steps, stage.snapshot, stage.seed, stage.arrays, stage.targets}, batches,
          training_, weights, hooks);
      report["cycles"] = told[0].item<std::int64_t>();
      report["sampled_steps"] = told[0].item<std::int64_t>() * sampling_steps_;
      report["examined"] = told[1].item<std::int64_t>();
    }
    return cut_units(stage.graph, labels, hybrid.removed(), example, report);
  }

 private:
  struct Parts {
    const GraphStage& stage;
    const Batches& batches;
    const GraphLabels& labels;
    const UnitValues& values;
    GraphWeights& weights;
  };

  std::int64_t most_steps() const { return cycles_ * sampling_steps_ + training_.loop.rate.steps; }

  std::vector<std::size_t> lowest(const GraphLabels& labels, const at::Tensor& scores) const {
    std::vector<bool> removed(labels.units.size());
    return choose_units(labels, scores, units_to_remove(labels, target_), multiple_, removed);
  }

  // What the cycles so far have come to.
  struct Sampled {
    at::Tensor sum;  // of saliencies, over the steps of all cycles
    std::int64_t samples = 0, cycles = 0;
    std::set<std::size_t> suspects, examined;
  };

  // One cycle: the suspects shrink while all trains; who else looks removable meanwhile is suspected next.
  // The first cycle's suspects are those of its first step.
  void cycle(const Parts& parts, Sampled& sampled) const {
    GraphTraining training = training_;
    training.loop.rate = {training.loop.rate.peak, sampling_steps_, 0, LearningRate::Decay::kConstant};
    training.scores_held_out = false;
    const HybridSchedule schedule{0, 1, sampling_steps_};
    Hybrid trial(parts.labels, parts.values, schedule);
    sampled.examined.insert(sampled.suspects.begin(), sampled.suspects.end());
    trial.choose({sampled.suspects.begin(), sampled.suspects.end()});
    std::set<std::size_t> next;
    GraphHooks hooks;
    hooks.before_update = [&](std::int64_t, const Optimizer& optimizer) {
      const at::Tensor scores = saliency(parts.values, parts.weights, optimizer, saliency_);
      const auto low = lowest(parts.labels, scores);
      if (sampled.samples++ == 0) {
        sampled.sum = scores;
        trial.choose(low);
        sampled.examined.insert(low.begin(), low.end());
      } else {
        sampled.sum = sampled.sum + scores;
      }
      for (const auto unit : low)
        if (!sampled.examined.contains(unit)) next.insert(unit);
    };
    hooks.after_update = [&](std::int64_t step) { trial.shrink(step); };
    Snapshot none;
    const GraphStage& stage = parts.stage;
    StepsOfAll steps(stage.progress, sampled.cycles * sampling_steps_, most_steps());
    (void)train_graph({stage.graph, stage.data, steps, none, stage.seed}, parts.batches, training,
                      parts.weights, hooks);
    sampled.suspects = next;
    ++sampled.cycles;
  }

  // The loss, over that of the whole network, with a quarter, a half and three quarters of a family's least
  // units at zero: the mean of the three, for each unit of the family over how many there are.
  at::Tensor loss_of_families(const Parts& parts, const at::Tensor& sizes, const Restore& restore) const {
    const Classifier classifier(parts.stage.graph);
    auto generator = at::make_generator<at::CPUGeneratorImpl>(parts.stage.seed);
    const at::Tensor examples = at::randperm(parts.batches.count(), generator, at::TensorOptions(at::kLong))
                                    .narrow(0, 0, std::min(kProbed, parts.batches.count()));
    const double whole = classifier.score(parts.batches, examples).mean_loss() + 1e-12;
    at::Tensor share = at::zeros_like(sizes);
    const std::size_t probes = parts.labels.families.size() * kProbedShares.size();
    std::size_t done = 0;
    for (const auto& family : parts.labels.families) {
      std::vector<std::size_t> order = family.units;
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return sizes[static_cast<std::int64_t>(a)].item<double>() <
               sizes[static_cast<std::int64_t>(b)].item<double>();
      });
      double ratio = 0;
      for (const double probed : kProbedShares) {
        parts.stage.progress.report(done++, probes, "probes");
        const auto count = static_cast<std::ptrdiff_t>(probed * static_cast<double>(order.size()));
        zero_units(parts.stage.graph, parts.labels, {order.begin(), order.begin() + count});
        ratio += classifier.score(parts.batches, examples).mean_loss() / whole / kProbedShares.size();
        restore();
      }
      for (const auto unit : family.units)
        share[static_cast<std::int64_t>(unit)] = ratio / static_cast<double>(order.size());
    }
    return share;
  }

  static at::Tensor as_tensor(const std::set<std::size_t>& units) {
    return at::tensor(std::vector<std::int64_t>(units.begin(), units.end()), at::kLong);
  }
  static std::set<std::size_t> as_set(const at::Tensor& numbers) {
    std::set<std::size_t> units;
    for (std::int64_t i = 0; i < numbers.size(0); ++i)
      units.insert(static_cast<std::size_t>(numbers[i].item<std::int64_t>()));
    return units;
  }

  // The weights are then as they were before the first cycle.
  static void keep(Snapshot& snapshot, const Sampled& sampled, const at::Tensor& at_risk) {
    snapshot.put(kCycles, {{"sum", sampled.sum},
                           {"at_risk", at_risk},
                           {"suspects", as_tensor(sampled.suspects)},
                           {"examined", as_tensor(sampled.examined)}});
    snapshot.commit({{kCycles, sampled.cycles}, {"samples", sampled.samples}});
  }
  static Sampled taken_up(const Snapshot& snapshot, at::Tensor& at_risk) {
    const auto part = snapshot.part(kCycles);
    at_risk = part.tensors.at("at_risk").clone();
    return {part.tensors.at("sum").clone(), json_at<std::int64_t>(*snapshot.state(), "samples", "snapshot"),
            json_at<std::int64_t>(*snapshot.state(), kCycles, "snapshot"),
            as_set(part.tensors.at("suspects")), as_set(part.tensors.at("examined"))};
  }

  void choose(const Parts& parts, Hybrid& hybrid, const at::Tensor& told) const {
    const Restore restore(parts.weights);
    at::Tensor at_risk;
    Sampled sampled;
    if (parts.stage.snapshot.state())
      sampled = taken_up(parts.stage.snapshot, at_risk);
    else
      at_risk = loss_of_families(parts, parts.values.squares().sqrt(), restore);
    while (sampled.cycles < cycles_ &&
           (sampled.cycles == 0 || static_cast<std::int64_t>(sampled.suspects.size()) > tolerance_)) {
      cycle(parts, sampled);
      restore();
      keep(parts.stage.snapshot, sampled, at_risk);
    }
    hybrid.choose(lowest(parts.labels, sampled.sum / sampled.samples + at_risk));
    told[0] = sampled.cycles;
    told[1] = static_cast<std::int64_t>(sampled.examined.size());
  }

  GraphTraining training_;
  HybridSchedule schedule_;
  SaliencyOptions saliency_;
  double target_;
  std::int64_t multiple_, cycles_, sampling_steps_, tolerance_;
};

WRING_GRAPH_METHOD("hesso-cric", HessoCric);

}  // namespace
}  // namespace wring
