// From the table to recipes.
#include "server/sweeps/plans.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "common/error.h"
#include "recipe/levels.h"
#include "server/sweeps/outcome.h"

namespace wring {
namespace {

// Headers and attributes of one compressed layer, until a trial has told.
constexpr std::uint64_t kBytesAround = 400;

std::string trust_text(Trust trust) {
  if (trust == 1) return "mixed by kl";
  return trust == 0 ? "mixed by error" : "mixed by kl^" + Json(trust).dump();
}

}  // namespace

Plans::Plans(const Sweep& sweep, const Json& outcome)
    : sweep_(sweep), levels_(levels_of(sweep.strategy.levels)), has_kl_(true) {
  const auto table = json_at<Json>(outcome, "sensitivity", "outcome");
  const auto handed_in = [&](const char* metric, double now) {
    const Json* const row = find_metric_row(outcome, {"size", metric});
    return Figure{now, row ? row->at("value").get<double>() : now};
  };
  bytes_ = handed_in("artifact_bytes", json_at<double>(table, "artifact_bytes", "sensitivity"));
  weight_bytes_ = handed_in("weight_bytes", json_at<double>(table, "weight_bytes", "sensitivity"));
  parameters_ = json_at<double>(table, "parameters", "sensitivity");
  bits_ = handed_in("bits_per_weight", weight_bytes_.now * 8 / parameters_);
  memory_ = measured(outcome, "memory", "inference_bytes");
  speed_ = measured(outcome, "latency", "decode_speed");
  read_layers(table);
  if (asks_for(sweep_, "latency")) read_times(outcome);
  speed_is_shared_ = std::any_of(sweep_.constraints.begin(), sweep_.constraints.end(),
                                 [](const auto& bound) { return is_speed(bound.metric) && bound.of_input; });
}

// The row of the result has the input's value beside its own.
Plans::Figure Plans::measured(const Json& outcome, const char* suite, const char* metric) const {
  if (!asks_for(sweep_, suite)) return {};
  const Json* const row = find_metric_row(outcome, {suite, metric});
  const double now = row ? row->at("value").get<double>() : 0;
  if (!(now > 0))
    throw Error(ErrorCode::kDataLoss, "NOT_MEASURED",
                std::string(metric) + " was not measured of the model as handed in");
  const bool same = sweep_.recipe.at("stages").empty();
  return {now, same ? now : json_or<double>(*row, "baseline", now)};
}

void Plans::read_layers(const Json& table) {
  rest_ = static_cast<std::uint64_t>(bytes_.now);
  for (const auto& row : json_at<std::vector<Json>>(table, "layers", "sensitivity")) {
    LayerRow layer{json_at<std::string>(row, "layer", "sensitivity"),
                   json_at<std::uint64_t>(row, "bytes", "sensitivity"),
                   {}};
    for (const auto& at : json_at<std::vector<Json>>(row, "levels", "sensitivity")) {
      const bool has_kl = at.contains("kl");
      has_kl_ = has_kl_ && has_kl;
      layer.levels.push_back({json_at<std::size_t>(at, "level", "sensitivity"),
                              json_at<std::uint64_t>(at, "bytes", "sensitivity"),
                              json_at<double>(at, "error", "sensitivity"),
                              has_kl ? json_at<double>(at, "kl", "sensitivity") : 0});
      if (layer.levels.back().level >= levels_.size())
        throw Error(ErrorCode::kDataLoss, "BAD_SENSITIVITY", "the table has a level that was not asked for");
    }
    if (layer.levels.empty()) continue;
    rest_ = rest_ - std::min(rest_, layer.bytes) + kBytesAround;
    layers_.push_back(std::move(layer));
  }
  if (layers_.empty()) throw Error(ErrorCode::kDataLoss, "BAD_SENSITIVITY", "the table has no layers");
}

// A token of a plan takes what it takes now, but for the layers whose levels take another time.
void Plans::read_times(const Json& outcome) {
  std::map<std::string, const Json*> shapes;
  const auto table = json_at<Json>(outcome, "level_times", "outcome");
  const auto rows = json_at<std::vector<Json>>(table, "shapes", "level_times");
  for (const auto& shape : rows)
    for (const auto& name : json_at<std::vector<std::string>>(shape, "layers", "level_times"))
      shapes[name] = &shape;
  rest_seconds_ = 1 / speed_.now;
  for (auto& layer : layers_) {
    const auto shape = shapes.find(layer.name);
    if (shape == shapes.end())
      throw Error(ErrorCode::kDataLoss, "NOT_MEASURED", "no time was measured of the layer " + layer.name);
    rest_seconds_ -= json_at<double>(*shape->second, "seconds", "level_times");
    std::map<std::size_t, double> seconds;
    for (const auto& at : json_at<std::vector<Json>>(*shape->second, "levels", "level_times"))
      seconds[json_at<std::size_t>(at, "level", "level_times")] =
          json_at<double>(at, "seconds", "level_times");
    for (auto& at : layer.levels) {
      if (!seconds.contains(at.level))
        throw Error(ErrorCode::kDataLoss, "NOT_MEASURED",
                    "no time was measured of the layer " + layer.name + " at one of its levels");
      at.seconds = seconds.at(at.level);
    }
  }
}

// The tightest of the bounds on metrics of this suite; `bound` gives what one is, or infinity.
std::optional<double> Plans::least_bound(const char* suite,
                                         const std::function<double(const Constraint&)>& bound) const {
  double least = INFINITY;
  for (const auto& constraint : sweep_.constraints)
    if (constraint.metric.suite == suite) least = std::min(least, bound(constraint));
  return std::isfinite(least) ? std::optional(least) : std::nullopt;
}

Budget Plans::most() const {
  // As if no byte of the model were memory's to keep beside its files' bytes.
  const double share_of_memory = memory_.now > 0 ? bytes_.now / memory_.now : 1;
  Budget budget = most({});
  const auto memory = least_bound("memory", [&](const Constraint& bound) {
    return bound.maximum ? *bound.maximum * (bound.of_input ? memory_.input : 1) * share_of_memory : INFINITY;
  });
  if (memory) budget.bytes = std::min(budget.bytes.value_or(*memory), *memory);
  return budget;
}

Budget Plans::most(const Unforeseen& more) const {
  Budget budget;
  const double beside = bytes_.now - weight_bytes_.now;  // files that hold no tensors
  budget.bytes = least_bound("size", [&](const Constraint& bound) {
    if (!bound.maximum) return static_cast<double>(INFINITY);
    const auto& name = bound.metric.name;
    if (name == "artifact_bytes") return *bound.maximum * (bound.of_input ? bytes_.input : 1);
    if (name == "weight_bytes") return *bound.maximum * (bound.of_input ? weight_bytes_.input : 1) + beside;
    return *bound.maximum * (bound.of_input ? bits_.input : 1) * parameters_ / 8 + beside;
  });
  if (budget.bytes) *budget.bytes -= more.bytes.value_or(0);
  if (more.memory) {
    const auto memory = least_bound("memory", [&](const Constraint& bound) {
      return bound.maximum ? *bound.maximum * (bound.of_input ? memory_.input : 1) - *more.memory : INFINITY;
    });
    if (memory) budget.bytes = std::min(budget.bytes.value_or(*memory), *memory);
  }
  budget.seconds = least_bound("latency", [&](const Constraint& bound) {
    return bound.minimum ? 1 / (*bound.minimum * (bound.of_input ? speed_.input : 1)) : INFINITY;
  });
  if (budget.seconds) *budget.seconds -= more.seconds.value_or(0);
  return budget;
}

Plans::Unforeseen Plans::unforeseen(const Plan& plan, const Json& outcome) const {
  const auto row_of = [&](const char* suite, const char* metric) {
    return find_metric_row(outcome, {suite, metric});
  };
  Unforeseen more;
  if (const Json* const row = row_of("size", "artifact_bytes"))
    more.bytes = row->at("value").get<double>() - static_cast<double>(plan.bytes);
  if (const Json* const row = row_of("memory", "inference_bytes"))
    more.memory = row->at("value").get<double>() - static_cast<double>(plan.bytes);
  if (const Json* const row = row_of("latency", "decode_speed"); row && speed_.input > 0) {
    // Of a share in the input's seconds as trial 0 had them: what else the machine did meets both figures.
    const double input = speed_is_shared_ ? json_or<double>(*row, "baseline", speed_.input) : speed_.input;
    more.seconds = input / row->at("value").get<double>() / speed_.input - plan.seconds;
  }
  return more;
}

double Plans::loss_of(const AtLevel& at, Trust trust) const {
  return (has_kl_ && at.error > 0 ? std::pow(at.kl / at.error, trust) : 1.0) * at.error;
}

Plan Plans::plan_of(const std::vector<std::size_t>& chosen, Trust trust) const {
  Plan plan;
  std::vector<PlannedLevel> planned;
  for (const auto& level : levels_) planned.push_back({level, {}});
  plan.bytes = rest_;
  plan.seconds = rest_seconds_;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const AtLevel& at = layers_[i].levels[chosen[i]];
    plan.levels.push_back(at.level);
    planned[at.level].layers.push_back(layers_[i].name);
    plan.bytes += at.bytes;
    plan.seconds += at.seconds;
    plan.loss += loss_of(at, trust);
  }
  std::erase_if(planned, [](const auto& level) { return level.layers.empty(); });
  plan.recipe = plan_recipe(sweep_, planned);
  return plan;
}

// Bytes and seconds as shares of what the budget leaves for layers; `weight` is that of the seconds. Within
// `part` of their weighed sum, and within each bound.
std::optional<Plan> Plans::weighed(Trust trust, const Budget& budget, double weight, double part) const {
  constexpr double kWhole = 1e12;
  const double bytes = budget.bytes ? *budget.bytes - static_cast<double>(rest_) : 1e18,
               seconds = budget.seconds ? *budget.seconds - rest_seconds_ : 1;
  if (bytes < 0 || seconds <= 0) return std::nullopt;
  std::vector<std::vector<Choice>> items;
  for (const auto& layer : layers_) {
    items.emplace_back();
    for (const auto& at : layer.levels) {
      const double share =
          (1 - weight) * static_cast<double>(at.bytes) / std::max(bytes, 1.0) + weight * at.seconds / seconds;
      const auto cost = weight == 0 ? at.bytes : static_cast<std::uint64_t>(std::min(share, 1e6) * kWhole);
      items.back().push_back({cost, loss_of(at, trust)});
    }
  }
  const auto allocation =
      allocate(items, static_cast<std::uint64_t>(weight == 0 ? std::min(part * bytes, 1e18) : part * kWhole));
  if (!allocation) return std::nullopt;
  Plan plan = plan_of(allocation->chosen, trust);
  if (budget.bytes && static_cast<double>(plan.bytes) > *budget.bytes) return std::nullopt;
  if (budget.seconds && plan.seconds > *budget.seconds * (1 + 1e-9)) return std::nullopt;
  return plan;
}

std::optional<Plan> Plans::mixed(Trust trust, const Budget& budget) const {
  constexpr int kWays = 32;
  const bool both = budget.bytes && budget.seconds;
  std::optional<Plan> best;
  // A sum of two shares that is within may have one that is not: then a little less of both.
  for (const double part : {1.0, 0.98, 0.95}) {
    for (int way = 0; way <= kWays; ++way) {
      if ((way > 0 && !budget.seconds) || (way < kWays && budget.seconds && !both)) continue;
      auto plan = weighed(trust, budget, static_cast<double>(way) / kWays, part);
      if (plan && (!best || plan->loss < best->loss)) best = std::move(plan);
    }
    if (!both) break;
  }
  if (!best) return std::nullopt;
  best->trust = trust;
  best->label = trust_text(has_kl_ ? trust : 0);
  return best;
}

Plan Plans::cheapest(const Budget& budget) const {
  const bool fastest = budget.seconds && !budget.bytes;
  std::vector<std::size_t> chosen;
  for (const auto& layer : layers_) {
    const auto least = std::min_element(
        layer.levels.begin(), layer.levels.end(),
        [&](const auto& a, const auto& b) { return fastest ? a.seconds < b.seconds : a.bytes < b.bytes; });
    chosen.push_back(static_cast<std::size_t>(least - layer.levels.begin()));
  }
  Plan plan = plan_of(chosen, 1);
  plan.label = fastest ? "the fastest levels" : "the smallest levels";
  return plan;
}

std::vector<Plan> Plans::uniform() const {
  std::vector<Plan> plans;
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    std::vector<std::size_t> chosen;
    for (const auto& layer : layers_)
      for (std::size_t k = 0; k < layer.levels.size(); ++k)
        if (layer.levels[k].level == level) chosen.push_back(k);
    if (chosen.size() != layers_.size()) continue;
    Plan plan = plan_of(chosen, 1);
    plan.uniform = true;
    const StageSpec& stage = levels_[level];
    plan.label = "uniform " + call_text(*Catalogue::embedded().find(stage.method), stage.params);
    plans.push_back(std::move(plan));
  }
  std::stable_sort(plans.begin(), plans.end(),
                   [](const Plan& a, const Plan& b) { return a.bytes < b.bytes; });
  return plans;
}

}  // namespace wring
