// Specs read from YAML, and the catalogue of all of them.
#include "recipe/spec.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "recipe/check.h"
#include "recipe/utf8.h"
#include "recipe/yaml.h"

namespace wring {

std::vector<std::string_view> embedded_method_specs();  // generated from the spec files

namespace {

[[noreturn]] void throw_bad(const std::string& field, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_SPEC", why, field);
}

void check_known(const std::string& value, const std::vector<std::string>& known, const std::string& field) {
  if (std::find(known.begin(), known.end(), value) == known.end())
    throw_bad(field, "'" + value + "' is none of " + join(known, ", "));
}

ParameterSpec parse_parameter(const std::string& name, const Json& json, const std::string& field) {
  check_keys(json, {"type", "unit", "default", "min", "max", "except", "choices", "help"}, field,
             Source{"spec", {}});
  ParameterSpec parameter;
  parameter.name = name;
  parameter.type = json_at<std::string>(json, "type", field);
  parameter.unit = json_or<std::string>(json, "unit", "", field);
  parameter.help = json_at<std::string>(json, "help", field);
  if (json.contains("default")) parameter.default_value = json.at("default");
  if (json.contains("min")) parameter.minimum = json_at<double>(json, "min", field);
  if (json.contains("max")) parameter.maximum = json_at<double>(json, "max", field);
  if (json.contains("except")) parameter.excluded = json_at<double>(json, "except", field);
  if (json.contains("choices")) parameter.choices = json_at<std::vector<Json>>(json, "choices", field);
  check_known(parameter.type,
              {"integer", "number", "numbers", "boolean", "string", "choice", "sparsity-pattern", "data",
               "stage", "stages"},
              field + ".type");
  if (parameter.type == "choice" && parameter.choices.empty()) throw_bad(field, "a choice without choices");
  if (!parameter.default_value.is_null() && parameter.type != "stages")  // of specs that are being read
    (void)check_value(parameter.default_value, parameter, field + ".default", Source{"spec", {}});
  return parameter;
}

MethodSpec parse_spec(std::string_view yaml) {
  const YamlDocument document = parse_yaml(yaml, "spec");
  const Json& json = document.value;
  MethodSpec spec;
  spec.text = yaml;
  spec.name = json_at<std::string>(json, "name", "spec");
  check_keys(
      json,
      {"name", "version", "kind", "summary", "papers", "takes", "needs", "produces", "determinism",
       "keyed_by_hardware", "statistics", "metrics", "compares", "bits", "refuses", "holds", "parameters"},
      spec.name, Source{"spec", {}});
  spec.version = json_at<std::uint32_t>(json, "version", spec.name);
  spec.kind = json_at<std::string>(json, "kind", spec.name);
  spec.summary = json_at<std::string>(json, "summary", spec.name);
  spec.papers = json_or<std::vector<Json>>(json, "papers", {}, spec.name);
  spec.takes = json_at<std::vector<std::string>>(json, "takes", spec.name);
  spec.needs = json_or<std::vector<std::string>>(json, "needs", {}, spec.name);
  spec.produces = json_or<std::string>(json, "produces", "", spec.name);
  spec.determinism = json_at<std::string>(json, "determinism", spec.name);
  check_known(spec.determinism, {"any-threads", "equal-threads", "none"}, spec.name + ".determinism");
  spec.keyed_by_hardware = json_or<bool>(json, "keyed_by_hardware", false, spec.name);
  spec.statistics = json_or<std::vector<std::string>>(json, "statistics", {}, spec.name);
  for (const auto& statistic : spec.statistics)
    check_known(statistic, {"input-norm", "input-magnitude", "hessian", "moments", "input-values"},
                spec.name + ".statistics");
  spec.metrics = json_or<std::map<std::string, std::string>>(json, "metrics", {}, spec.name);
  for (const auto& [metric, better] : spec.metrics)
    check_known(better, {"lower", "higher", "neither"}, spec.name + ".metrics." + metric);
  spec.compares = json_or<std::vector<std::string>>(json, "compares", {}, spec.name);
  for (const auto& metric : spec.compares)
    if (!spec.metrics.contains(metric)) throw_bad(spec.name + ".compares", "no metric " + metric);
  spec.bits = json_or<std::vector<std::int64_t>>(json, "bits", {}, spec.name);
  spec.refuses = json_or<std::vector<std::string>>(json, "refuses", {}, spec.name);
  spec.holds = json_or<std::vector<std::string>>(json, "holds", {}, spec.name);
  const Json parameters = json_or<Json>(json, "parameters", Json::object(), spec.name);
  for (const auto& [name, parameter] : parameters.items())
    spec.parameters.push_back(parse_parameter(name, parameter, spec.name + ".parameters." + name));
  std::stable_sort(spec.parameters.begin(), spec.parameters.end(), [&](const auto& a, const auto& b) {
    return document.lines.at("parameters." + a.name) < document.lines.at("parameters." + b.name);
  });
  return spec;
}

}  // namespace

const ParameterSpec* MethodSpec::parameter(std::string_view wanted) const {
  for (const auto& entry : parameters)
    if (entry.name == wanted) return &entry;
  return nullptr;
}

Json MethodSpec::to_json() const {
  Json list = Json::array();
  for (const auto& p : parameters) {
    Json entry{
        {"name", p.name}, {"type", p.type}, {"unit", p.unit}, {"default", p.default_value}, {"help", p.help}};
    if (p.minimum) entry["min"] = *p.minimum;
    if (p.maximum) entry["max"] = *p.maximum;
    if (p.excluded) entry["except"] = *p.excluded;
    if (!p.choices.empty()) entry["choices"] = p.choices;
    list.push_back(std::move(entry));
  }
  Json json{{"name", name},
            {"version", version},
            {"kind", kind},
            {"summary", summary},
            {"papers", papers},
            {"takes", takes},
            {"needs", needs},
            {"produces", produces},
            {"determinism", determinism},
            {"keyed_by_hardware", keyed_by_hardware},
            {"parameters", list}};
  if (!metrics.empty()) json["metrics"] = metrics;
  if (!compares.empty()) json["compares"] = compares;
  if (!statistics.empty()) json["statistics"] = statistics;
  if (!bits.empty()) json["bits"] = bits;
  if (!refuses.empty()) json["refuses"] = refuses;
  if (!holds.empty()) json["holds"] = holds;
  return json;
}

MethodSpec parse_method_spec(std::string_view yaml) {
  try {
    return parse_spec(yaml);
  } catch (const Error& e) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_SPEC", e.message(), e.field(), e.hint());
  }
}

Catalogue::Catalogue(std::vector<MethodSpec> specs) {
  for (auto& spec : specs) {
    const std::string name = spec.name;
    if (!specs_.emplace(name, std::move(spec)).second) throw_bad(name, "two specs have this name");
  }
  Json all = Json::array();
  for (const auto& [name, spec] : specs_) all.push_back(spec.to_json());
  digest_ = sha256(all.dump());
}

const Catalogue& Catalogue::embedded() {
  static const Catalogue catalogue = [] {
    std::vector<MethodSpec> specs;
    for (const auto text : embedded_method_specs()) specs.push_back(parse_method_spec(text));
    return Catalogue(std::move(specs));
  }();
  return catalogue;
}

const MethodSpec* Catalogue::find(std::string_view name) const {
  const auto it = specs_.find(name);
  return it == specs_.end() ? nullptr : &it->second;
}

namespace {

constexpr std::string_view kMethod = "method", kSuite = "evaluation suite", kFormat = "export format";

std::string with_article(std::string_view noun) {
  return (noun == kMethod ? "a " : "an ") + std::string(noun);
}

std::string_view noun_of(const MethodSpec& spec) {
  if (spec.kind == "evaluation") return kSuite;
  return spec.kind == "export" ? kFormat : kMethod;
}

[[noreturn]] void throw_misplaced(const MethodSpec& spec, const std::string& field, const char* reason,
                                  std::string_view wanted) {
  throw Error(ErrorCode::kInvalidArgument, reason,
              "'" + spec.name + "' is " + with_article(noun_of(spec)) + ", no " + std::string(wanted), field,
              "Methods stand under stages, evaluation suites under evaluations; formats under exports.");
}

[[noreturn]] void throw_unknown(const std::vector<const MethodSpec*>& known, std::string_view name,
                                const std::string& field, const char* reason, std::string_view noun) {
  std::vector<std::string> names;
  for (const auto* spec : known) names.push_back(spec->name);
  const auto nearest = nearest_name(name, names);
  throw Error(ErrorCode::kInvalidArgument, reason,
              "there is no " + std::string(noun) + " '" + shortened(name, 80) + "'", field,
              (nearest.empty() ? std::string() : "Did you mean '" + nearest + "'? ") +
                  "Known: " + join(names, ", ") + ".");
}

}  // namespace

const MethodSpec& Catalogue::of_noun(std::string_view noun, std::string_view name, const std::string& field,
                                     const char* reason) const {
  const MethodSpec* spec = find(name);
  if (!spec) throw_unknown(all_of(noun), name, field, reason, noun);
  if (noun_of(*spec) != noun) throw_misplaced(*spec, field, reason, noun);
  return *spec;
}

const MethodSpec& Catalogue::method(std::string_view name, const std::string& field) const {
  return of_noun(kMethod, name, field, "UNKNOWN_METHOD");
}
const MethodSpec& Catalogue::suite(std::string_view name, const std::string& field) const {
  return of_noun(kSuite, name, field, "UNKNOWN_SUITE");
}
const MethodSpec& Catalogue::format(std::string_view name, const std::string& field) const {
  return of_noun(kFormat, name, field, "UNKNOWN_FORMAT");
}

const MethodSpec& Catalogue::any(std::string_view name, const std::string& field) const {
  if (const MethodSpec* spec = find(name)) return *spec;
  std::vector<const MethodSpec*> known;
  for (const auto& [key, spec] : specs_) known.push_back(&spec);
  throw_unknown(known, name, field, "UNKNOWN_METHOD", "method, suite or format");
}

std::vector<const MethodSpec*> Catalogue::all_of(std::string_view noun) const {
  std::vector<const MethodSpec*> list;
  for (const auto& [name, spec] : specs_)
    if (noun_of(spec) == noun) list.push_back(&spec);
  return list;
}

std::vector<const MethodSpec*> Catalogue::methods() const {
  return all_of(kMethod);
}
std::vector<const MethodSpec*> Catalogue::suites() const {
  return all_of(kSuite);
}
std::vector<const MethodSpec*> Catalogue::formats() const {
  return all_of(kFormat);
}

}  // namespace wring
