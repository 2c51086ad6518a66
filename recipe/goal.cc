// Reading goals, with what contradicts itself refused.
#include "recipe/goal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>

#include "common/error.h"
#include "common/quantity.h"
#include "common/text.h"
#include "recipe/utf8.h"
#include "recipe/worker_class.h"

namespace wring {
namespace {

struct Known {
  const char* alias;
  const char* suite;
  const char* metric;
  double least, most;
};
constexpr double kAny = 1e300;
constexpr const char* kSpeedup = "speedup";  // decode's share of the input's, with or without its x
constexpr std::array<Known, 12> kKnown{{{"bytes", "size", "artifact_bytes", 1, kAny},
                                        {"weights", "size", "weight_bytes", 1, kAny},
                                        {"bits", "size", "bits_per_weight", 1e-6, kAny},
                                        {"memory", "memory", "inference_bytes", 1, kAny},
                                        {"decode", "latency", "decode_speed", 1e-6, kAny},
                                        {kSpeedup, "latency", "decode_speed", 1e-6, kAny},
                                        {"kl", "perplexity", "kl_mean", 0, kAny},
                                        {"ppl", "perplexity", "perplexity", 1, kAny},
                                        {"nll", "perplexity", "nll", 0, kAny},
                                        {"top1", "perplexity", "top1_agreement", 0, 1},
                                        {"cosine", "similarity", "cosine_mean", -1, 1},
                                        {"overlap", "similarity", "neighbour_overlap", 0, 1}}};

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

class Reader {
 public:
  Reader(const std::string& text, const std::string& field, const Catalogue& catalogue)
      : text_(text), field_(field), catalogue_(catalogue) {}

  Goal read() {
    if (const auto at = unclean_text_at(text_); at != std::string::npos)
      fail("MALFORMED_GOAL", "its byte " + std::to_string(at + 1) + " is no text",
           "A goal is a line like \"bytes<=22%, kl=min\".");
    std::size_t start = 0;
    while (start <= text_.size()) {
      const auto comma = std::min(text_.find(',', start), text_.size());
      read_term(trimmed(text_.substr(start, comma - start)));
      start = comma + 1;
    }
    check_bounds();
    fill_in();
    return std::move(goal_);
  }

 private:
  [[noreturn]] void fail(const char* reason, const std::string& message, const std::string& hint) const {
    throw Error(ErrorCode::kInvalidArgument, reason, message, field_, hint);
  }

  void read_term(const std::string& whole) {
    const auto on = whole.find(" on ");
    const std::string term = trimmed(whole.substr(0, on));
    const auto at = term.find_first_of("<>=");
    const auto end = at == std::string::npos ? at : term.find_first_not_of("<>=", at);
    const std::string op = at == std::string::npos ? "" : term.substr(at, end - at);
    if (at == 0 || end == std::string::npos || (op != "<=" && op != ">=" && op != "="))
      fail("MALFORMED_GOAL", "'" + shortened(term, 80) + "' is no term of a goal",
           "Terms are METRIC<=VALUE, METRIC>=VALUE, METRIC=min and METRIC=max, with commas between them: "
           "\"bytes<=22%, kl=min\".");
    const Known& known = find(trimmed(term.substr(0, at)));
    const std::string value = trimmed(term.substr(end));
    note_class(known, on == std::string::npos ? "" : trimmed(whole.substr(on + 4)), term);
    if (op == "=")
      add_objective(known, value, term);
    else
      add_constraint(known, value, op == "<=", term);
  }

  void note_class(const Known& known, const std::string& name, const std::string& term) {
    const bool speed = is_speed({known.suite, known.metric});
    if (speed && name.empty())
      fail("MALFORMED_GOAL", "'" + shortened(term, 80) + "' does not say on which workers",
           "Write '" + shortened(term, 80) +
               " on CLASS': a class that workers were started with (wring-worker --class); wring workers "
               "lists "
               "them.");
    if (name.empty()) return;
    if (!speed && std::string_view(known.suite) != "memory")
      fail("MALFORMED_GOAL", std::string(known.alias) + " is the same on all workers",
           "Leave out 'on " + shortened(name, 80) + "'.");
    check_worker_class(name, field_);
    if (!goal_.worker_class.empty() && goal_.worker_class != name)
      fail("CONTRADICTORY_GOAL",
           "it names two classes of workers, " + goal_.worker_class + " and " + shortened(name, 80),
           "A goal is measured on workers of one class.");
    goal_.worker_class = name;
  }

  const Known& find(const std::string& name) const {
    std::vector<std::string> names;
    for (const auto& known : kKnown) {
      if (name == known.alias || name == known.metric) return known;
      names.emplace_back(known.alias);
    }
    const auto nearest = nearest_name(name, names);
    fail("UNKNOWN_METRIC", "no goal is about '" + shortened(name, 80) + "'",
         (nearest.empty() ? "" : "Did you mean '" + nearest + "'? ") + "Known: " + join(names, ", ") + ".");
  }

  bool higher_is_better(const Known& known) const {
    return catalogue_.suite(known.suite, field_).metrics.at(known.metric) == "higher";
  }

  void add_objective(const Known& known, const std::string& value, const std::string& term) {
    const char* const best = higher_is_better(known) ? "max" : "min";
    if (value != "min" && value != "max")
      fail("MALFORMED_GOAL", "'" + shortened(term, 80) + "' wants one value exactly",
           std::string("Write ") + known.alias + "=" + best + ", or a bound: " + known.alias +
               (higher_is_better(known) ? ">=" : "<=") + value + ".");
    if (value != best)
      fail("CONTRADICTORY_GOAL",
           std::string(known.alias) + " is better the " + (value == "max" ? "lower" : "higher"),
           std::string("Write ") + known.alias + "=" + best + ".");
    for (const auto& objective : goal_.objectives)
      if (objective.metric.name == known.metric)
        fail("CONTRADICTORY_GOAL", std::string(known.alias) + "=" + best + " stands twice", "Write it once.");
    goal_.objectives.push_back({{known.suite, known.metric}, higher_is_better(known)});
  }

  void add_constraint(const Known& known, const std::string& text, bool most, const std::string& term) {
    const bool of_input = text.ends_with('%') || text.ends_with('x') || known.alias == kSpeedup;
    Constraint bound{{known.suite, known.metric}, {}, {}, of_input};
    const double value = bound.of_input ? share(known, text, term) : number(known, text, term);
    (most ? bound.maximum : bound.minimum) = value;
    goal_.constraints.push_back(bound);
  }

  double share(const Known& known, const std::string& text, const std::string& term) const {
    const auto& compares = catalogue_.suite(known.suite, field_).compares;
    if (std::find(compares.begin(), compares.end(), known.metric) != compares.end())
      fail("OUT_OF_RANGE",
           "'" + shortened(term, 80) + "': the input has no " + known.alias + " to take a share of",
           std::string(known.alias) + " compares with the input already: write a number, " + known.alias +
               (higher_is_better(known) ? ">=0.95." : "<=0.05."));
    char* end = nullptr;
    double percent = std::strtod(text.c_str(), &end);
    const std::string_view unit(end);
    const bool times = unit == "x" || (unit.empty() && known.alias == kSpeedup);
    if (end == text.c_str() || (unit != "%" && !times) || !std::isfinite(percent)) throw_no_value(text, term);
    if (times)
      percent *= 100;
    else if (text[0] == '+' || text[0] == '-')
      percent += 100;
    if (percent <= 0)
      fail("OUT_OF_RANGE", "'" + shortened(term, 80) + "' is " + Json(percent).dump() + " % of the input's",
           "A share is above 0 %; -10% means 90 % of the input's.");
    return percent / 100;
  }

  double number(const Known& known, const std::string& text, const std::string& term) const {
    char* end = nullptr;
    double value = std::strtod(text.c_str(), &end);
    if (end == text.c_str()) throw_no_value(text, term);
    if (*end != 0) {
      if (std::string_view(known.metric).find("bytes") == std::string_view::npos) throw_no_value(text, term);
      try {
        value = static_cast<double>(parse_bytes(text, field_));
      } catch (const Error&) {
        throw_no_value(text, term);
      }
    }
    if (!(value >= known.least && value <= known.most))
      fail("OUT_OF_RANGE", "'" + shortened(term, 80) + "': no " + known.alias + " is " + shortened(text, 80),
           "Allowed: " +
               (known.most == kAny ? "at least " + Json(known.least).dump()
                                   : Json(known.least).dump() + " to " + Json(known.most).dump()) +
               ".");
    return value;
  }

  [[noreturn]] void throw_no_value(const std::string& text, const std::string& term) const {
    fail("MALFORMED_GOAL", "'" + shortened(text, 80) + "' in '" + shortened(term, 80) + "' is no value",
         "Write a number, bytes with a unit (28MB), or a share of the input's: 22%, 1.5x, or +2% for 102%.");
  }

  void check_bounds() const {
    const auto& all = goal_.constraints;
    for (std::size_t i = 0; i < all.size(); ++i)
      for (std::size_t j = 0; j < all.size(); ++j) {
        if (i == j || all[i].metric.name != all[j].metric.name || all[i].of_input != all[j].of_input)
          continue;
        if (i < j && all[i].maximum.has_value() == all[j].maximum.has_value())
          fail("CONTRADICTORY_GOAL", "'" + all[i].metric.name + "' is bounded twice from one side",
               "Keep the tighter bound.");
      }
    if (const auto found = find_contradiction(all))
      fail("CONTRADICTORY_GOAL", found->text, "Drop one of the two bounds, or exchange them.");
  }

  // Whether it keeps the model from being what it was.
  bool is_limit(const Constraint& bound) const {
    if (!is_cost(bound.metric)) return false;
    return is_speed(bound.metric) ? bound.minimum.has_value() : bound.maximum.has_value();
  }

  Objective objective_of(const Metric& metric) const {
    return {metric, catalogue_.suite(metric.suite, field_).metrics.at(metric.name) == "higher"};
  }

  // What is chosen by where the goal does not say, and the other side of the trade.
  void fill_in() {
    const auto is_quality = [](const auto& entry) { return !is_cost(entry.metric); };
    const auto& bounds = goal_.constraints;
    auto& objectives = goal_.objectives;
    const auto limit =
        std::find_if(bounds.begin(), bounds.end(), [this](const auto& bound) { return is_limit(bound); });
    const auto quality = std::find_if(bounds.begin(), bounds.end(), is_quality);
    const bool small = limit != bounds.end(), near = quality != bounds.end();
    if (!small && !near)
      fail("MALFORMED_GOAL", "the goal bounds neither the size nor what may be lost",
           "Add bytes<=50%, memory<=50% or speedup>=1.5x on CLASS, or ppl<=+2%.");
    const auto nearest = objective_of(near ? quality->metric : Metric{"perplexity", "kl_mean"});
    const auto smallest =
        objective_of(small && !is_size(limit->metric) ? limit->metric : Metric{"size", "artifact_bytes"});
    if (objectives.empty()) objectives.push_back(small ? nearest : smallest);
    if (is_cost(objectives.front().metric) && !near)
      fail("MALFORMED_GOAL", "the smallest model with nothing that bounds what may be lost is no model",
           "Add ppl<=+2% or kl<=0.05.");
    if (is_quality(objectives.front()) && !small)
      fail("MALFORMED_GOAL", "what is nearest to the input with nothing that bounds the size is the input",
           "Add bytes<=50%, or ask for bytes=min.");
    if (std::none_of(objectives.begin(), objectives.end(), is_quality)) objectives.push_back(nearest);
    if (std::all_of(objectives.begin(), objectives.end(), is_quality)) objectives.push_back(smallest);
  }

  const std::string& text_;
  const std::string& field_;
  const Catalogue& catalogue_;
  Goal goal_;
};

// "model.layers.12.mlp.up_proj" around its first number.
struct Numbered {
  std::string before, number, after;
};
std::optional<Numbered> numbered(const std::string& name) {
  constexpr const char* kDigits = "0123456789";
  const auto first = name.find_first_of(kDigits);
  if (first == std::string::npos) return std::nullopt;
  const auto end = std::min(name.find_first_not_of(kDigits, first), name.size());
  return Numbered{name.substr(0, first), name.substr(first, end - first), name.substr(end)};
}

std::string escaped(const std::string& name) {
  std::string text;
  for (const char c : name) {
    if (std::string_view(R"(\^$.|?*+()[]{})").find(c) != std::string_view::npos) text += '\\';
    text += c;
  }
  return text;
}

// Of the parameters what is not the default, which is what a person wants to read.
Json readable_params(const MethodSpec& spec, const Json& params) {
  Json changed = Json::object();
  for (const auto& parameter : spec.parameters)
    if (const auto it = params.find(parameter.name); it != params.end() && *it != parameter.default_value)
      changed[parameter.name] = *it;
  return changed;
}

Json readable(const StageSpec& stage) {
  return {{"method", stage.method},
          {"params", readable_params(*Catalogue::embedded().find(stage.method), stage.params)},
          {"targets", stage.targets},
          {"ignore", stage.ignore}};
}

}  // namespace

Goal parse_goal(const std::string& text, const std::string& field, const Catalogue& catalogue) {
  return Reader(text, field, catalogue).read();
}

bool is_size(const Metric& metric) {
  return metric.suite == "size";
}
bool is_speed(const Metric& metric) {
  return metric.suite == "latency";
}
bool is_cost(const Metric& metric) {
  return is_size(metric) || is_speed(metric) || metric.suite == "memory";
}

bool asks_for(const Sweep& sweep, const char* suite) {
  const auto of_it = [&](const auto& entry) { return entry.metric.suite == suite; };
  return std::any_of(sweep.objectives.begin(), sweep.objectives.end(), of_it) ||
         std::any_of(sweep.constraints.begin(), sweep.constraints.end(), of_it);
}

Json with_suites(Json recipe, const Goal& goal) {
  for (const char* list : {"stages", "evaluations", "exports"})
    if (!recipe.contains(list)) recipe[list] = Json::array();
  std::set<std::string> there, wanted{"size"};
  for (const auto& evaluation : recipe["evaluations"])
    there.insert(json_or<std::string>(evaluation, "suite", ""));
  for (const auto& objective : goal.objectives) wanted.insert(objective.metric.suite);
  for (const auto& bound : goal.constraints) wanted.insert(bound.metric.suite);
  for (const auto& suite : wanted)
    if (!there.contains(suite))
      recipe["evaluations"].push_back({{"suite", suite}, {"params", Json::object()}});
  return recipe;
}

std::vector<std::string> layer_patterns(const std::vector<std::string>& layers) {
  std::vector<std::pair<Numbered, std::vector<std::string>>> families;  // in the order of their first layers
  std::vector<std::string> patterns;
  for (const auto& name : layers) {
    const auto parts = numbered(name);
    if (!parts) {
      patterns.push_back(name);
      continue;
    }
    auto family = std::find_if(families.begin(), families.end(), [&](const auto& known) {
      return known.first.before == parts->before && known.first.after == parts->after;
    });
    if (family == families.end()) family = families.insert(family, {*parts, {}});
    family->second.push_back(parts->number);
  }
  for (const auto& [parts, numbers] : families)
    patterns.push_back(numbers.size() == 1 ? parts.before + parts.number + parts.after
                                           : "re:" + escaped(parts.before) + "(" + join(numbers, "|") + ")" +
                                                 escaped(parts.after) + "$");
  return patterns;
}

Json sensitivity_recipe(const Sweep& sweep) {
  Json params = sweep.strategy.calibration;
  params.erase("propagate");
  params["levels"] = sweep.strategy.levels;
  params["kl_tokens"] = sweep.strategy.kl_tokens;
  Json recipe = sweep.recipe;
  recipe["exports"] = Json::array();
  recipe["evaluations"] = Json::array(
      {{{"suite", "sensitivity"}, {"params", params}, {"when", {"after"}}},
       {{"suite", "size"}, {"params", Json::object()}, {"when", {"before"}}}});  // of what was handed in
  for (Json evaluation : sweep.recipe.at("evaluations")) {
    const auto suite = json_or<std::string>(evaluation, "suite", "");
    if (suite == "size" || !asks_for(sweep, suite.c_str())) continue;
    if (suite != "memory" && suite != "latency") evaluation["when"] = {"before"};  // plans need it, too
    recipe["evaluations"].push_back(std::move(evaluation));
  }
  if (asks_for(sweep, "latency"))
    recipe["evaluations"].push_back(
        {{"suite", "level-times"}, {"params", {{"levels", sweep.strategy.levels}}}, {"when", {"after"}}});
  return recipe;
}

Json plan_recipe(const Sweep& sweep, const std::vector<PlannedLevel>& levels) {
  Json stages = Json::array(), targets = Json::array();
  for (const auto& [level, layers] : levels) {
    StageSpec stage = level;
    stage.targets = layer_patterns(layers);
    stage.ignore.clear();
    for (const auto& pattern : stage.targets) targets.push_back(pattern);
    stages.push_back(readable(stage));
  }
  Json stage = stages.front();
  if (levels.size() > 1)
    stage = {{"method", "mixed-levels"},
             {"params", {{"levels", stages}}},
             {"targets", targets},
             {"ignore", Json::array()}};
  const auto& method = *Catalogue::embedded().find(stage["method"].get<std::string>());
  if (method.parameter("data")) stage["params"].update(sweep.strategy.calibration);
  Json recipe = sweep.recipe;
  recipe["stages"].push_back(std::move(stage));
  return recipe;
}

}  // namespace wring
