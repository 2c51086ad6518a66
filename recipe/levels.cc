// Levels, checked as the stages that they are.
#include "recipe/levels.h"

#include <algorithm>
#include <array>

#include "common/text.h"
#include "recipe/one_line.h"

namespace wring {
namespace {

constexpr std::size_t kMostLevels = 100;
constexpr std::array<const char*, 5> kCalibration{"data", "samples", "sequence_length", "propagate",
                                                  "forward_dtype"};

Json list_of_calls(const Json& given, const std::string& field, const Source& source) {
  Json list = given;
  if (given.is_string()) list = split_calls(given.get<std::string>());
  if (!list.is_array() || list.empty() || list.size() > kMostLevels)
    source.fail("WRONG_TYPE", field, shown(given) + " is no list of 1 to 100 levels",
                "For instance ['gptq(bits=3)', 'gptq(bits=4)'], or 'gptq(bits=3) | gptq(bits=4)'.");
  return list;
}

void check_calibration(const StageSpec& level, const MethodSpec& spec, const std::string& field,
                       const Source& source) {
  for (const auto* name : kCalibration)
    if (const auto* parameter = spec.parameter(name);
        parameter && level.params.at(name) != parameter->default_value)
      source.fail("UNKNOWN_PARAMETER", field + ".params." + name,
                  "'" + std::string(name) + "' is not a level's to say",
                  "Say it beside the levels: all of them calibrate on the same.");
}

}  // namespace

bool can_be_level(const MethodSpec& spec) {
  const auto only = [](const std::vector<std::string>& list, const std::string& allowed) {
    return std::all_of(list.begin(), list.end(), [&](const auto& entry) { return entry == allowed; });
  };
  const bool layer_by_layer = spec.kind == "quantize" || spec.kind == "sparse" || spec.kind == "low-rank";
  const bool calibrated = std::find(spec.needs.begin(), spec.needs.end(), "calibration") != spec.needs.end();
  return layer_by_layer && only(spec.needs, "calibration") && only(spec.statistics, "hessian") &&
         calibrated == !spec.statistics.empty() && spec.produces != "dense" &&
         spec.produces != "rounded-input" && spec.produces != "residual" && !spec.parameter("levels");
}

Json check_levels(const Json& given, const std::string& field, const Source& source,
                  const Catalogue& catalogue) {
  Json levels = Json::array();
  for (const auto& entry : list_of_calls(given, field, source)) {
    const auto path = field + "[" + std::to_string(levels.size()) + "]";
    StageSpec level = parse_stage(entry, path, catalogue, source);
    const MethodSpec& spec = *catalogue.find(level.method);
    if (!can_be_level(spec)) {
      std::vector<std::string> known;
      for (const auto* method : catalogue.methods())
        if (can_be_level(*method)) known.push_back(method->name);
      source.fail("NO_LEVEL", path + ".method",
                  "'" + level.method + "' is no level: it does not go layer by layer on the Hessian alone",
                  "Levels are of: " + join(known, ", ") + ".");
    }
    check_calibration(level, spec, path, source);
    for (const auto* name : kCalibration) level.params.erase(name);
    levels.push_back(stage_json(level));
  }
  return levels;
}

std::vector<StageSpec> levels_of(const Json& normal_form) {
  std::vector<StageSpec> levels;
  for (const auto& json : normal_form)
    levels.push_back({json.at("method").get<std::string>(), json.at("version").get<std::uint32_t>(),
                      json.at("params"), json.at("targets").get<std::vector<std::string>>(),
                      json.at("ignore").get<std::vector<std::string>>()});
  return levels;
}

std::string call_text(const MethodSpec& spec, const Json& params) {
  std::vector<std::string> changed;
  for (const auto& parameter : spec.parameters)
    if (const auto it = params.find(parameter.name); it != params.end() && *it != parameter.default_value)
      changed.push_back(parameter.name + "=" + (it->is_string() ? it->get<std::string>() : it->dump()));
  return spec.name + (changed.empty() ? "" : "(" + join(changed, ", ") + ")");
}

}  // namespace wring
