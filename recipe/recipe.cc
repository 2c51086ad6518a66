// Recipes: from YAML or one line to validated stages, and the normal form.
#include "recipe/recipe.h"

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "recipe/one_line.h"
#include "recipe/yaml.h"

namespace wring {
namespace {

constexpr std::size_t kMaxStages = 1000, kMaxPatterns = 1000, kMaxPattern = 1000;

// What the checks need besides the value: where it came from.
struct Source {
  const Catalogue& catalogue;
  std::map<std::string, int> lines;

  [[noreturn]] void fail(const char* reason, const std::string& field, const std::string& message,
                         std::string hint = {}) const {
    for (std::string path = field; !path.empty();) {
      if (const auto it = lines.find(path); it != lines.end()) {
        if (!hint.empty()) hint += "\n";
        hint += "recipe line " + std::to_string(it->second);
        break;
      }
      const auto cut = path.find_last_of(".[");
      path = cut == std::string::npos ? "" : path.substr(0, cut);
    }
    throw Error(ErrorCode::kInvalidArgument, reason, message, field, hint);
  }
};

std::string shown(const Json& value) {
  auto text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 80 ? text.substr(0, 77) + "..." : text;
}

void check_keys(const Json& object, const std::vector<std::string>& allowed, const std::string& field,
                const Source& source) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(allowed.begin(), allowed.end(), key) != allowed.end()) continue;
    const auto nearest = nearest_name(key, allowed);
    source.fail("UNKNOWN_KEY", field.empty() ? key : field + "." + key,
                "unknown key '" + key.substr(0, 80) + "'",
                (nearest.empty() ? std::string() : "Did you mean '" + nearest + "'? ") +
                    "Known here: " + join(allowed, ", ") + ".");
  }
}

std::string range_of(const ParameterSpec& p) {
  if (!p.choices.empty()) {
    std::vector<std::string> names;
    for (const auto& choice : p.choices)
      names.push_back(choice.is_string() ? choice.get<std::string>() : choice.dump());
    return "one of " + join(names, ", ");
  }
  const auto bound = [](double v) {
    return v == static_cast<double>(static_cast<long long>(v)) ? std::to_string(static_cast<long long>(v))
                                                               : format_number(v, 4);
  };
  if (p.minimum && p.maximum) return bound(*p.minimum) + " to " + bound(*p.maximum);
  if (p.minimum) return "at least " + bound(*p.minimum);
  if (p.maximum) return "at most " + bound(*p.maximum);
  return "any " + p.type;
}

Json check_type(const Json& value, const ParameterSpec& p, const std::string& field, const Source& source) {
  const auto wrong = [&](const std::string& wanted) {
    source.fail("WRONG_TYPE", field, shown(value) + " is not " + wanted, p.name + ": " + p.help);
  };
  if (p.type == "integer") {
    if (value.is_number_float() &&
        value.get<double>() == static_cast<double>(static_cast<std::int64_t>(value.get<double>())))
      return static_cast<std::int64_t>(value.get<double>());
    if (!value.is_number_integer()) wrong("a whole number");
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX)
      wrong("a whole number below 2^63");
  } else if (p.type == "number") {
    if (!value.is_number()) wrong("a number");
    return value.get<double>();
  } else if (p.type == "boolean") {
    if (!value.is_boolean()) wrong("true or false");
  } else if (p.type == "string" || p.type == "data") {
    if (!value.is_string()) wrong(p.type == "data" ? "the name of a data input" : "a string");
  } else if (p.type == "sparsity-pattern") {
    try {
      (void)SparsityPattern::parse(value, field);
    } catch (const Error& e) {
      source.fail("OUT_OF_RANGE", field, e.message(), e.hint());
    }
  }
  return value;
}

Json check_value(const Json& raw, const ParameterSpec& p, const std::string& field, const Source& source) {
  const Json value = check_type(raw, p, field, source);
  const bool chosen =
      p.choices.empty() || std::find(p.choices.begin(), p.choices.end(), value) != p.choices.end();
  const bool low = p.minimum && value.is_number() && value.get<double>() < *p.minimum;
  const bool high = p.maximum && value.is_number() && value.get<double>() > *p.maximum;
  if (!chosen || low || high)
    source.fail("OUT_OF_RANGE", field, shown(value) + " is not allowed",
                p.name + " is " + range_of(p) + (p.unit.empty() ? "" : " (" + p.unit + ")") + ".");
  if (p.type == "data" && !is_data_name(value.get<std::string>()))
    source.fail("OUT_OF_RANGE", field, shown(value) + " is no name of a data input",
                "1 to 64 letters, digits, '-' or '_'.");
  return value;
}

Json check_params(const Json& given, const MethodSpec& spec, const std::string& field, const Source& source) {
  if (!given.is_object()) source.fail("WRONG_TYPE", field, "params is no mapping of names to values");
  std::vector<std::string> names;
  for (const auto& p : spec.parameters) names.push_back(p.name);
  for (const auto& [key, value] : given.items()) {
    if (spec.parameter(key)) continue;
    const auto nearest = nearest_name(key, names);
    source.fail("UNKNOWN_PARAMETER", field + "." + key,
                spec.name + " has no parameter '" + key.substr(0, 80) + "'",
                (nearest.empty() ? std::string() : "Did you mean '" + nearest + "'? ") +
                    (names.empty() ? "It has none." : "It has: " + join(names, ", ") + "."));
  }
  Json params = Json::object();
  for (const auto& p : spec.parameters) {
    const auto it = given.find(p.name);
    if (it == given.end() && p.default_value.is_null())
      source.fail("MISSING_PARAMETER", field + "." + p.name, spec.name + " needs '" + p.name + "'",
                  p.name + ": " + p.help);
    params[p.name] = check_value(it == given.end() ? p.default_value : *it, p, field + "." + p.name, source);
  }
  return params;
}

// A list of strings; one string alone counts as a list of one.
std::vector<std::string> string_list(const Json& value, const std::string& field, const Source& source) {
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array() || value.size() > kMaxPatterns)
    source.fail("WRONG_TYPE", field, "is no list of at most 1,000 strings");
  std::vector<std::string> list;
  for (const auto& entry : value) {
    if (!entry.is_string())
      source.fail("WRONG_TYPE", field + "[" + std::to_string(list.size()) + "]",
                  shown(entry) + " is no string");
    list.push_back(entry);
  }
  return list;
}

std::vector<std::string> pattern_list(const Json& value, const std::string& field, const Source& source) {
  auto list = string_list(value, field, source);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string at = field + "[" + std::to_string(i) + "]";
    if (list[i].size() > kMaxPattern) source.fail("BAD_PATTERN", at, "longer than 1,000 characters");
    if (!list[i].starts_with("re:")) continue;
    try {
      (void)std::regex(list[i].substr(3), std::regex::ECMAScript);
    } catch (const std::regex_error&) {
      source.fail("BAD_PATTERN", at, "'" + list[i].substr(0, 80) + "' is no regular expression");
    }
  }
  return list;
}

StageSpec parse_stage(const Json& given, const std::string& field, const Source& source) {
  Json json = given;
  if (json.is_string()) json = parse_call(json.get<std::string>(), field, "method");
  if (!json.is_object())
    source.fail("WRONG_TYPE", field, shown(given) + " is no stage",
                "Write {method: ..., params: {...}} or 'gptq(bits=4)'.");
  check_keys(json, {"method", "params", "targets", "ignore", "version"}, field, source);
  if (!json.contains("method") || !json.at("method").is_string())
    source.fail("UNKNOWN_KEY", field + ".method", "a stage needs a method");
  StageSpec stage;
  stage.method = json.at("method");
  const MethodSpec* spec = nullptr;
  try {
    spec = &source.catalogue.method(stage.method, field + ".method");
  } catch (const Error& e) {
    source.fail("UNKNOWN_METHOD", e.field(), e.message(), e.hint());
  }
  stage.version = spec->version;
  stage.params = check_params(
      json.contains("params") && !json.at("params").is_null() ? json.at("params") : Json::object(), *spec,
      field + ".params", source);
  stage.targets = json.contains("targets") ? pattern_list(json.at("targets"), field + ".targets", source)
                                           : std::vector<std::string>{"Linear"};
  stage.ignore = json.contains("ignore") ? pattern_list(json.at("ignore"), field + ".ignore", source)
                                         : std::vector<std::string>{"lm_head"};
  if (stage.targets.empty()) source.fail("OUT_OF_RANGE", field + ".targets", "an empty list targets nothing");
  return stage;
}

EvaluationSpec parse_evaluation(const Json& given, const std::string& field, const Source& source) {
  Json json = given;
  if (json.is_string()) json = parse_call(json.get<std::string>(), field, "suite");
  if (!json.is_object())
    source.fail("WRONG_TYPE", field, shown(given) + " is no evaluation",
                "Write {suite: ..., params: {...}} or 'perplexity(windows=32)'.");
  check_keys(json, {"suite", "params", "when", "version"}, field, source);
  if (!json.contains("suite") || !json.at("suite").is_string())
    source.fail("UNKNOWN_KEY", field + ".suite", "an evaluation needs a suite");
  EvaluationSpec evaluation;
  evaluation.suite = json.at("suite");
  const MethodSpec* spec = nullptr;
  try {
    spec = &source.catalogue.suite(evaluation.suite, field + ".suite");
  } catch (const Error& e) {
    source.fail("UNKNOWN_SUITE", e.field(), e.message(), e.hint());
  }
  evaluation.version = spec->version;
  evaluation.params = check_params(
      json.contains("params") && !json.at("params").is_null() ? json.at("params") : Json::object(), *spec,
      field + ".params", source);
  evaluation.when = json.contains("when") ? string_list(json.at("when"), field + ".when", source)
                                          : std::vector<std::string>{"before", "after"};
  for (const auto& when : evaluation.when)
    if (when != "before" && when != "after" && when != "each")
      source.fail("OUT_OF_RANGE", field + ".when", "'" + when.substr(0, 40) + "' is not allowed",
                  "when is a list of: before, after, each.");
  return evaluation;
}

Recipe build(const Json& json, const Source& source) {
  if (!json.is_object())
    source.fail("MALFORMED_RECIPE", "", "a recipe is a mapping with stages",
                "For instance:\nstages:\n  - gptq(bits=4, group_size=64)");
  check_keys(json, {"name", "stages", "evaluations", "version"}, "", source);
  if (json.contains("version") && json.at("version") != 1)
    source.fail("OUT_OF_RANGE", "version", shown(json.at("version")) + " is not supported", "Version 1 is.");
  Recipe recipe;
  if (json.contains("name")) {
    if (!json.at("name").is_string() || json.at("name").get<std::string>().size() > 200)
      source.fail("WRONG_TYPE", "name", "is no string of at most 200 bytes");
    recipe.name = json.at("name");
  }
  const auto list = [&](const char* key) {
    const Json value = json.contains(key) && !json.at(key).is_null() ? json.at(key) : Json::array();
    if (!value.is_array() || value.size() > kMaxStages)
      source.fail("WRONG_TYPE", key, "is no list of at most 1,000 entries");
    return value;
  };
  const Json stages = list("stages"), evaluations = list("evaluations");
  for (std::size_t i = 0; i < stages.size(); ++i)
    recipe.stages.push_back(parse_stage(stages[i], "stages[" + std::to_string(i) + "]", source));
  for (std::size_t i = 0; i < evaluations.size(); ++i)
    recipe.evaluations.push_back(
        parse_evaluation(evaluations[i], "evaluations[" + std::to_string(i) + "]", source));
  if (recipe.stages.empty() && recipe.evaluations.empty())
    source.fail("MALFORMED_RECIPE", "stages", "the recipe has neither stages nor evaluations");
  return recipe;
}

}  // namespace

Json Recipe::normal_form() const {
  Json stage_list = Json::array(), evaluation_list = Json::array();
  for (const auto& s : stages)
    stage_list.push_back({{"method", s.method},
                          {"version", s.version},
                          {"params", s.params},
                          {"targets", s.targets},
                          {"ignore", s.ignore}});
  for (const auto& e : evaluations)
    evaluation_list.push_back(
        {{"suite", e.suite}, {"version", e.version}, {"params", e.params}, {"when", e.when}});
  return {{"version", 1}, {"name", name}, {"stages", stage_list}, {"evaluations", evaluation_list}};
}

Digest Recipe::digest() const {
  Json form = normal_form();
  form.erase("name");
  return sha256(form.dump());
}

std::vector<std::string> Recipe::data_names() const {
  std::set<std::string> names;
  const auto collect = [&](const std::string& method, const Json& params) {
    const MethodSpec* spec = Catalogue::embedded().find(method);
    if (!spec) return;
    for (const auto& p : spec->parameters)
      if (p.type == "data") names.insert(params.at(p.name).get<std::string>());
  };
  for (const auto& s : stages) collect(s.method, s.params);
  for (const auto& e : evaluations) collect(e.suite, e.params);
  return {names.begin(), names.end()};
}

Recipe parse_recipe(std::string_view text, const Catalogue& catalogue) {
  if (looks_like_one_line(text)) {
    Json stages = Json::array();
    for (const auto& part : split_calls(text)) stages.push_back(part);
    return build({{"stages", stages}}, Source{catalogue, {}});
  }
  const YamlDocument document = parse_yaml(text, "recipe");
  return build(document.value, Source{catalogue, document.lines});
}

Recipe recipe_from_normal_form(const Json& json, const Catalogue& catalogue) {
  const auto check_version = [&](const Json& entry, const char* key) {
    if (!entry.is_object() || !entry.contains(key) || !entry.at(key).is_string() ||
        !entry.contains("version"))
      return;
    const MethodSpec* spec = catalogue.find(entry.at(key).get<std::string>());
    if (spec && entry.at("version") != spec->version)
      throw Error(ErrorCode::kFailedPrecondition, "METHOD_VERSION",
                  spec->name + " is version " + std::to_string(spec->version) + " here, the recipe wants " +
                      shown(entry.at("version")),
                  key, "Run server and workers of one release.");
  };
  if (json.is_object())
    for (const auto& [list, key] : {std::pair{"stages", "method"}, std::pair{"evaluations", "suite"}})
      if (json.contains(list) && json.at(list).is_array())
        for (const auto& entry : json.at(list)) check_version(entry, key);
  return build(json, Source{catalogue, {}});
}

bool is_data_name(const std::string& name) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), allowed);
}

bool pattern_matches(const std::string& pattern, const std::string& layer_name,
                     const std::string& layer_class) {
  if (!pattern.starts_with("re:")) return pattern == layer_name || pattern == layer_class;
  const std::regex expression(pattern.substr(3), std::regex::ECMAScript);
  return std::regex_search(layer_name, expression, std::regex_constants::match_continuous);
}

SparsityPattern SparsityPattern::parse(const Json& value, const std::string& field) {
  const auto fail = [&](const std::string& why) {
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", shown(value) + " " + why, field,
                "A share above 0 and below 1 (0.5), or N:M with 0 < N < M <= 64 (2:4).");
  };
  SparsityPattern pattern;
  if (value.is_number()) {
    pattern.share = value.get<double>();
    if (!(pattern.share > 0 && pattern.share < 1)) fail("is no share of weights");
    return pattern;
  }
  if (!value.is_string()) fail("is no sparsity pattern");
  static const std::regex form("([0-9]{1,2}):([0-9]{1,2})");
  std::smatch match;
  const auto text = value.get<std::string>();
  if (!std::regex_match(text, match, form)) fail("is no sparsity pattern");
  pattern.n = std::stoi(match[1]);
  pattern.m = std::stoi(match[2]);
  if (pattern.n < 1 || pattern.n >= pattern.m || pattern.m > 64) fail("is no N:M pattern");
  pattern.share = static_cast<double>(pattern.n) / pattern.m;
  return pattern;
}

}  // namespace wring
