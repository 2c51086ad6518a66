// What a sweep's trials are judged by: objectives and constraints over the metrics of its suites.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "common/error.h"
#include "common/text.h"
#include "recipe/check.h"
#include "recipe/goal.h"
#include "recipe/sweep.h"
#include "recipe/sweep_paths.h"
#include "recipe/utf8.h"

namespace wring {
namespace {

// Of an evaluation's name.
std::string suite_of(const std::string& evaluation) {
  return evaluation.substr(0, evaluation.find('['));
}

struct Known {
  std::vector<std::string> suites;   // that report the metric, as named_evaluations() has them
  std::vector<std::string> metrics;  // of all evaluations
};

Known known_metrics(const Json& recipe, const std::string& name, const std::string& suite,
                    const Catalogue& catalogue) {
  Known known;
  std::set<std::string> metrics;
  for (const auto& evaluation : named_evaluations(recipe)) {
    const auto in = suite_of(evaluation);
    const MethodSpec* spec = catalogue.find(in);
    if (!spec) continue;
    for (const auto& [metric, better] : spec->metrics)
      if (metrics.insert(metric).second) known.metrics.push_back(metric);
    if (spec->metrics.contains(name) && (suite.empty() || suite == in || suite == evaluation))
      known.suites.push_back(evaluation);
  }
  return known;
}

Metric metric_of(const Json& json, const Json& recipe, const std::string& field, const Source& source,
                 const Catalogue& catalogue) {
  const auto name = string_or_empty(json, "metric", field, source),
             suite = string_or_empty(json, "suite", field, source);
  if (name.empty())
    source.fail("MISSING_PARAMETER", field + ".metric", "it names no metric",
                "For instance {metric: kl_mean}.");
  try {
    return find_metric(recipe, name, suite, field + ".metric", catalogue);
  } catch (const Error& e) {
    source.fail(e.reason().c_str(), e.field(), e.message(), e.hint());
  }
}

// 25, or "50%" of the input's: then `of_input`.
std::optional<double> bound_of(const Json& json, const char* key, bool& of_input, const std::string& field,
                               const Source& source) {
  if (!json.contains(key)) return std::nullopt;
  const Json& value = json.at(key);
  if (value.is_number() && std::isfinite(value.get<double>())) return value.get<double>();
  if (value.is_string() && value.get<std::string>().ends_with('%')) {
    const auto share = share_of_input(value.get<std::string>());
    if (!share)
      source.fail("OUT_OF_RANGE", member(field, key), shown(value) + " is no share of the input's",
                  "It is more than 0 %, without a sign: 2 % above the input's is '102%'.");
    of_input = true;
    return share;
  }
  source.fail("WRONG_TYPE", member(field, key), shown(value) + " is neither a number nor a percentage",
              "Write 25, or '50%' of what the model as handed in has.");
}

// What a sweep's recipe measures, and when.
class Measurements {
 public:
  Measurements(const Sweep& sweep, const Source& source, const Catalogue& catalogue)
      : sweep_(sweep), source_(source), catalogue_(catalogue), names_(named_evaluations(sweep.recipe)) {}

  // What stages make is judged by what is measured of it.
  void check(const Metric& metric, const std::string& field) const {
    if (varies(metric)) return;
    if (!makes_something()) {
      if (compares(metric))
        source_.fail("OUT_OF_RANGE", field,
                     "no stage makes anything that " + metric.name + " could compare with the input",
                     "Add a stage, or take another metric.");
    } else if (!runs(metric, "after") && !runs(metric, "each")) {
      source_.fail("OUT_OF_RANGE", field, metric.name + " is measured before the stages alone", kFix);
    }
  }

  // A share of the input's needs a value of it.
  void check_share(const Metric& metric, const std::string& field) const {
    if (compares(metric))
      source_.fail("OUT_OF_RANGE", field, "the input has no " + metric.name + " to take a share of",
                   "It compares with the input already: write a number.");
    if (varies(metric) || has_reference(metric)) return;
    if (!makes_something() || !runs(metric, "before"))
      source_.fail(
          "OUT_OF_RANGE", field,
          metric.name + " is not measured before the stages and after them: no share of the input's is known",
          kFix);
  }

 private:
  static constexpr const char* kFix = "Leave out the evaluation's `when`, or give it [before, after].";

  bool makes_something() const { return sweep_.has_goal() || !sweep_.recipe.at("stages").empty(); }
  const MethodSpec& suite(const Metric& metric) const { return *catalogue_.find(suite_of(metric.suite)); }
  bool compares(const Metric& metric) const {
    const auto& names = suite(metric).compares;
    return std::find(names.begin(), names.end(), metric.name) != names.end();
  }
  // Such suites measure the input, too, whenever they run.
  bool has_reference(const Metric& metric) const { return !suite(metric).compares.empty(); }

  std::size_t place(const Metric& metric) const {
    return static_cast<std::size_t>(std::find(names_.begin(), names_.end(), metric.suite) - names_.begin());
  }
  bool runs(const Metric& metric, const std::string& when) const {
    const Json& evaluation = sweep_.recipe.at("evaluations").at(place(metric));
    if (!evaluation.contains("when")) return when != "each";
    const Json& moments = evaluation.at("when");
    return moments == when || std::find(moments.begin(), moments.end(), Json(when)) != moments.end();
  }
  // Whether the space decides when it runs, or what it is.
  bool varies(const Metric& metric) const {
    const auto at = "/evaluations/" + std::to_string(place(metric));
    return std::any_of(
        sweep_.space.dimensions.begin(), sweep_.space.dimensions.end(), [&](const auto& dimension) {
          const auto path =
              resolve_path(dimension.path, sweep_.recipe, member("space", dimension.path), source_);
          const auto pointer = path.pointer.to_string();
          return path.kind == SweepPath::Kind::kRecipe && pointer.starts_with(at) &&
                 (path.structural || pointer == at || pointer.starts_with(at + "/when"));
        });
  }

  const Sweep& sweep_;
  const Source& source_;
  const Catalogue& catalogue_;
  const std::vector<std::string> names_;
};

// A bound of a goal on what may be lost holds the loss down.
void check_side(const Constraint& bound, const Source& source, const Catalogue& catalogue) {
  if (is_cost(bound.metric)) return;
  const bool higher = catalogue.find(suite_of(bound.metric.suite))->metrics.at(bound.metric.name) == "higher";
  if (bound.maximum.has_value() != higher) return;
  source.fail("CONTRADICTORY_GOAL", "goal",
              "it asks for a loss: " + bound.metric.name + " is better the " + (higher ? "higher" : "lower"),
              std::string("Bound it by ") + (higher ? ">=." : "<=."));
}

}  // namespace

std::vector<std::string> named_evaluations(const Json& recipe) {
  std::vector<std::string> names;
  std::map<std::string, std::size_t> count, seen;
  for (const auto& entry : recipe.at("evaluations")) {
    names.push_back(json_or<std::string>(entry, "suite", ""));
    ++count[names.back()];
  }
  for (auto& name : names)
    if (count[name] > 1) name += "[" + std::to_string(seen[name]++) + "]";
  return names;
}

std::optional<double> share_of_input(const std::string& text) {
  double percent = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, failed] = std::from_chars(text.data(), end, percent);
  if (failed != std::errc() || std::string_view(rest, end) != "%" || !(percent > 0) ||
      !std::isfinite(percent))
    return std::nullopt;
  return percent / 100;
}

std::optional<Contradiction> find_contradiction(const std::vector<Constraint>& all) {
  const auto shown_bound = [](const Constraint& bound, double value) {
    return bound.of_input ? Json(std::round(value * 1e6) / 1e4).dump() + " %" : Json(value).dump();
  };
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = 0; j < all.size(); ++j)
      if (all[i].metric == all[j].metric && all[i].of_input == all[j].of_input && all[i].maximum &&
          all[j].minimum && *all[i].maximum < *all[j].minimum)
        return Contradiction{std::max(i, j), "nothing has " + all[i].metric.name + " of at most " +
                                                 shown_bound(all[i], *all[i].maximum) + " and at least " +
                                                 shown_bound(all[j], *all[j].minimum)};
  return std::nullopt;
}

Metric find_metric(const Json& recipe, const std::string& name, const std::string& suite,
                   const std::string& field, const Catalogue& catalogue) {
  const auto known = known_metrics(recipe, name, suite, catalogue);
  if (known.suites.size() == 1) return {known.suites[0], name};
  if (known.suites.size() > 1)
    throw Error(ErrorCode::kInvalidArgument, "AMBIGUOUS_METRIC",
                "several evaluations report '" + name + "': " + join(known.suites, ", "), field,
                "Say which by suite: " + known.suites[0] + ".");
  const auto nearest = nearest_name(name, known.metrics);
  throw Error(
      ErrorCode::kInvalidArgument, "UNKNOWN_METRIC",
      "no suite of the recipe reports '" + shortened(name, 80) + "'" + (suite.empty() ? "" : " as " + suite),
      field,
      (nearest.empty() ? "" : "Did you mean '" + nearest + "'? ") +
          (known.metrics.empty() ? "The recipe has no evaluations; for instance evaluations: [size]."
                                 : "Its suites report: " + join(known.metrics, ", ") + "."));
}

Objective parse_objective(const Json& given, const Json& recipe, const std::string& field,
                          const Source& source, const Catalogue& catalogue) {
  const Json json = given.is_string() ? Json{{"metric", given}} : given;
  if (!json.is_object())
    source.fail("WRONG_TYPE", field, shown(given) + " is no objective",
                "Write {metric: kl_mean, goal: min}.");
  check_keys(json, {"metric", "suite", "goal"}, field, source);
  Objective objective{metric_of(json, recipe, field, source, catalogue), false};
  auto goal = string_or_empty(json, "goal", field, source);
  const auto& better = catalogue.find(suite_of(objective.metric.suite))->metrics.at(objective.metric.name);
  if (goal.empty()) goal = better == "higher" ? "max" : "min";
  if (goal != "min" && goal != "max")
    source.fail("OUT_OF_RANGE", field + ".goal",
                "'" + shortened(goal, 80) + "' is no goal; it is one of min, max");
  objective.maximise = goal == "max";
  return objective;
}

Constraint parse_constraint(const Json& json, const Json& recipe, const std::string& field,
                            const Source& source, const Catalogue& catalogue) {
  if (!json.is_object())
    source.fail("WRONG_TYPE", field, shown(json) + " is no constraint",
                "Write {metric: perplexity, max: 25}.");
  check_keys(json, {"metric", "suite", "min", "max"}, field, source);
  Constraint constraint;
  constraint.metric = metric_of(json, recipe, field, source, catalogue);
  bool share_min = false, share_max = false;
  constraint.minimum = bound_of(json, "min", share_min, field, source);
  constraint.maximum = bound_of(json, "max", share_max, field, source);
  if (!constraint.minimum && !constraint.maximum)
    source.fail("MISSING_PARAMETER", field, "it has neither min nor max",
                "Write {metric: perplexity, max: 25}.");
  if (constraint.minimum && constraint.maximum && share_min != share_max)
    source.fail("WRONG_TYPE", field, "one bound is a percentage and the other is not",
                "Write two constraints.");
  constraint.of_input = share_min || share_max;
  return constraint;
}

void check_measured(const Sweep& sweep, const Source& source, const Catalogue& catalogue) {
  const Measurements measured(sweep, source, catalogue);
  const auto field = [&](const char* list, std::size_t i) {
    return sweep.has_goal() ? "goal" : std::string(list) + "[" + std::to_string(i) + "]";
  };
  for (std::size_t i = 0; i < sweep.objectives.size(); ++i)
    measured.check(sweep.objectives[i].metric, field("objectives", i));
  for (std::size_t i = 0; i < sweep.constraints.size(); ++i) {
    const Constraint& bound = sweep.constraints[i];
    measured.check(bound.metric, field("constraints", i));
    if (sweep.has_goal()) check_side(bound, source, catalogue);
    if (bound.of_input)
      measured.check_share(
          bound.metric,
          sweep.has_goal() ? "goal" : member(field("constraints", i), bound.minimum ? "min" : "max"));
  }
}

void check_asked(const Sweep& sweep, const std::vector<Constraint>& asked, const Catalogue& catalogue) {
  const Source source;
  const Measurements measured(sweep, source, catalogue);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const auto field = "constraints[" + std::to_string(i) + "]";
    for (const auto& bound : {asked[i].minimum, asked[i].maximum})
      if (bound && !(std::isfinite(*bound) && (*bound > 0 || !asked[i].of_input)))
        source.fail("OUT_OF_RANGE", field,
                    asked[i].of_input ? "a share of the input's is more than 0" : "a bound is finite",
                    "Give a number.");
    measured.check(asked[i].metric, field);
    if (asked[i].of_input) measured.check_share(asked[i].metric, field);
  }
  if (const auto found = find_contradiction(asked))
    source.fail("CONTRADICTORY_GOAL", "constraints[" + std::to_string(found->at) + "]", found->text,
                "Drop one of the two bounds, or exchange them.");
}

}  // namespace wring
