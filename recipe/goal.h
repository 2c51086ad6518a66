// Goals: what a model is to come to instead of how, "bytes<=22%, kl=min".
#pragma once

#include <string>
#include <vector>

#include "recipe/sweep.h"

namespace wring {

struct Goal {
  std::vector<Objective> objectives;  // the first is what the pick is chosen by
  std::vector<Constraint> constraints;
  std::string worker_class;  // where speed and memory are measured; empty: it does not matter
};

// Terms with commas between them: METRIC<=VALUE, METRIC>=VALUE, METRIC=min or METRIC=max. A VALUE is a
// number, with a unit where it is bytes (28MB), or a share of what the input as handed in has (22%; +2% is
// 102%, 1.5x 150 %). Behind a term about speed, which needs it, or memory: " on CLASS". Where no term says
// what is best: with a bound on the size what is nearest to the input, else what is smallest. Throws
// Error(kInvalidArgument) about `field` with reason MALFORMED_GOAL, UNKNOWN_METRIC, OUT_OF_RANGE,
// BAD_WORKER_CLASS or CONTRADICTORY_GOAL.
Goal parse_goal(const std::string& text, const std::string& field,
                const Catalogue& catalogue = Catalogue::embedded());

// The goal, its levels, and the recipe with the goal's suites, of a sweep's YAML. Throws as parse_sweep()
// does.
void read_goal(Sweep& sweep, const Json& json, const Source& source, const Catalogue& catalogue);

// Whether it is a measure of the result's size; of how fast it is; of any of what a model costs who uses it.
bool is_size(const Metric& metric);
bool is_speed(const Metric& metric);
bool is_cost(const Metric& metric);

// Whether a bound or an objective of the sweep is about a metric of this suite.
bool asks_for(const Sweep& sweep, const char* suite);

// What the goal's suites are, added to the recipe where it has no evaluation of them.
Json with_suites(Json recipe, const Goal& goal);

// A level with the layers that it is for.
struct PlannedLevel {
  StageSpec level;
  std::vector<std::string> layers;
};

// The recipes of a goal's trials: what measures each layer, and what makes a plan. With one level a stage of
// its method, with several one stage `mixed-levels`; behind the recipe's own stages.
std::vector<Json> goal_recipes(const Sweep& sweep);  // one of each kind, for what checks them beforehand
Json sensitivity_recipe(const Sweep& sweep);
Json plan_recipe(const Sweep& sweep, const std::vector<PlannedLevel>& levels);

// Patterns that match these layers: names that differ in their first number alone become one.
std::vector<std::string> layer_patterns(const std::vector<std::string>& layers);

}  // namespace wring
