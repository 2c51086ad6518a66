// A search in a stage: parameters, progress, snapshots.
#include "engine/methods/search/search_stage.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/calibrate.h"
#include "engine/methods/search/candidate_kl.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"

namespace wring {
namespace {

[[noreturn]] void out_of_range(const std::string& message, const std::string& field,
                               const std::string& hint) {
  throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", message, field, hint);
}

bool is_whole(double number) {
  return number >= 1 && number <= 1e12 && number == std::floor(number);
}

std::vector<SelectionStep> steps_of(const Params& params) {
  const auto offspring = params.get<std::int64_t>("offspring");
  const auto survivors = params.get<std::vector<double>>("survivors"),
             tokens = params.get<std::vector<double>>("tokens");
  if (survivors.empty() || survivors.back() != 1)
    out_of_range("a generation ends with one survivor", params.field("survivors"),
                 "For instance [16, 4, 1].");
  if (tokens.size() != survivors.size())
    out_of_range(std::to_string(tokens.size()) + " numbers of tokens for " +
                     std::to_string(survivors.size()) + " selections",
                 params.field("tokens"), "Give one for each of survivors.");
  std::vector<SelectionStep> steps;
  for (std::size_t i = 0; i < survivors.size(); ++i) {
    const double before = i > 0 ? survivors[i - 1] : static_cast<double>(offspring + 1);
    if (!is_whole(survivors[i]) || survivors[i] >= before)
      out_of_range("a selection keeps fewer than there are, in whole numbers", params.field("survivors"),
                   "For instance [16, 4, 1] of 128 offspring.");
    if (!is_whole(tokens[i]) || (i > 0 && tokens[i] < tokens[i - 1]))
      out_of_range("selections take whole numbers of tokens that do not fall", params.field("tokens"),
                   "For instance [2048, 16384, 131072].");
    steps.push_back({static_cast<std::size_t>(survivors[i]), static_cast<std::int64_t>(tokens[i])});
  }
  return steps;
}

SearchState kept_state(const Snapshot& snapshot, const LevelSpace& space) {
  if (!snapshot.state() || !snapshot.state()->contains("search")) return {};
  SearchState state = SearchState::from_json(snapshot.state()->at("search"), "snapshot.search");
  bool fits = state.parent.size() == space.costs.size();
  for (std::size_t i = 0; fits && i < space.costs.size(); ++i) fits = state.parent[i] < space.costs[i].size();
  if (!fits || space.cost_of(state.parent) > space.budget)
    throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "the search that was kept is of another space");
  return state;
}

void keep_state(Snapshot& snapshot, const SearchState& search) {
  if (!snapshot.keeps()) return;
  Json state = snapshot.state().value_or(Json::object());
  state["search"] = search.to_json();
  snapshot.commit(std::move(state));
}

}  // namespace

EvolutionOptions evolution_options(const Params& params) {
  EvolutionOptions options;
  options.generations = params.get<std::size_t>("generations");
  options.offspring = params.get<std::size_t>("offspring");
  options.most_switches = params.get<std::size_t>("switches");
  options.steps = steps_of(params);
  return options;
}

void check_tokens(const EvolutionOptions& options, std::int64_t there, const Params& params) {
  if (options.steps.back().tokens > there)
    out_of_range("the calibration set has " + std::to_string(there) + " tokens", params.field("tokens"),
                 "Raise samples, calibrate on a longer text, or compare on fewer tokens.");
}

std::int64_t searched_tokens(const EvolutionOptions& options) {
  double tokens = 0, candidates = static_cast<double>(options.offspring);
  for (std::size_t i = 0; i < options.steps.size(); ++i) {
    const bool last = i + 1 == options.steps.size();  // where the parent takes part
    tokens += (candidates + last) * static_cast<double>(options.steps[i].tokens);
    candidates = static_cast<double>(options.steps[i].survivors);
  }
  return static_cast<std::int64_t>(std::min(1e18, tokens * static_cast<double>(options.generations)));
}

SearchState search_plan(const StageInput& stage, const EvolutionOptions& options, const LevelSpace& space,
                        const std::vector<LayerVersions>& layers,
                        const std::function<std::vector<Assignment>()>& first_points,
                        const std::string& field) {
  SearchState state = kept_state(stage.snapshot, space);
  const auto report = [&] {
    const bool measured = !state.fitness.empty();
    stage.progress.report(state.generations, options.generations, "generations", measured ? "KL" : "",
                          measured ? state.fitness.back() : 0);
  };
  report();
  const CandidateKl kl(stage.model, layers, stage.calibration, report);
  if (state.parent.empty()) state.parent = best_of(first_points(), options, std::ref(kl), stage.seed, state);
  evolve(space, options, std::ref(kl), stage.seed, state, [&] {
    if (!state.fitness.empty() && !std::isfinite(state.fitness.back()))
      throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "no plan's KL divergence is finite", field,
                  "Leave out the level that breaks the model.");
    keep_state(stage.snapshot, state);
    report();
  });
  return state;
}

}  // namespace wring
