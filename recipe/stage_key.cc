// Stage keys: SHA-256 over a canonical JSON of everything that can alter the output.
#include "recipe/stage_key.h"

#include "recipe/stage_reference.h"

namespace wring {
namespace {

Json common_part(const StageKeyInputs& inputs) {
  Json data = Json::object();
  for (const auto& [name, digest] : inputs.data) data[name] = digest.hex();
  return {{"input", inputs.input.hex()},
          {"data", data},
          {"seed", inputs.seed},
          {"device_class", inputs.device_class},
          {"kernel_level", inputs.kernel_level},
          {"numerics_version", inputs.numerics_version}};
}

}  // namespace

Digest stage_key(const StageSpec& stage, const StageKeyInputs& inputs) {
  Json key = common_part(inputs);
  key["stage"] = stage_json(stage);
  if (inputs.processes > 1 && stage.params.contains("steps")) key["processes"] = inputs.processes;
  return sha256(key.dump());
}

std::optional<StatisticsSpec> statistics_of(const std::string& name, const Json& params) {
  const MethodSpec* const method = Catalogue::embedded().find(name);
  if (!method || method->statistics.empty() || params.value("propagate", "") != "dense") return std::nullopt;
  StatisticsSpec statistics{method->statistics, Json::object()};
  for (const char* setting : {"samples", "sequence_length", "forward_dtype"})
    statistics.settings[setting] = params.at(setting);
  return statistics;
}

Digest statistics_key(const StatisticsSpec& statistics, const StageKeyInputs& inputs) {
  Json key = common_part(inputs);
  key.erase("seed");
  key["statistics"] = {
      {"which", statistics.which}, {"version", kStatisticsVersion}, {"settings", statistics.settings}};
  return sha256(key.dump());
}

std::vector<Digest> prefix_names(const Recipe& recipe, const StageKeyInputs& inputs) {
  std::vector<Digest> names;
  StageKeyInputs state = inputs;
  const auto add_statistics = [&](const std::string& name, const Json& params) {
    if (const auto statistics = statistics_of(name, params))
      names.push_back(statistics_key(*statistics, state));
  };
  const auto reads_only = [&](const Recipe& part) {
    state.data.clear();
    for (const auto& name : part.data_names())
      if (const auto it = inputs.data.find(name); it != inputs.data.end()) state.data.insert(*it);
  };
  for (const auto& evaluation : recipe.evaluations) {
    if (!recipe.is_due(evaluation, "before") ||
        Catalogue::embedded().suite(evaluation.suite, "evaluations").keyed_by_hardware)
      continue;
    reads_only({.evaluations = {evaluation}});
    add_statistics(evaluation.suite, evaluation.params);
    names.push_back(evaluation_key(evaluation, state));
  }
  std::vector<Digest> made;  // by the stages so far
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto& stage = recipe.stages[i];
    reads_only({.stages = {stage}});
    add_statistics(stage.method, stage.params);
    if (const auto reference = reference_index(recipe.stages, i))
      state.data["reference"] = made.at(*reference);
    state.input = stage_key(stage, state);
    made.push_back(state.input);
    names.push_back(state.input);
    const auto when = i + 1 < recipe.stages.size() ? std::to_string(i) : "after";
    for (const auto& evaluation : recipe.evaluations) {  // of them only what they learn of layers' inputs
      if (!recipe.is_due(evaluation, when)) continue;
      reads_only({.evaluations = {evaluation}});
      add_statistics(evaluation.suite, evaluation.params);
    }
  }
  return names;
}

Digest evaluation_key(const EvaluationSpec& evaluation, const StageKeyInputs& inputs) {
  Json key = common_part(inputs);
  key["evaluation"] = {
      {"suite", evaluation.suite}, {"version", evaluation.version}, {"params", evaluation.params}};
  return sha256(key.dump());
}

}  // namespace wring
