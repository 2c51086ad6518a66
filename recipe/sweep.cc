// Sweeps: from YAML to a checked space, and from a point of it to a recipe.
#include "recipe/sweep.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "common/error.h"
#include "common/text.h"
#include "recipe/check.h"
#include "recipe/goal.h"
#include "recipe/sweep_paths.h"
#include "recipe/utf8.h"
#include "recipe/yaml.h"

namespace wring {
namespace {

constexpr std::uint64_t kMostChecks = 5'000;  // of recipes; a trial's own is checked again when it is made
constexpr std::uint64_t kMostChecked = 20'000'000;  // bytes of recipes

const std::vector<std::string> kStrategies{"grid", "random", "latin-hypercube", "successive-halving",
                                           "asha", "tpe",    "nsga2",           "goal"};

double number_of(const Json& json, const char* key, double least, double most, const std::string& field,
                 const Source& source) {
  const std::string path = member(field, key);
  if (!json.contains(key)) source.fail("MISSING_PARAMETER", path, "it is missing");
  const Json& value = json.at(key);
  if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most))
    source.fail(
        "OUT_OF_RANGE", path,
        shown(value) + " is not allowed; allowed: " + Json(least).dump() + " to " + Json(most).dump());
  return value.get<double>();
}

const Json& mapping_of(const Json& json, const char* key, const Source& source) {
  static const Json kEmpty = Json::object();
  if (!json.contains(key) || json.at(key).is_null()) return kEmpty;
  if (!json.at(key).is_object()) source.fail("WRONG_TYPE", key, shown(json.at(key)) + " is no mapping");
  return json.at(key);
}

const Json& list_of(const Json& json, const char* key, const Source& source) {
  static const Json kEmpty = Json::array();
  if (!json.contains(key) || json.at(key).is_null()) return kEmpty;
  if (!json.at(key).is_array() || json.at(key).size() > 100)
    source.fail("WRONG_TYPE", key, shown(json.at(key)) + " is no list of at most 100",
                "Begin every entry with '- '.");
  return json.at(key);
}

std::string entry(const char* list, std::size_t i) {
  return std::string(list) + "[" + std::to_string(i) + "]";
}

Json parse_tree(const Json& json, const std::string& recipe_text, const Catalogue& catalogue,
                const Source& source) {
  if (recipe_text.empty() && !json.contains("recipe") && json.contains("goal"))
    return expanded_recipe(Json::object());
  if (recipe_text.empty() && !json.contains("recipe"))
    source.fail("MALFORMED_RECIPE", "recipe", "the recipe is missing",
                "Write it inline, in one line, or name its file: recipe: gptq.yaml");
  try {
    if (!recipe_text.empty()) return recipe_tree(recipe_text, catalogue);
    const Json& recipe = json.at("recipe");
    return recipe.is_string() ? recipe_tree(recipe.get<std::string>(), catalogue) : expanded_recipe(recipe);
  } catch (const Error& e) {
    throw Error(e.code(), e.reason(), e.message(), e.field() == "recipe" ? e.field() : "recipe." + e.field(),
                e.hint());
  }
}

Fidelity parse_fidelity(const Json& json, const Json& recipe, const Source& source) {
  const std::string field = "strategy.fidelity";
  if (!json.is_object())
    source.fail("WRONG_TYPE", field, shown(json) + " is no mapping",
                "For instance {path: evaluations.perplexity.windows, low: 4, high: 64, eta: 4}.");
  check_keys(json, {"path", "low", "high", "eta"}, field, source);
  Fidelity fidelity;
  fidelity.path = string_or_empty(json, "path", field, source);
  const auto path = resolve_path(fidelity.path, recipe, field + ".path", source);
  if (path.kind != SweepPath::Kind::kRecipe || path.structural)
    source.fail("UNKNOWN_PATH", field + ".path",
                "a fidelity is a parameter: calibration samples, windows, steps");
  fidelity.low = number_of(json, "low", 1e-9, 1e15, field, source);
  fidelity.high = number_of(json, "high", 1e-9, 1e15, field, source);
  if (json.contains("eta")) fidelity.eta = number_of(json, "eta", 1.5, 100, field, source);
  if (fidelity.low * fidelity.eta > fidelity.high)
    source.fail("OUT_OF_RANGE", field + ".high",
                shown(json.at("high")) + " leaves one rung alone; allowed: at least low * eta = " +
                    Json(fidelity.low * fidelity.eta).dump());
  return fidelity;
}

StrategySpec parse_strategy(const Json& given, const Json& recipe, const Source& source) {
  const Json json = given.is_string() ? Json{{"name", given}} : given;
  const std::string field = "strategy";
  if (!json.is_object())
    source.fail("WRONG_TYPE", field, shown(given) + " is no strategy", "Write {name: grid}.");
  StrategySpec strategy;
  if (json.contains("name")) strategy.name = string_or_empty(json, "name", field, source);
  if (std::find(kStrategies.begin(), kStrategies.end(), strategy.name) == kStrategies.end()) {
    const auto nearest = nearest_name(strategy.name, kStrategies);
    source.fail("UNKNOWN_STRATEGY", "strategy.name",
                "there is no strategy '" + shortened(strategy.name, 80) + "'",
                (nearest.empty() ? "" : "Did you mean '" + nearest + "'? ") +
                    "Known: " + join(kStrategies, ", ") + ".");
  }
  if (strategy.name == "goal")
    source.fail("MISSING_PARAMETER", "goal", "the strategy goal needs one",
                "For instance goal: 'bytes<=22%, kl=min'.");
  check_keys(json, {"name", "seed", "configurations", "population", "startup", "fidelity"}, field, source);
  strategy.seed = whole_of(json, "seed", 0, 0, UINT64_MAX, field, source);
  strategy.configurations = whole_of(json, "configurations", 0, 1, kMostTrials, field, source);
  strategy.population = whole_of(json, "population", strategy.population, 4, 1000, field, source);
  strategy.startup = whole_of(json, "startup", strategy.startup, 1, 10'000, field, source);
  const bool halving = strategy.name == "asha" || strategy.name == "successive-halving";
  if (json.contains("fidelity")) strategy.fidelity = parse_fidelity(json.at("fidelity"), recipe, source);
  if (halving && !strategy.fidelity)
    source.fail("MISSING_PARAMETER", "strategy.fidelity",
                strategy.name + " needs what grows from rung to rung",
                "For instance {path: evaluations.perplexity.windows, low: 4, high: 64, eta: 4}.");
  if (!halving && strategy.fidelity)
    source.fail("UNKNOWN_KEY", "strategy.fidelity", strategy.name + " has no rungs",
                "asha and successive-halving have; else set the value in the recipe.");
  if (strategy.name == "successive-halving" && strategy.configurations == 0)
    source.fail("MISSING_PARAMETER", "strategy.configurations", "how many begin at the lowest rung?",
                "For instance 27.");
  return strategy;
}

SweepBounds parse_bounds(const Json& json, const Source& source) {
  check_keys(json, {"trials", "seconds", "bytes", "failures"}, "bounds", source);
  SweepBounds bounds;
  bounds.trials = whole_of(json, "trials", 0, 1, kMostTrials, "bounds", source);
  if (json.contains("seconds")) bounds.seconds = number_of(json, "seconds", 1, 1e9, "bounds", source);
  bounds.bytes = whole_of(json, "bytes", 0, 1, 1ull << 60, "bounds", source);
  bounds.failures = whole_of(json, "failures", 0, 1, kMostTrials, "bounds", source);
  return bounds;
}

void check_goals(const Sweep& sweep, const Source& source) {
  std::set<std::pair<std::string, std::string>> seen;
  for (std::size_t i = 0; i < sweep.objectives.size(); ++i) {
    const auto& metric = sweep.objectives[i].metric;
    if (!seen.emplace(metric.suite, metric.name).second)
      source.fail("CONTRADICTORY_GOAL", entry("objectives", i),
                  "'" + metric.name + "' is an objective already", "Name each metric once.");
  }
  if (const auto found = find_contradiction(sweep.constraints))
    source.fail("CONTRADICTORY_GOAL", entry("constraints", found->at), found->text,
                "Drop one of the two bounds, or exchange them.");
  const bool guided = sweep.strategy.name != "grid" && sweep.strategy.name != "random" &&
                      sweep.strategy.name != "latin-hypercube";
  if (guided && sweep.objectives.empty())
    source.fail("MISSING_PARAMETER", "objectives", sweep.strategy.name + " needs to know what is better",
                "For instance objectives: [{metric: kl_mean, goal: min}].");
}

void check_ends(const Sweep& sweep, const Source& source) {
  const auto size = sweep.space.size();
  if (sweep.strategy.name == "grid") {
    for (const auto& d : sweep.space.dimensions)
      if (d.values.empty())
        source.fail("ENDLESS_SPACE", member("space", d.path), "a grid over a range without a step has no end",
                    "Give it a step, list its values, or take another strategy.");
    if (*size > kMostTrials)
      source.fail("OUT_OF_RANGE", "space",
                  "the grid has " + std::to_string(*size) + " points; allowed: at most 1,000,000",
                  "List fewer values, or take another strategy with bounds.trials.");
    return;
  }
  const bool halving = sweep.strategy.name == "successive-halving" ||
                       (sweep.strategy.name == "asha" && sweep.strategy.configurations > 0);
  if (sweep.strategy.name == "latin-hypercube" && sweep.bounds.trials == 0)
    source.fail("MISSING_PARAMETER", "bounds.trials",
                "a Latin hypercube is cut into as many parts as there are trials",
                "For instance bounds: {trials: 32}.");
  if (!halving && sweep.bounds.trials == 0 && sweep.bounds.seconds == 0)
    source.fail("ENDLESS_SPACE", "bounds", sweep.strategy.name + " would go on for ever",
                "Give bounds.trials or bounds.seconds.");
}

// Points at the corners of the space: each structural choice with each value of every other dimension. Of a
// space with more of them than `most`, one dimension at a time, and of long lists some values.
class Corners {
 public:
  Corners(const Sweep& sweep, const std::vector<SweepPath>& paths, std::uint64_t most) {
    std::uint64_t combinations = 1, others = 1;
    for (std::size_t d = 0; d < paths.size(); ++d) {
      values_.push_back(
          corner_values(sweep.space.dimensions[d], std::max<std::uint64_t>(2, most / paths.size())));
      const auto count = values_.back().size();
      if (paths[d].structural)
        combinations = std::min(most + 1, combinations * count);
      else
        others += count;
      structural_.push_back(paths[d].structural);
    }
    if (combinations * others > most) structural_.assign(paths.size(), false);
  }

  template <typename Look>
  void each(Look look) const {
    std::vector<std::size_t> at(values_.size(), 0);
    do {
      look(pick(at));
      for (std::size_t d = 0; d < values_.size(); ++d) {
        if (structural_[d]) continue;
        for (at[d] = 1; at[d] < values_[d].size(); ++at[d]) look(pick(at));
        at[d] = 0;
      }
    } while (advance(at));
  }

 private:
  static std::vector<Json> corner_values(const Dimension& d, std::uint64_t most) {
    if (d.values.empty()) return {d.value(0), d.value(std::nextafter(1.0, 0.0))};
    if (d.values.size() <= most) return d.values;
    std::vector<Json> some;
    for (std::uint64_t i = 0; i < most; ++i) some.push_back(d.values[i * (d.values.size() - 1) / (most - 1)]);
    return some;
  }
  std::vector<Json> pick(const std::vector<std::size_t>& at) const {
    std::vector<Json> values;
    for (std::size_t d = 0; d < at.size(); ++d) values.push_back(values_[d][at[d]]);
    return values;
  }
  bool advance(std::vector<std::size_t>& at) const {
    for (std::size_t d = at.size(); d-- > 0;) {
      if (!structural_[d]) continue;
      if (++at[d] < values_[d].size()) return true;
      at[d] = 0;
    }
    return false;
  }

  std::vector<std::vector<Json>> values_;
  std::vector<bool> structural_;
};

void check_inputs(const Sweep& sweep, const std::set<std::string>& read, const std::vector<SweepPath>& paths,
                  const Source& source) {
  std::set<std::string> given;
  bool model = !sweep.model.empty();
  for (const auto& [name, path] : sweep.data) given.insert(name);
  for (const auto& path : paths) {
    if (path.kind == SweepPath::Kind::kData) given.insert(path.data);
    model |= path.kind == SweepPath::Kind::kModel;
  }
  if (!model)
    source.fail("MISSING_INPUT", "model", "no model is named",
                "model: PATH, or model: [PATH, ...] in the space.");
  const std::vector<std::string> names(read.begin(), read.end());
  for (const auto& name : given)
    if (!read.contains(name))
      source.fail("UNKNOWN_DATA", "data." + name, "the recipe reads no data '" + name + "'",
                  names.empty() ? "It reads none." : "It reads: " + join(names, ", ") + ".");
  for (const auto& name : names)
    if (!given.contains(name))
      source.fail("MISSING_INPUT", "data." + name, "the recipe reads data '" + name + "', which is not named",
                  "Add data: {" + name + ": PATH}.");
}

void check_space(const Sweep& sweep, const Source& source, const Catalogue& catalogue) {
  std::vector<SweepPath> paths;
  std::set<std::string> seen;
  for (const auto& d : sweep.space.dimensions) {
    const auto field = member("space", d.path);
    paths.push_back(resolve_path(d.path, sweep.recipe, field, source));
    if (!seen.insert(paths.back().canonical()).second)
      source.fail("CONTRADICTORY_GOAL", field, "another path of the space sets the same",
                  "Leave one of them out.");
    if (sweep.strategy.fidelity &&
        paths.back().canonical() ==
            resolve_path(sweep.strategy.fidelity->path, sweep.recipe, "strategy.fidelity.path", source)
                .canonical())
      source.fail("CONTRADICTORY_GOAL", field, "the fidelity sets the same", "Leave it out of the space.");
  }
  std::set<std::string> read;
  if (sweep.has_goal()) {
    for (const auto& recipe : goal_recipes(sweep))
      for (const auto& name : parse_recipe(recipe.dump(), catalogue).data_names()) read.insert(name);
    return check_inputs(sweep, read, paths, source);
  }
  const auto most = std::clamp<std::uint64_t>(kMostChecked / sweep.recipe.dump().size(), 20, kMostChecks);
  Corners(sweep, paths, most).each([&](const std::vector<Json>& values) {
    for (const std::uint32_t rung :
         {0u, sweep.strategy.fidelity ? sweep.strategy.fidelity->rungs() - 1 : 0u}) {
      const auto trial = trial_of(sweep, values, rung, catalogue);
      for (const auto& name : parse_recipe(trial.recipe, catalogue).data_names()) read.insert(name);
    }
  });
  check_inputs(sweep, read, paths, source);
}

void parse_data(Sweep& sweep, const Json& json, const Source& source) {
  for (const auto& [name, value] : mapping_of(json, "data", source).items()) {
    if (!is_data_name(name))
      source.fail("OUT_OF_RANGE", member("data", name), "it is no name of a data input");
    sweep.data[name] = string_or_empty(mapping_of(json, "data", source), name.c_str(), "data", source);
  }
}

// models: [...] is model: [...] of the space.
Json space_json(const Json& json, const Source& source) {
  Json space = json.contains("space") ? json.at("space") : Json::object();
  if (!json.contains("models")) return space;
  if (json.contains("model") || (space.is_object() && space.contains("model")))
    source.fail("CONTRADICTORY_GOAL", "models", "a model is named elsewhere, too",
                "Keep one of model and models.");
  if (space.is_object()) space["model"] = list_of(json, "models", source);
  return space;
}

void check_input_texts(const Sweep& sweep, const Source& source) {
  for (const auto& d : sweep.space.dimensions) {
    if (d.path != "model" && !d.path.starts_with("data.")) continue;
    for (const auto& value : d.values)
      if (!value.is_string())
        source.fail("WRONG_TYPE", member("space", d.path), shown(value) + " is no path or digest",
                    "Quote it.");
    if (d.values.empty())
      source.fail("WRONG_TYPE", member("space", d.path), "a range names no files", "List them.");
  }
}

void set_value(std::map<std::string, std::string>& data, TrialInputs& trial, Json& recipe,
               const SweepPath& path, const Json& value) {
  switch (path.kind) {
    case SweepPath::Kind::kModel:
      trial.model = value.get<std::string>();
      break;
    case SweepPath::Kind::kData:
      data[path.data] = value.get<std::string>();
      break;
    case SweepPath::Kind::kSeed:
      if (!value.is_number_unsigned() && !(value.is_number_integer() && value.get<std::int64_t>() >= 0))
        throw Error(ErrorCode::kInvalidArgument, "WRONG_TYPE", shown(value) + " is no seed", "seed");
      trial.seed = value.get<std::uint64_t>();
      break;
    case SweepPath::Kind::kRecipe:
      recipe[path.pointer] = value;
  }
}

// A stage that was set as one line is an object before parameters of it are set.
void set_values(const Sweep& sweep, const std::vector<Json>& values, std::map<std::string, std::string>& data,
                TrialInputs& trial, Json& recipe) {
  const Source source{"sweep", {}};
  std::vector<std::pair<SweepPath, const Json*>> settings;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto& path = sweep.space.dimensions[i].path;
    settings.emplace_back(resolve_path(path, sweep.recipe, member("space", path), source), &values[i]);
  }
  std::stable_sort(settings.begin(), settings.end(), [](const auto& a, const auto& b) {
    const auto depth = [](const SweepPath& path) {
      const auto text = path.canonical();
      return std::count(text.begin(), text.end(), '/');
    };
    return depth(a.first) < depth(b.first);
  });
  bool expanded = false;
  for (const auto& [path, value] : settings) {
    const auto text = path.canonical();
    if (!expanded && std::count(text.begin(), text.end(), '/') > 2) {
      recipe = expanded_recipe(std::move(recipe));
      expanded = true;
    }
    set_value(data, trial, recipe, path, *value);
  }
}

// The recipe, with the data that it reads.
void read_by(const Json& recipe, const std::map<std::string, std::string>& data, TrialInputs& trial,
             const Catalogue& catalogue) {
  trial.recipe = recipe.dump();
  for (const auto& name : recipe_from_normal_form(recipe, catalogue).data_names())
    if (const auto it = data.find(name); it != data.end()) trial.data.insert(*it);
}

std::string shown_point(const Sweep& sweep, const std::vector<Json>& values) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < values.size(); ++i)
    parts.push_back(sweep.space.dimensions[i].path + " = " + shown(values[i]));
  return join(parts, ", ");
}

// "stages[0].params.bits"
std::string written(Json::json_pointer pointer) {
  std::string text;
  for (; !pointer.empty(); pointer.pop_back()) {
    const auto& key = pointer.back();
    const bool index =
        !key.empty() && std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    text = (index ? "[" + key + "]" : (pointer.parent_pointer().empty() ? "" : ".") + key) + text;
  }
  return text;
}

// Where the recipe went wrong at a place that the space sets, the space is to be mended.
std::string blamed_field(const Sweep& sweep, const std::vector<Json>& values, const std::string& field) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto& path = sweep.space.dimensions[i].path;
    const auto resolved = resolve_path(path, sweep.recipe, path, Source{"sweep", {}});
    if (resolved.kind == SweepPath::Kind::kRecipe && field.starts_with(written(resolved.pointer)))
      return member("space", path);
  }
  if (const auto& fidelity = sweep.strategy.fidelity) {
    const auto resolved = resolve_path(fidelity->path, sweep.recipe, "", Source{"sweep", {}});
    if (field == written(resolved.pointer)) return "strategy.fidelity";
  }
  return field == "recipe" ? field : "recipe." + field;
}

}  // namespace

std::uint32_t Fidelity::rungs() const {
  return 1 + static_cast<std::uint32_t>(std::floor(std::log(high / low) / std::log(eta) + 1e-9));
}

Json Fidelity::value(std::uint32_t rung) const {
  const double value = std::min(high, low * std::pow(eta, rung));
  const bool whole = std::floor(low) == low && std::floor(high) == high;
  return whole ? Json(static_cast<std::int64_t>(std::llround(value))) : Json(value);
}

std::vector<std::string> Sweep::models() const {
  std::set<std::string> texts;
  if (!model.empty()) texts.insert(model);
  for (const auto& d : space.dimensions)
    if (d.path == "model")
      for (const auto& value : d.values) texts.insert(value.get<std::string>());
  return {texts.begin(), texts.end()};
}

std::vector<std::string> Sweep::datasets() const {
  std::set<std::string> texts;
  for (const auto& [name, text] : data) texts.insert(text);
  for (const auto& d : space.dimensions)
    if (d.path.starts_with("data."))
      for (const auto& value : d.values) texts.insert(value.get<std::string>());
  return {texts.begin(), texts.end()};
}

namespace {

Sweep read(const Json& json, const std::string& recipe_text, const Source& source,
           const Catalogue& catalogue) {
  if (!json.is_object())
    source.fail("MALFORMED_SWEEP", "sweep", "a sweep is a mapping with recipe, model and space");
  check_keys(json,
             {"name", "recipe", "model", "models", "data", "seed", "space", "strategy", "objectives",
              "constraints", "bounds", "parallel", "goal"},
             "", source);
  Sweep sweep;
  sweep.name = string_or_empty(json, "name", "", source);
  sweep.recipe = parse_tree(json, recipe_text, catalogue, source);
  sweep.model = string_or_empty(json, "model", "", source);
  parse_data(sweep, json, source);
  sweep.seed = whole_of(json, "seed", 0, 0, UINT64_MAX, "", source);
  sweep.bounds = parse_bounds(mapping_of(json, "bounds", source), source);
  sweep.parallel = whole_of(json, "parallel", sweep.parallel, 1, kMostParallel, "", source);
  if (json.contains("goal")) {
    read_goal(sweep, json, source, catalogue);
    return sweep;
  }
  sweep.space = parse_space(space_json(json, source), "space", source);
  check_input_texts(sweep, source);
  sweep.strategy =
      parse_strategy(json.contains("strategy") ? json.at("strategy") : Json("grid"), sweep.recipe, source);
  const Json &objectives = list_of(json, "objectives", source),
             &constraints = list_of(json, "constraints", source);
  for (std::size_t i = 0; i < objectives.size(); ++i)
    sweep.objectives.push_back(
        parse_objective(objectives[i], sweep.recipe, entry("objectives", i), source, catalogue));
  for (std::size_t i = 0; i < constraints.size(); ++i)
    sweep.constraints.push_back(
        parse_constraint(constraints[i], sweep.recipe, entry("constraints", i), source, catalogue));
  check_goals(sweep, source);
  check_ends(sweep, source);
  return sweep;
}

}  // namespace

Sweep parse_sweep(std::string_view text, const std::string& recipe_text, const Catalogue& catalogue) {
  const YamlDocument document = parse_yaml(text, "sweep");
  const Source source{"sweep", document.lines};
  auto sweep = read(document.value, recipe_text, source, catalogue);
  check_space(sweep, source, catalogue);
  check_measured(sweep, source, catalogue);
  return sweep;
}

Sweep read_sweep(std::string_view text, const std::string& recipe_text, const Catalogue& catalogue) {
  const YamlDocument document = parse_yaml(text, "sweep");
  return read(document.value, recipe_text, Source{"sweep", document.lines}, catalogue);
}

TrialInputs trial_of_recipe(const Sweep& sweep, const Json& recipe, const Catalogue& catalogue) {
  TrialInputs trial{{}, sweep.model, {}, sweep.seed};
  read_by(recipe, sweep.data, trial, catalogue);
  return trial;
}

TrialInputs trial_of(const Sweep& sweep, const std::vector<Json>& values, std::uint32_t rung,
                     const Catalogue& catalogue) {
  TrialInputs trial{{}, sweep.model, {}, sweep.seed};
  Json recipe = sweep.recipe;
  auto data = sweep.data;
  try {
    set_values(sweep, values, data, trial, recipe);
    if (const auto& fidelity = sweep.strategy.fidelity)
      recipe[resolve_path(fidelity->path, sweep.recipe, "strategy.fidelity.path", Source{"sweep", {}})
                 .pointer] = fidelity->value(rung);
    read_by(recipe, data, trial, catalogue);
  } catch (const Error& e) {
    throw Error(e.code(), e.reason(), e.message() + ", at " + shown_point(sweep, values),
                blamed_field(sweep, values, e.field()), e.hint());
  } catch (const Json::exception& e) {
    throw Error(ErrorCode::kInvalidArgument, "UNKNOWN_PATH",
                "a path leads nowhere, at " + shown_point(sweep, values), "space");
  }
  return trial;
}

}  // namespace wring
