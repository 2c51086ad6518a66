// Level switches, and selection in steps.
#include "engine/methods/search/evolution.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

namespace wring {
namespace {

constexpr std::size_t kMostChanges = 10;  // of an exchange
constexpr double kLeastRegained = 0.8;    // of what an exchange frees
constexpr std::size_t kTries = 20;        // for each offspring that is new

std::vector<std::size_t> units_where(const LevelSpace& space,
                                     const std::function<bool(std::size_t)>& condition) {
  std::vector<std::size_t> units;
  for (std::size_t unit = 0; unit < space.costs.size(); ++unit)
    if (condition(unit)) units.push_back(unit);
  return units;
}

std::uint64_t step_up(const LevelSpace& space, const Assignment& at, std::size_t unit) {
  return space.costs[unit][at[unit] + 1] - space.costs[unit][at[unit]];
}

bool can_rise(const LevelSpace& space, const Assignment& at, std::size_t unit) {
  return at[unit] + 1 < space.costs[unit].size();
}

std::size_t any_of(const std::vector<std::size_t>& units, Random& random) {
  return units[random.below(units.size())];
}

// So many units rise, then others fall until the budget holds.
bool exchange(const LevelSpace& space, Assignment& at, std::size_t rising, Random& random) {
  std::set<std::size_t> risen;
  double added = 0, freed = 0;
  for (; rising > 0; --rising) {
    const auto risers = units_where(
        space, [&](std::size_t unit) { return can_rise(space, at, unit) && !risen.contains(unit); });
    if (risers.empty()) return false;
    const std::size_t riser = any_of(risers, random);
    added += static_cast<double>(step_up(space, at, riser));
    ++at[riser];
    risen.insert(riser);
  }
  std::uint64_t cost = space.cost_of(at);
  for (std::size_t changes = risen.size(); cost > space.budget; ++changes) {
    const auto fallers = units_where(space, [&](std::size_t unit) {
      return at[unit] > 0 && !risen.contains(unit) &&
             (!space.within_sizes || space.costs[unit] == space.costs[*risen.begin()]);
    });
    if (fallers.empty() || changes == kMostChanges) return false;
    const std::size_t faller = any_of(fallers, random);
    --at[faller];
    const std::uint64_t step = step_up(space, at, faller);
    cost -= step;
    freed += static_cast<double>(step);
  }
  return added >= kLeastRegained * freed;
}

// By rising fitness; those of equal fitness stay as they were. What is not finite comes last.
void keep_best(std::vector<Assignment>& candidates, std::vector<double>& fitness, std::size_t survivors) {
  for (auto& value : fitness)
    if (!std::isfinite(value)) value = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return fitness[a] < fitness[b]; });
  order.resize(std::min(order.size(), survivors));
  std::vector<Assignment> kept;
  std::vector<double> of_kept;
  for (const auto i : order) {
    kept.push_back(std::move(candidates[i]));
    of_kept.push_back(fitness[i]);
  }
  candidates = std::move(kept);
  fitness = std::move(of_kept);
}

std::vector<Assignment> offspring_of(const Assignment& parent, const LevelSpace& space,
                                     const EvolutionOptions& options, Random& random) {
  std::vector<Assignment> offspring;
  std::set<Assignment> known{parent};
  for (std::size_t tries = kTries * options.offspring; tries > 0 && offspring.size() < options.offspring;
       --tries) {
    const auto draw = [&] { return 1 + static_cast<std::size_t>(random.below(options.most_switches)); };
    const std::size_t first = draw(), switches = std::min(first, draw());
    auto child = options.mutates ? mutated(parent, space, switches, random) : random_point(space, random);
    if (child && known.insert(*child).second) offspring.push_back(std::move(*child));
  }
  return offspring;
}

std::vector<double> measure(const Fitness& fitness, const std::vector<Assignment>& candidates,
                            std::int64_t tokens, Random draw, SearchState& state) {
  state.tokens += tokens * static_cast<std::int64_t>(candidates.size());
  return fitness(candidates, tokens, draw);
}

}  // namespace

std::uint64_t LevelSpace::least() const {
  return std::accumulate(costs.begin(), costs.end(), std::uint64_t{0},
                         [](auto sum, const auto& unit) { return sum + unit.front(); });
}

std::uint64_t LevelSpace::most() const {
  return std::accumulate(costs.begin(), costs.end(), std::uint64_t{0},
                         [](auto sum, const auto& unit) { return sum + unit.back(); });
}

std::uint64_t LevelSpace::cost_of(const Assignment& assignment) const {
  std::uint64_t cost = 0;
  for (std::size_t unit = 0; unit < costs.size(); ++unit) cost += costs[unit][assignment[unit]];
  return cost;
}

Assignment uniform_point(const LevelSpace& space, Random& random) {
  Assignment at(space.costs.size(), 0);
  for (std::size_t level = 1; space.cost_of(at) <= space.budget; ++level) {
    const auto risers =
        units_where(space, [&](std::size_t unit) { return space.costs[unit].size() > level; });
    if (risers.empty()) return at;
    for (const auto unit : risers) at[unit] = level;
  }
  while (space.cost_of(at) > space.budget) {
    const std::size_t highest = *std::max_element(at.begin(), at.end());
    const auto raised = units_where(space, [&](std::size_t unit) { return at[unit] == highest; });
    --at[any_of(raised, random)];
  }
  return at;
}

Assignment random_point(const LevelSpace& space, Random& random) {
  Assignment at;
  for (const auto& unit : space.costs) at.push_back(random.below(unit.size()));
  while (space.cost_of(at) > space.budget)
    --at[any_of(units_where(space, [&](std::size_t unit) { return at[unit] > 0; }), random)];
  for (;;) {
    const std::uint64_t left = space.budget - space.cost_of(at);
    const auto risers = units_where(space, [&](std::size_t unit) {
      return can_rise(space, at, unit) && step_up(space, at, unit) <= left;
    });
    if (risers.empty()) return at;
    ++at[any_of(risers, random)];
  }
}

std::optional<Assignment> mutated(const Assignment& parent, const LevelSpace& space, std::size_t switches,
                                  Random& random) {
  Assignment child = parent;
  if (!space.within_sizes)
    return exchange(space, child, switches, random) ? std::optional(child) : std::nullopt;
  for (; switches > 0; --switches)
    if (!exchange(space, child, 1, random)) return std::nullopt;
  return child;
}

Json SearchState::to_json() const {
  return {{"parent", parent}, {"generations", generations}, {"tokens", tokens}, {"fitness", fitness}};
}

SearchState SearchState::from_json(const Json& json, const std::string& field) {
  return {json_at<Assignment>(json, "parent", field), json_at<std::size_t>(json, "generations", field),
          json_at<std::int64_t>(json, "tokens", field), json_at<std::vector<double>>(json, "fitness", field)};
}

Assignment best_of(std::vector<Assignment> points, const EvolutionOptions& options, const Fitness& fitness,
                   std::uint64_t seed, SearchState& state) {
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  if (points.size() > 1) {
    auto values = measure(fitness, points, options.steps.front().tokens, Random(seed), state);
    keep_best(points, values, 1);
  }
  return points.front();
}

void evolve(const LevelSpace& space, const EvolutionOptions& options, const Fitness& fitness,
            std::uint64_t seed, SearchState& state, const std::function<void()>& after) {
  while (state.generations < options.generations) {
    Random random(seed, state.generations + 1);
    auto candidates = offspring_of(state.parent, space, options, random);
    if (candidates.empty()) {  // there is nothing but the parent
      state.generations = options.generations;
      return after();
    }
    std::vector<double> values;
    for (std::size_t step = 0; step < options.steps.size(); ++step) {
      const bool last = step + 1 == options.steps.size();
      if (last) candidates.insert(candidates.begin(), state.parent);
      values = measure(fitness, candidates, options.steps[step].tokens, Random(random.next()), state);
      keep_best(candidates, values, last ? 1 : options.steps[step].survivors);
    }
    state.parent = candidates.front();
    state.fitness.push_back(values.front());
    ++state.generations;
    after();
  }
}

}  // namespace wring
