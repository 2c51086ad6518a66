// EvoPress: each layer at the level that an evolutionary search under a budget finds for it, by the whole
// model's divergence from the dense one (Sieberling et al., ICML 2025).
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "common/error.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/compress_layer.h"
#include "engine/methods/search/search_stage.h"
#include "engine/methods/search/searching_method.h"
#include "engine/model/model.h"
#include "engine/run/team.h"
#include "recipe/allocation.h"
#include "recipe/levels.h"

namespace wring {
namespace {

[[noreturn]] void refuse(const char* reason, const std::string& message, const std::string& field,
                         const std::string& hint) {
  throw Error(ErrorCode::kInvalidArgument, reason, message, field, hint);
}

std::string short_number(double value) {
  std::string text = Json(std::round(value * 1e4) / 1e4).dump();
  return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
}

double weights_of(const Layer& layer) {
  return static_cast<double>(layer.weight().rows()) * static_cast<double>(layer.weight().columns());
}

// What the budget bounds.
enum class Unit { kBits, kBytes, kSparsity };

std::uint64_t cost_of(const WeightRep& weight, Unit unit) {
  if (unit != Unit::kSparsity) return weight.stored_bytes();
  return static_cast<std::uint64_t>(at::count_nonzero(weight.decode(at::kFloat)).item<std::int64_t>());
}

class EvoPress final : public SearchingMethod {
 public:
  explicit EvoPress(const Params& params)
      : params_(params),
        levels_(make_levels(params, "levels")),
        budget_(params.get<double>("budget")),
        search_(params.get<std::string>("search")),
        start_(params.get<std::string>("start")),
        initial_(params.get<std::size_t>("initial")),
        within_sizes_(params.get<std::string>("exchange") == "size") {
    const auto unit = params.get<std::string>("unit");
    unit_ = unit == "bits" ? Unit::kBits : unit == "bytes" ? Unit::kBytes : Unit::kSparsity;
    if (unit_ == Unit::kSparsity && budget_ >= 1)
      refuse("OUT_OF_RANGE", "a share of zeros of " + short_number(budget_) + " leaves nothing",
             params.field("budget"), "Give a share below 1, or say unit=bits or unit=bytes.");
    options_ = evolution_options(params);
    options_.mutates = search_ == "evolution";
    check_there(params.get<std::int64_t>("samples") * params.get<std::int64_t>("sequence_length"));
  }

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }
  bool keeps_layers() const override { return true; }

  std::int64_t searched_tokens() const override { return searches() ? wring::searched_tokens(options_) : 0; }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    for (const Layer* layer : model.layers()) {
      if (!targets.contains(layer)) continue;
      if (!layer->input_tap().starts_with("L"))
        refuse("NO_LEVEL", layer->name() + " is in no block", params_.field("levels"),
               "Compress embeddings and heads by a stage of their own, before this one.");
      bool taken = false;
      for (const auto& level : levels_) {
        if (!level.takes(*layer)) continue;
        level.method->check(*layer);
        taken = true;
      }
      if (!taken)
        refuse("NO_LEVEL", "no level takes " + layer->name(), params_.field("levels"),
               "Name it in a level's targets, or leave it out of the stage's.");
    }
  }

  Json run(const StageInput& stage) const override {
    check_there(stage.calibration.ids.numel());
    auto layers = make_level_database(
        stage, [&](const Layer& layer, const Statistics& x) { return versions_of(levels_, layer, x); },
        params_.field("levels"));
    if (!stage.calibration.team().first()) return {{"layers", Json::array()}};  // the first one's is kept
    const LevelSpace space = space_of(layers);
    check_budget(space, layers);
    const SearchState found =
        searches() ? search_plan(
                         stage, options_, space, layers,
                         [&] { return first_points(space, layers, stage.seed); }, params_.field("levels"))
                   : SearchState{additive(space, layers), 0, 0, {}};
    Json reports = Json::array();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const Version& chosen = layers[i].versions[found.parent[i]];
      layers[i].layer->set_weight(chosen.weight);
      const StageSpec& level = levels_[chosen.level].stage;
      reports.push_back(
          layer_report(*layers[i].layer, chosen.error,
                       {{"level", call_text(*Catalogue::embedded().find(level.method), level.params)}}));
    }
    return {{"layers", std::move(reports)},        {"budget", space.budget},
            {"cost", space.cost_of(found.parent)}, {"generations", found.generations},
            {"searched_tokens", found.tokens},     {"kl", found.fitness}};
  }

  // At the middle one of the levels.
  void try_out(Layer& layer, const Statistics* x) const override {
    const auto versions = versions_of(levels_, layer, *x);
    layer.set_weight(versions[versions.size() / 2].weight);
  }

 private:
  bool searches() const { return search_ != "additive"; }

  void check_there(std::int64_t tokens) const {
    if (searches()) check_tokens(options_, tokens, params_);
  }

  // Versions by rising cost.
  LevelSpace space_of(std::vector<LayerVersions>& layers) const {
    LevelSpace space;
    space.within_sizes = within_sizes_;
    double weights = 0;
    for (auto& [layer, versions] : layers) {
      std::vector<std::pair<std::uint64_t, Version>> priced;
      for (auto& version : versions) priced.emplace_back(cost_of(*version.weight, unit_), std::move(version));
      std::stable_sort(priced.begin(), priced.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      auto& costs = space.costs.emplace_back();
      versions.clear();
      for (auto& [cost, version] : priced) {
        costs.push_back(cost);
        versions.push_back(std::move(version));
      }
      weights += weights_of(*layer);
    }
    const double most = unit_ == Unit::kBytes  ? budget_
                        : unit_ == Unit::kBits ? budget_ * weights / 8
                                               : (1 - budget_) * weights;
    space.budget = static_cast<std::uint64_t>(std::llround(most));
    return space;
  }

  void check_budget(const LevelSpace& space, const std::vector<LayerVersions>& layers) const {
    if (space.budget >= space.least() && space.budget <= space.most()) return;
    const double weights = std::accumulate(
        layers.begin(), layers.end(), 0.0,
        [](double sum, const LayerVersions& layer) { return sum + weights_of(*layer.layer); });
    const auto in_unit = [&](std::uint64_t cost) {
      const auto at = static_cast<double>(cost);
      return unit_ == Unit::kBytes ? at : unit_ == Unit::kBits ? 8 * at / weights : 1 - at / weights;
    };
    const double least = in_unit(space.least()), most = in_unit(space.most());
    refuse("OUT_OF_RANGE",
           space.budget < space.least()
               ? "the smallest levels come to " + short_number(least)
               : "the largest levels come to " + short_number(most) + ": nothing is to be chosen",
           params_.field("budget"),
           "Give between " + short_number(std::min(least, most)) + " and " +
               short_number(std::max(least, most)) + ", or other levels.");
  }

  // The least sum of the layers' relative errors.
  static Assignment additive(const LevelSpace& space, const std::vector<LayerVersions>& layers) {
    std::vector<std::vector<Choice>> choices;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      choices.emplace_back();
      for (std::size_t k = 0; k < layers[i].versions.size(); ++k)
        choices.back().push_back({space.costs[i][k], layers[i].versions[k].error});
    }
    return allocate(choices, space.budget)->chosen;
  }

  std::vector<Assignment> first_points(const LevelSpace& space, const std::vector<LayerVersions>& layers,
                                       std::uint64_t seed) const {
    if (start_ == "additive") return {additive(space, layers)};
    Random random(seed);
    std::vector<Assignment> points;
    while (points.size() < initial_) points.push_back(uniform_point(space, random));
    return points;
  }

  Params params_;
  std::vector<Level> levels_;
  double budget_;
  Unit unit_ = Unit::kBits;
  std::string search_, start_;
  std::size_t initial_;
  bool within_sizes_;
  EvolutionOptions options_;
};

WRING_METHOD("evopress", EvoPress);

}  // namespace
}  // namespace wring
