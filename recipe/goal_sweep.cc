// A sweep with a goal, as it is written.
#include "common/error.h"
#include "recipe/check.h"
#include "recipe/goal.h"
#include "recipe/levels.h"

namespace wring {
namespace {

constexpr const char* kTargets = ", targets=[Linear, Embedding], ignore=[])";

Json usual_levels() {
  Json levels = Json::array();
  for (const char* level :
       {"gptq(bits=2, group_size=32", "gptq(bits=3, group_size=64", "gptq(bits=3, group_size=32",
        "gptq(bits=4, group_size=64", "gptq(bits=4, group_size=32", "gptq(bits=5, group_size=64",
        "gptq(bits=6, group_size=64", "gptq(bits=8, group_size=64"})
    levels.push_back(std::string(level) + kTargets);
  return levels;
}

StrategySpec goal_strategy(const Json& json, const Source& source, const Catalogue& catalogue) {
  const Json given = !json.contains("strategy")        ? Json::object()
                     : json.at("strategy").is_string() ? Json{{"name", json.at("strategy")}}
                                                       : json.at("strategy");
  const std::string field = "strategy";
  if (!given.is_object())
    source.fail("WRONG_TYPE", field, shown(given) + " is no strategy",
                "Write {name: goal}, or leave it out.");
  check_keys(given,
             {"name", "seed", "levels", "data", "samples", "sequence_length", "propagate", "forward_dtype",
              "kl_tokens", "plans", "uniform"},
             field, source);
  StrategySpec strategy;
  strategy.name = given.contains("name") ? string_or_empty(given, "name", field, source) : "goal";
  if (strategy.name != "goal")
    source.fail("CONTRADICTORY_GOAL", "strategy.name", "a goal is met by the strategy goal alone",
                "Leave the strategy out, or the goal.");
  strategy.seed = whole_of(given, "seed", 0, 0, UINT64_MAX, field, source);
  strategy.kl_tokens = whole_of(given, "kl_tokens", strategy.kl_tokens, 0, 8192, field, source);
  strategy.plans = whole_of(given, "plans", strategy.plans, 1, 5, field, source);
  strategy.uniform = whole_of(given, "uniform", strategy.uniform, 0, 100, field, source);
  Json params{{"levels", usual_levels()}, {"samples", 64}};
  for (const auto& [key, value] : given.items())
    if (catalogue.method("mixed-levels", field).parameter(key)) params[key] = value;
  strategy.calibration = check_params(params, catalogue.method("mixed-levels", field), field, source);
  strategy.levels = strategy.calibration.at("levels");
  strategy.calibration.erase("levels");
  return strategy;
}

}  // namespace

void read_goal(Sweep& sweep, const Json& json, const Source& source, const Catalogue& catalogue) {
  for (const char* key : {"space", "models", "objectives", "constraints"})
    if (json.contains(key))
      source.fail("CONTRADICTORY_GOAL", key, "a goal says itself what is tried and what is better",
                  "Leave it out, or the goal.");
  Goal goal;
  try {
    goal = parse_goal(string_or_empty(json, "goal", "", source), "goal", catalogue);
  } catch (const Error& e) {
    source.fail(e.reason().c_str(), e.field(), e.message(), e.hint());
  }
  sweep.strategy = goal_strategy(json, source, catalogue);
  sweep.recipe = with_suites(std::move(sweep.recipe), goal);
  for (const auto& objective : goal.objectives)
    find_metric(sweep.recipe, objective.metric.name, objective.metric.suite, "goal", catalogue);
  sweep.objectives = std::move(goal.objectives);
  sweep.constraints = std::move(goal.constraints);
  sweep.worker_class = std::move(goal.worker_class);
}

std::vector<Json> goal_recipes(const Sweep& sweep) {
  const auto levels = levels_of(sweep.strategy.levels);
  return {sensitivity_recipe(sweep), plan_recipe(sweep, {{levels.front(), {"a"}}}),
          plan_recipe(sweep, {{levels.front(), {"a"}}, {levels.back(), {"b"}}})};
}

}  // namespace wring
