// Stage keys: SHA-256 over a canonical JSON of everything that can alter the output.
#include "recipe/stage_key.h"

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
  key["stage"] = {{"method", stage.method},
                  {"version", stage.version},
                  {"params", stage.params},
                  {"targets", stage.targets},
                  {"ignore", stage.ignore}};
  return sha256(key.dump());
}

std::optional<StatisticsSpec> statistics_of(const StageSpec& stage) {
  const MethodSpec* const method = Catalogue::embedded().find(stage.method);
  if (!method || method->statistics.empty() || stage.params.value("propagate", "") != "dense")
    return std::nullopt;
  StatisticsSpec statistics{method->statistics, Json::object()};
  for (const char* name : {"samples", "sequence_length", "forward_dtype"})
    statistics.settings[name] = stage.params.at(name);
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
    names.push_back(evaluation_key(evaluation, state));
  }
  for (const auto& stage : recipe.stages) {
    reads_only({.stages = {stage}});
    if (const auto statistics = statistics_of(stage)) names.push_back(statistics_key(*statistics, state));
    state.input = stage_key(stage, state);
    names.push_back(state.input);
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
