// Evolutionary search for a level of each unit under one budget (Sieberling et al., EvoPress, ICML 2025).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/json.h"
#include "common/random.h"

namespace wring {

using Assignment = std::vector<std::size_t>;  // of each unit an index of its levels

// What is chosen from.
struct LevelSpace {
  std::vector<std::vector<std::uint64_t>> costs;  // [unit][level], rising
  std::uint64_t budget = 0;                       // of all units together
  bool within_sizes = true;                       // units give and take only among those of equal costs

  std::uint64_t least() const;
  std::uint64_t most() const;
  std::uint64_t cost_of(const Assignment& assignment) const;
};

// Of a candidate's kind, all within the budget, which is no less than least():
//   uniform_point  all units at one level, those that this would be too much for at the one below, at random
//   random_point   each at any level, then lowered and raised at random as the budget lets
Assignment uniform_point(const LevelSpace& space, Random& random);
Assignment random_point(const LevelSpace& space, Random& random);

// `parent` after so many level switches: one unit rises a level, others fall until the budget holds. Within
// sizes one switch follows the other, else all that rise do so first. nullopt where an exchange takes more
// than ten steps, loses more than a fifth of what it frees, or nothing can rise.
std::optional<Assignment> mutated(const Assignment& parent, const LevelSpace& space, std::size_t switches,
                                  Random& random);

struct SelectionStep {
  std::size_t survivors;
  std::int64_t tokens;
};

struct EvolutionOptions {
  std::size_t generations = 1, offspring = 1, most_switches = 3;
  std::vector<SelectionStep> steps;  // fewer survivors and more tokens each time; one survivor in the end
  bool mutates = true;               // false: offspring are random points
};

// The divergence of each candidate on the same tokens, which `draw` chooses; lower is better.
using Fitness = std::function<std::vector<double>(const std::vector<Assignment>& candidates,
                                                  std::int64_t tokens, Random draw)>;

struct SearchState {
  Assignment parent;
  std::size_t generations = 0;  // that are over
  std::int64_t tokens = 0;      // that candidates were measured on
  std::vector<double> fitness;  // of each generation's winner, on the tokens of its last selection

  Json to_json() const;
  static SearchState from_json(const Json& json, const std::string& field);  // throws Error(kInvalidArgument)
};

// The best of some points on the first step's tokens. `points` is not empty.
Assignment best_of(std::vector<Assignment> points, const EvolutionOptions& options, const Fitness& fitness,
                   std::uint64_t seed, SearchState& state);

// From state.parent on: each generation's offspring are selected step by step on fresh tokens, and what is
// left meets the parent on those of the last step. `after` is called after each. Every generation's draws
// hang on `seed` and its number alone, so that a search goes on from its state as if it had not stopped.
void evolve(const LevelSpace& space, const EvolutionOptions& options, const Fitness& fitness,
            std::uint64_t seed, SearchState& state, const std::function<void()>& after);

}  // namespace wring
