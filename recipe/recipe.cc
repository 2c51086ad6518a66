// Recipes: from YAML or one line to validated stages, and the normal form.
#include "recipe/recipe.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "recipe/check.h"
#include "recipe/layer_pattern.h"
#include "recipe/modifiers.h"
#include "recipe/one_line.h"
#include "recipe/stage_reference.h"
#include "recipe/utf8.h"
#include "recipe/yaml.h"

namespace wring {
namespace {

constexpr std::size_t kMaxText = 1u << 20, kMaxStages = 1000, kMaxPatterns = 1000, kMaxPattern = 1000;

std::string at(const std::string& list, std::size_t index) {
  return list + "[" + std::to_string(index) + "]";
}

// A list of strings; one string alone counts as a list of one.
std::vector<std::string> string_list(const Json& value, const std::string& field, const Source& source) {
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array() || value.size() > kMaxPatterns)
    source.fail("WRONG_TYPE", field, shown(value) + " is no list of at most 1,000 strings");
  std::vector<std::string> list;
  for (const auto& entry : value) {
    if (!entry.is_string())
      source.fail("WRONG_TYPE", at(field, list.size()), shown(entry) + " is no string", "Quote it.");
    list.push_back(entry);
  }
  return list;
}

std::vector<std::string> pattern_list(const Json& value, const std::string& field, const Source& source) {
  auto list = string_list(value, field, source);
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].empty() || list[i].size() > kMaxPattern)
      source.fail("BAD_PATTERN", at(field, i),
                  "a pattern has 1 to 1,000 bytes, this one " + std::to_string(list[i].size()));
    try {
      check_layer_pattern(list[i]);
    } catch (const Error& e) {
      source.fail(
          "BAD_PATTERN", at(field, i), e.message(),
          "Write a layer's name, a class (Linear, Embedding) or re:PATTERN as Python's re.match takes it.");
    }
  }
  return list;
}

// A stage or evaluation as an object: itself, or what its one-line form says.
Json as_object(const Json& given, const char* kind, const std::string& field, const std::string& example,
               const Source& source) {
  Json json = given;
  try {
    if (given.is_string()) json = parse_call(given.get<std::string>(), field, kind);
  } catch (const Error& e) {
    source.fail(e.reason().c_str(), field, e.message(), e.hint());
  }
  if (!json.is_object())
    source.fail("WRONG_TYPE", field, shown(given) + " is neither a mapping nor a call",
                "Write {" + std::string(kind) + ": ..., params: {...}} or '" + example + "'.");
  return json;
}

// The spec that `json` names under `kind`, of the version it asks for.
const MethodSpec& named_spec(const Json& json, const char* kind, const std::string& field,
                             const Catalogue& catalogue, const Source& source) {
  const std::string path = field + "." + kind;
  if (!json.contains(kind)) source.fail("MALFORMED_RECIPE", path, "the " + std::string(kind) + " is missing");
  if (!json.at(kind).is_string()) source.fail("WRONG_TYPE", path, shown(json.at(kind)) + " is no name");
  const auto find = [&]() -> const MethodSpec& {
    const auto name = json.at(kind).get<std::string>();
    if (std::string_view(kind) == "suite") return catalogue.suite(name, path);
    return std::string_view(kind) == "format" ? catalogue.format(name, path) : catalogue.method(name, path);
  };
  const MethodSpec* spec = nullptr;
  try {
    spec = &find();
  } catch (const Error& e) {
    source.fail(e.reason().c_str(), path, e.message(), e.hint());
  }
  if (json.contains("version") && json.at("version") != spec->version)
    source.fail("METHOD_VERSION", field + ".version",
                spec->name + " is version " + std::to_string(spec->version) + " here, the recipe wants " +
                    shown(json.at("version")),
                "Run server and workers of one release, or leave the version out.",
                ErrorCode::kFailedPrecondition);
  return *spec;
}

Json params_of(const Json& json, const MethodSpec& spec, const std::string& field, const Source& source) {
  const bool given = json.contains("params") && !json.at("params").is_null();
  return check_params(given ? json.at("params") : Json::object(), spec, field + ".params", source);
}

ExportSpec parse_format(const Json& given, const std::string& field, const Catalogue& catalogue,
                        const Source& source) {
  const Json json = as_object(given, "format", field, "gguf(type=Q4_K_M)", source);
  check_keys(json, {"format", "params", "version"}, field, source);
  const MethodSpec& spec = named_spec(json, "format", field, catalogue, source);
  return {spec.name, spec.version, params_of(json, spec, field, source)};
}

EvaluationSpec parse_evaluation(const Json& given, const std::string& field, const Catalogue& catalogue,
                                const Source& source) {
  const Json json = as_object(given, "suite", field, "perplexity(windows=32)", source);
  check_keys(json, {"suite", "params", "when", "version"}, field, source);
  const MethodSpec& spec = named_spec(json, "suite", field, catalogue, source);
  EvaluationSpec evaluation{.suite = spec.name,
                            .version = spec.version,
                            .params = params_of(json, spec, field, source),
                            .when = {"before", "after"}};
  if (!json.contains("when")) return evaluation;
  evaluation.when.clear();
  for (const auto& when : string_list(json.at("when"), field + ".when", source)) {
    if (when != "before" && when != "after" && when != "each")
      source.fail("OUT_OF_RANGE", field + ".when", shown(when) + " is not allowed",
                  "when is a list of: before, after, each.");
    if (std::find(evaluation.when.begin(), evaluation.when.end(), when) == evaluation.when.end())
      evaluation.when.push_back(when);
  }
  if (evaluation.when.empty())
    source.fail("OUT_OF_RANGE", field + ".when", "an empty list never measures",
                "when is a list of: before, after, each.");
  return evaluation;
}

std::string parse_name(const Json& json, const Source& source) {
  if (!json.is_string()) source.fail("WRONG_TYPE", "name", shown(json) + " is no string", "Quote it.");
  const auto name = json.get<std::string>();
  if (name.size() > 200 || unclean_text_at(name) != std::string::npos ||
      name.find_first_of("\n\r\t") != std::string::npos)
    source.fail("OUT_OF_RANGE", "name", "is no line of at most 200 bytes without control characters");
  return name;
}

Json entries_of(const Json& json, const char* key, const Source& source) {
  if (!json.contains(key) || json.at(key).is_null()) return Json::array();
  if (!json.at(key).is_array())
    source.fail("WRONG_TYPE", key, shown(json.at(key)) + " is no list", "Begin every entry with '- '.");
  if (json.at(key).size() > kMaxStages)
    source.fail("OUT_OF_RANGE", key,
                std::to_string(json.at(key).size()) + " entries are too many; allowed: at most 1,000");
  return json.at(key);
}

bool produces_one_of(const StageSpec& stage, const std::vector<std::string>& forms,
                     const Catalogue& catalogue) {
  return std::find(forms.begin(), forms.end(), catalogue.method(stage.method, "").produces) != forms.end();
}

bool targets_all(const StageSpec& stage) {
  return std::find(stage.targets.begin(), stage.targets.end(), "Linear") != stage.targets.end();
}

// The last stage that stores the linear layers in one of these forms; nothing where none does.
std::optional<std::size_t> last_storing(const Recipe& recipe, const std::vector<std::string>& forms,
                                        const Catalogue& catalogue) {
  for (std::size_t i = recipe.stages.size(); i-- > 0;)
    if (targets_all(recipe.stages[i]) && produces_one_of(recipe.stages[i], forms, catalogue)) return i;
  return std::nullopt;
}

// Whether `later`, which targets all linear layers, takes every one that `earlier` has taken.
bool covers(const StageSpec& later, const StageSpec& earlier) {
  return std::all_of(later.ignore.begin(), later.ignore.end(), [&](const std::string& ignored) {
    return std::find(earlier.ignore.begin(), earlier.ignore.end(), ignored) != earlier.ignore.end();
  });
}

// A format of quantised layers, and stages that leave it none. The model may have come quantised, so some
// stage must have stored all linear layers anew.
void check_format_holds(const Recipe& recipe, std::size_t index, const MethodSpec& format,
                        const Catalogue& catalogue, const Source& source) {
  static const std::vector<std::string> kForms{"packed-int", "float8",   "float4", "masked",
                                               "low-rank",   "residual", "sum"};
  const auto last = last_storing(recipe, kForms, catalogue);
  if (format.holds.empty() || !last) return;
  for (std::size_t i = 0; i < recipe.stages.size(); ++i)
    if (produces_one_of(recipe.stages[i], format.holds, catalogue) &&
        (i >= *last || !covers(recipe.stages[*last], recipe.stages[i])))
      return;
  const std::string& method = recipe.stages[*last].method;
  source.fail("NOT_EXPRESSIBLE", at("exports", index),
              format.name + " holds " + join(format.holds, ", ") + ", and " + at("stages", *last) + " (" +
                  method + ") leaves " + catalogue.method(method, "").produces,
              "Quantise behind it, or export as huggingface, gguf, onnx or wring.");
}

void check_once(const Recipe& recipe, std::size_t index, const Source& source) {
  for (std::size_t i = 0; i < index; ++i)
    if (recipe.exports[i].format == recipe.exports[index].format &&
        recipe.exports[i].params == recipe.exports[index].params)
      source.fail("TWICE", at("exports", index), "is " + at("exports", i) + " again",
                  "Leave one of them out.");
}

// What is known of an export before anything ran: the bits that its layers will have, and what its files have
// no place for.
void check_export_fits(const Recipe& recipe, std::size_t index, const Catalogue& catalogue,
                       const Source& source) {
  const MethodSpec& spec = catalogue.format(recipe.exports[index].format, at("exports", index));
  const std::string instead = "compressed-tensors and wring hold it; or leave this export out.";
  if (!recipe.stages.empty()) {
    const std::string& last = recipe.stages.back().method;
    if (std::find(spec.refuses.begin(), spec.refuses.end(), last) != spec.refuses.end())
      source.fail("NOT_EXPRESSIBLE", at("exports", index),
                  spec.name + " has no place for what " + last + " leaves", instead);
  }
  check_format_holds(recipe, index, spec, catalogue, source);
  const auto stage = last_storing(recipe, {"packed-int"}, catalogue);
  if (!stage || spec.bits.empty() || !recipe.stages[*stage].params.contains("bits")) return;
  const auto bits = recipe.stages[*stage].params.at("bits").get<std::int64_t>();
  if (std::find(spec.bits.begin(), spec.bits.end(), bits) != spec.bits.end()) return;
  std::vector<std::string> held;
  for (const auto one : spec.bits) held.push_back(std::to_string(one));
  source.fail("NOT_EXPRESSIBLE", at("exports", index),
              spec.name + " holds layers of " + join(held, ", ") + " bits, and " + at("stages", *stage) +
                  ".params.bits is " + std::to_string(bits),
              instead);
}

Recipe build(const Json& json, const Catalogue& catalogue, const Source& source) {
  if (!json.is_object())
    source.fail("MALFORMED_RECIPE", "recipe", "a recipe is a mapping with stages",
                "For instance:\nstages:\n  - gptq(bits=4, group_size=64)");
  check_keys(json, {"name", "stages", "evaluations", "exports", "version"}, "", source);
  if (json.contains("version") && json.at("version") != 1)
    source.fail("OUT_OF_RANGE", "version",
                shown(json.at("version")) + " is no recipe version known here; it is one of 1");
  Recipe recipe;
  if (json.contains("name")) recipe.name = parse_name(json.at("name"), source);
  const Json stages = entries_of(json, "stages", source), suites = entries_of(json, "evaluations", source),
             formats = entries_of(json, "exports", source);
  for (std::size_t i = 0; i < stages.size(); ++i)
    recipe.stages.push_back(parse_stage(stages[i], at("stages", i), catalogue, source));
  resolve_references(recipe.stages, source);
  for (std::size_t i = 0; i < suites.size(); ++i)
    recipe.evaluations.push_back(parse_evaluation(suites[i], at("evaluations", i), catalogue, source));
  for (std::size_t i = 0; i < formats.size(); ++i)
    recipe.exports.push_back(parse_format(formats[i], at("exports", i), catalogue, source));
  if (recipe.stages.empty() && recipe.evaluations.empty() && recipe.exports.empty())
    source.fail("MALFORMED_RECIPE", "stages", "the recipe has neither stages, evaluations nor exports",
                "For instance:\nstages:\n  - gptq(bits=4, group_size=64)");
  for (std::size_t i = 0; i < recipe.exports.size(); ++i) {
    check_once(recipe, i, source);
    check_export_fits(recipe, i, catalogue, source);
  }
  return recipe;
}

// Calls that name a format are exports and those that name a suite evaluations, wherever they stand.
Json split_one_line(std::string_view text, const Catalogue& catalogue) {
  Json stages = Json::array(), evaluations = Json::array(), exports = Json::array();
  for (const auto& call : split_calls(text)) {
    const auto start = std::min(call.find_first_not_of(' '), call.size());
    const auto* spec =
        catalogue.find(std::string_view(call).substr(start, call.find_first_of(" (", start) - start));
    const std::string kind = spec ? spec->kind : "";
    (kind == "export" ? exports : kind == "evaluation" ? evaluations : stages).push_back(call);
  }
  return {{"stages", stages}, {"evaluations", evaluations}, {"exports", exports}};
}

struct ReadRecipe {
  Json json;
  Source source;
};

ReadRecipe read(std::string_view text, const Catalogue& catalogue) {
  if (text.size() > kMaxText)
    throw Error(ErrorCode::kInvalidArgument, "MALFORMED_RECIPE",
                "larger than 1 MiB: " + std::to_string(text.size()) + " bytes", "recipe");
  if (looks_like_one_line(text)) {
    check_text(text, "recipe");
    return {split_one_line(text, catalogue), {}};
  }
  YamlDocument document = parse_yaml(text, "recipe");
  // One line with comments around it, or folded over several.
  if (document.value.is_string() && looks_like_one_line(document.value.get<std::string>()))
    return {split_one_line(document.value.get<std::string>(), catalogue), {}};
  ReadRecipe recipe{std::move(document.value), Source{.lines = std::move(document.lines)}};
  if (is_modifier_recipe(recipe.json)) recipe.json = stages_of_modifiers(recipe.json, recipe.source);
  return recipe;
}

// Each stage, evaluation and export as a mapping with params.
Json expand(Json json, const Source& source) {
  if (!json.is_object())
    source.fail("MALFORMED_RECIPE", "recipe", "a recipe is a mapping with stages",
                "For instance:\nstages:\n  - gptq(bits=4, group_size=64)");
  constexpr std::array<std::array<const char*, 3>, 3> kLists{{{"stages", "method", "gptq(bits=4)"},
                                                              {"evaluations", "suite", "perplexity"},
                                                              {"exports", "format", "gguf"}}};
  for (const auto& [key, kind, example] : kLists) {
    Json list = entries_of(json, key, source);
    for (std::size_t i = 0; i < list.size(); ++i) {
      list[i] = as_object(list[i], kind, at(key, i), example, source);
      if (!list[i].contains("params") || list[i]["params"].is_null()) list[i]["params"] = Json::object();
    }
    json[key] = std::move(list);
  }
  return json;
}

}  // namespace

StageSpec parse_stage(const Json& given, const std::string& field, const Catalogue& catalogue,
                      const Source& source) {
  const Json json = as_object(given, "method", field, "gptq(bits=4)", source);
  check_keys(json, {"method", "params", "targets", "ignore", "version"}, field, source);
  const MethodSpec& spec = named_spec(json, "method", field, catalogue, source);
  StageSpec stage{.method = spec.name,
                  .version = spec.version,
                  .params = params_of(json, spec, field, source),
                  .targets = {"Linear"},
                  .ignore = {"lm_head"}};
  if (json.contains("targets")) stage.targets = pattern_list(json.at("targets"), field + ".targets", source);
  if (json.contains("ignore")) stage.ignore = pattern_list(json.at("ignore"), field + ".ignore", source);
  if (stage.targets.empty())
    source.fail("OUT_OF_RANGE", field + ".targets", "an empty list targets nothing",
                "Leave targets out for [Linear], or write [Linear, Embedding].");
  return stage;
}

Json stage_json(const StageSpec& stage) {
  return {{"method", stage.method},
          {"version", stage.version},
          {"params", stage.params},
          {"targets", stage.targets},
          {"ignore", stage.ignore}};
}

bool StageSpec::takes(const std::string& layer_name, const std::string& layer_class) const {
  const auto any = [&](const std::vector<std::string>& patterns) {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](const auto& p) { return pattern_matches(p, layer_name, layer_class); });
  };
  return any(targets) && !any(ignore);
}

Json Recipe::normal_form() const {
  Json stage_list = Json::array(), evaluation_list = Json::array();
  for (const auto& s : stages) stage_list.push_back(stage_json(s));
  for (const auto& e : evaluations)
    evaluation_list.push_back(
        {{"suite", e.suite}, {"version", e.version}, {"params", e.params}, {"when", e.when}});
  Json form{{"version", 1}, {"name", name}, {"stages", stage_list}, {"evaluations", evaluation_list}};
  for (const auto& e : exports)  // a recipe without exports keeps the digest that it always had
    form["exports"].push_back({{"format", e.format}, {"version", e.version}, {"params", e.params}});
  return form;
}

Digest recipe_digest(Json normal_form) {
  normal_form.erase("name");
  return sha256(normal_form.dump());
}

Digest Recipe::digest() const {
  return recipe_digest(normal_form());
}

std::vector<std::string> Recipe::data_names() const {
  std::set<std::string> names;
  const auto collect = [&](const std::string& method, const Json& params) {
    const MethodSpec* spec = Catalogue::embedded().find(method);
    if (!spec) return;
    for (const auto& p : spec->parameters)
      if (p.type == "data" && params.contains(p.name)) names.insert(params.at(p.name).get<std::string>());
  };
  for (const auto& s : stages) collect(s.method, s.params);
  for (const auto& e : evaluations) collect(e.suite, e.params);
  return {names.begin(), names.end()};
}

bool Recipe::is_due(const EvaluationSpec& evaluation, const std::string& when) const {
  if (stages.empty() && when == "before") return true;  // evaluate-only: once, whatever it says
  const auto has = [&](const char* word) {
    return std::find(evaluation.when.begin(), evaluation.when.end(), word) != evaluation.when.end();
  };
  if (when == "before") return has("before");
  return has("each") || (when == "after" && has("after"));
}

Recipe parse_recipe(std::string_view text, const Catalogue& catalogue) {
  const auto [json, source] = read(text, catalogue);
  return build(json, catalogue, source);
}

Json recipe_tree(std::string_view text, const Catalogue& catalogue) {
  auto [json, source] = read(text, catalogue);
  return expand(std::move(json), source);
}

Json expanded_recipe(Json recipe) {
  return expand(std::move(recipe), Source{});
}

ExportSpec parse_export(std::string_view text, const Catalogue& catalogue) {
  check_text(text, "to");
  return parse_format(std::string(text), "to", catalogue, Source{});
}

Recipe recipe_from_normal_form(const Json& json, const Catalogue& catalogue) {
  return build(json, catalogue, Source{});
}

void check_reads_no_file(const Recipe& recipe) {
  for (std::size_t i = 0; i < recipe.exports.size(); ++i)
    if (!json_or<std::string>(recipe.exports[i].params, "imatrix", "").empty())
      throw Error(ErrorCode::kInvalidArgument, "NOT_IN_A_JOB", "a job reads no files of its worker",
                  at("exports", i) + ".params.imatrix",
                  "Fetch the result (wring get), and export that folder: wring export DIR --to ...");
}

bool is_data_name(const std::string& name) {
  const auto allowed = [](unsigned char c) { return (c < 0x80 && std::isalnum(c)) || c == '-' || c == '_'; };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), allowed);
}

SparsityPattern SparsityPattern::parse(const Json& value, const std::string& field) {
  const auto fail = [&](const std::string& why) {
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                shown(value) + " " + why +
                    "; allowed: a share above 0 and below 1 (0.5), or N:M with 0 < N < M <= 64 (2:4)",
                field);
  };
  SparsityPattern pattern;
  if (value.is_number()) {
    pattern.share = value.get<double>();
    if (!(pattern.share > 0 && pattern.share < 1)) fail("is no share of weights");
    return pattern;
  }
  if (!value.is_string()) fail("is no sparsity pattern");
  const auto text = value.get<std::string>();
  const char* const end = text.data() + text.size();
  const auto [colon, first_error] = std::from_chars(text.data(), end, pattern.n);
  if (first_error != std::errc() || colon == end || *colon != ':') fail("is no sparsity pattern");
  const auto [rest, second_error] = std::from_chars(colon + 1, end, pattern.m);
  if (second_error != std::errc() || rest != end) fail("is no sparsity pattern");
  if (pattern.n < 1 || pattern.n >= pattern.m || pattern.m > 64) fail("is no N:M pattern");
  pattern.share = static_cast<double>(pattern.n) / pattern.m;
  return pattern;
}

}  // namespace wring
