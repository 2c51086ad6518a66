// Sweeps: a recipe, a space around it, a strategy that walks through it, and what its trials are judged by.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/recipe.h"
#include "recipe/space.h"

namespace wring {

// A measure that an evaluation of the recipe reports of the result: one of its suite's.
struct Metric {
  std::string suite;  // as named_evaluations() has it
  std::string name;
  bool operator==(const Metric&) const = default;
};
struct Objective {
  Metric metric;
  bool maximise = false;
};
struct Constraint {
  Metric metric;
  std::optional<double> minimum, maximum;
  bool of_input = false;  // they are shares of what the model as handed in has
};

// What grows from rung to rung: `low`, low * eta, ..., at most `high`.
struct Fidelity {
  std::string path;
  double low = 0, high = 0, eta = 3;

  std::uint32_t rungs() const;
  Json value(std::uint32_t rung) const;
};

struct StrategySpec {
  std::string name = "grid";
  std::uint64_t seed = 0;
  std::uint64_t configurations = 0;  // at the lowest rung; 0: as many as the bounds let
  std::uint64_t population = 20;     // of a generation
  std::uint64_t startup = 10;        // random trials before the model is asked
  std::optional<Fidelity> fidelity;
  // Of `goal` alone:
  Json levels;                    // that a layer may take (recipe/levels.h)
  Json calibration;               // of sensitivity and plans: data, samples, sequence_length, propagate ...
  std::uint64_t kl_tokens = 512;  // of sensitivity
  std::uint64_t plans = 2, uniform = 3;  // verified in full: mixed ones, and levels that all layers take
};

// 0: none. No trial is made once one is reached.
struct SweepBounds {
  std::uint64_t trials = 0;
  double seconds = 0;          // since the sweep was submitted
  std::uint64_t bytes = 0;     // of the trials' results
  std::uint64_t failures = 0;  // of trials before one has succeeded
};

struct Sweep {
  std::string name;
  Json recipe;        // recipe_tree()
  std::string model;  // as it is written: a path or a digest; may be a dimension instead
  std::map<std::string, std::string> data;  // the same, by name
  std::uint64_t seed = 0;                   // of the jobs
  Space space;                              // of a goal it is empty: the strategy makes the recipes
  StrategySpec strategy;
  std::vector<Objective> objectives;
  std::vector<Constraint> constraints;
  SweepBounds bounds;
  std::string worker_class;    // of a goal: only such workers run its trials; empty: any
  std::uint64_t parallel = 8;  // trials that have not ended, at most

  // Every text that names a model, and every one that names data: as written and in the space.
  std::vector<std::string> models() const;
  std::vector<std::string> datasets() const;
  bool has_goal() const { return strategy.name == "goal"; }
};

inline constexpr std::uint64_t kMostTrials = 1'000'000, kMostParallel = 10'000;

// Parses and validates, the recipe at every corner of the space. `text` is YAML; a `recipe` that is not empty
// takes the place of its own. Throws
// Error(kInvalidArgument) as parse_recipe() does, and with reason EMPTY_SPACE, ENDLESS_SPACE, UNKNOWN_PATH,
// UNKNOWN_STRATEGY, UNKNOWN_METRIC, AMBIGUOUS_METRIC, CONTRADICTORY_GOAL, MALFORMED_GOAL or MISSING_INPUT;
// the field is a path
// ("space.stages[0].params.bits").
Sweep parse_sweep(std::string_view text, const std::string& recipe = {},
                  const Catalogue& catalogue = Catalogue::embedded());

// Without the space's recipes being checked: of a text that parse_sweep() took.
Sweep read_sweep(std::string_view text, const std::string& recipe = {},
                 const Catalogue& catalogue = Catalogue::embedded());

// One trial as a job would ask for it.
struct TrialInputs {
  std::string recipe;  // JSON, which is YAML
  std::string model;
  std::map<std::string, std::string> data;  // only what the recipe reads
  std::uint64_t seed = 0;
};

// Of a whole recipe: the data that it reads, of the sweep's.
TrialInputs trial_of_recipe(const Sweep& sweep, const Json& recipe,
                            const Catalogue& catalogue = Catalogue::embedded());

// The one place that turns a point into a recipe. `values` are the space's, in its order; `rung` sets the
// fidelity where there is one. Throws what parse_recipe() throws, with the values in the message.
TrialInputs trial_of(const Sweep& sweep, const std::vector<Json>& values, std::uint32_t rung = 0,
                     const Catalogue& catalogue = Catalogue::embedded());

// The recipe's evaluations by their suites, "perplexity"; where it has several of one suite, "perplexity[0]"
// and "perplexity[1]" in their order.
std::vector<std::string> named_evaluations(const Json& recipe);

// The metric of that name which an evaluation of the recipe reports. Throws UNKNOWN_METRIC, AMBIGUOUS_METRIC.
Metric find_metric(const Json& recipe, const std::string& name, const std::string& suite,
                   const std::string& field, const Catalogue& catalogue = Catalogue::embedded());

// "102%" as 1.02; nullopt where it is no percentage above 0 without a sign.
std::optional<double> share_of_input(const std::string& text);

// Two bounds of one metric that nothing holds at once: the place of the later one, and what is wrong. Shares
// of the input and figures of their own may stand beside each other.
struct Contradiction {
  std::size_t at = 0;
  std::string text;
};
std::optional<Contradiction> find_contradiction(const std::vector<Constraint>& constraints);

// {metric, suite, goal} and {metric, suite, min, max}, where min and max may be "50%" of the input's.
Objective parse_objective(const Json& json, const Json& recipe, const std::string& field,
                          const Source& source, const Catalogue& catalogue = Catalogue::embedded());
Constraint parse_constraint(const Json& json, const Json& recipe, const std::string& field,
                            const Source& source, const Catalogue& catalogue = Catalogue::embedded());

// Of a sweep that is submitted: throws OUT_OF_RANGE where the moments at which its suites run leave no trial
// a value of an objective or a constraint, CONTRADICTORY_GOAL where a goal bounds what may be lost from the
// wrong side.
void check_measured(const Sweep& sweep, const Source& source,
                    const Catalogue& catalogue = Catalogue::embedded());

// Of constraints on a sweep's trials that somebody asks for later: the same, and that they are numbers which
// do not contradict each other. Fields are "constraints[0]".
void check_asked(const Sweep& sweep, const std::vector<Constraint>& asked,
                 const Catalogue& catalogue = Catalogue::embedded());

}  // namespace wring
