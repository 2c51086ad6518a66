// From the table to recipes.
#include "server/sweeps/plans.h"

#include <algorithm>
#include <cmath>

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
  artifact_bytes_ = json_at<std::uint64_t>(table, "artifact_bytes", "sensitivity");
  weight_bytes_ = json_at<std::uint64_t>(table, "weight_bytes", "sensitivity");
  parameters_ = json_at<double>(table, "parameters", "sensitivity");
  rest_ = artifact_bytes_;
  const auto handed_in = [&](const char* metric, std::uint64_t now) {
    const Json* const row = find_metric_row(outcome, {"size", metric});
    return row ? row->at("value").get<double>() : static_cast<double>(now);
  };
  input_bytes_ = handed_in("artifact_bytes", artifact_bytes_);
  input_weight_bytes_ = handed_in("weight_bytes", weight_bytes_);
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

std::optional<std::uint64_t> Plans::most_bytes() const {
  std::optional<double> most;
  for (const auto& bound : sweep_.constraints) {
    if (!is_size(bound.metric) || !bound.maximum) continue;
    const bool of_all = bound.metric.name == "artifact_bytes", bits = bound.metric.name == "bits_per_weight";
    const double unit = bound.of_input ? (of_all ? input_bytes_ : input_weight_bytes_)
                        : bits         ? parameters_ / 8
                                       : 1;
    const auto beside = static_cast<double>(artifact_bytes_ - weight_bytes_);  // files that hold no tensors
    const double bytes = *bound.maximum * unit + (of_all ? 0 : beside);
    most = std::min(most.value_or(bytes), bytes);
  }
  if (!most) return std::nullopt;
  return static_cast<std::uint64_t>(std::max(0.0, std::floor(*most)));
}

std::vector<std::vector<Choice>> Plans::choices(Trust trust) const {
  std::vector<std::vector<Choice>> items;
  for (const auto& layer : layers_) {
    items.emplace_back();
    for (const auto& at : layer.levels) {
      const double weight = has_kl_ && at.error > 0 ? std::pow(at.kl / at.error, trust) : 1.0;
      items.back().push_back({at.bytes, weight * at.error});
    }
  }
  return items;
}

Plan Plans::plan_of(const Allocation& allocation) const {
  Plan plan;
  std::vector<PlannedLevel> planned;
  for (const auto& level : levels_) planned.push_back({level, {}});
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::size_t level = layers_[i].levels[allocation.chosen[i]].level;
    plan.levels.push_back(level);
    planned[level].layers.push_back(layers_[i].name);
  }
  std::erase_if(planned, [](const auto& level) { return level.layers.empty(); });
  plan.bytes = rest_ + allocation.bytes;
  plan.loss = allocation.loss;
  plan.recipe = plan_recipe(sweep_, planned);
  return plan;
}

std::optional<Plan> Plans::mixed(Trust trust, std::uint64_t bytes) const {
  if (bytes < rest_) return std::nullopt;
  const auto allocation = allocate(choices(trust), bytes - rest_);
  if (!allocation) return std::nullopt;
  Plan plan = plan_of(*allocation);
  plan.trust = trust;
  plan.label = has_kl_ ? trust_text(trust) : trust_text(0);
  return plan;
}

Plan Plans::smallest() const {
  Allocation all;
  for (const auto& item : choices(1)) {
    const auto least = std::min_element(item.begin(), item.end(),
                                        [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
    all.chosen.push_back(static_cast<std::size_t>(least - item.begin()));
    all.bytes += least->bytes;
    all.loss += least->loss;
  }
  Plan plan = plan_of(all);
  plan.label = "the smallest levels";
  return plan;
}

std::vector<Plan> Plans::uniform() const {
  std::vector<Plan> plans;
  const auto items = choices(1);
  std::vector<std::string> names;
  for (const auto& layer : layers_) names.push_back(layer.name);
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    Plan plan;
    plan.uniform = true;
    plan.bytes = rest_;
    for (std::size_t i = 0; i < layers_.size(); ++i)
      for (std::size_t k = 0; k < layers_[i].levels.size(); ++k)
        if (layers_[i].levels[k].level == level) {
          plan.levels.push_back(level);
          plan.bytes += items[i][k].bytes;
          plan.loss += items[i][k].loss;
        }
    if (plan.levels.size() != layers_.size()) continue;
    const StageSpec& stage = levels_[level];
    plan.label = "uniform " + call_text(*Catalogue::embedded().find(stage.method), stage.params);
    plan.recipe = plan_recipe(sweep_, {{stage, names}});
    plans.push_back(std::move(plan));
  }
  std::stable_sort(plans.begin(), plans.end(),
                   [](const Plan& a, const Plan& b) { return a.bytes < b.bytes; });
  return plans;
}

}  // namespace wring
