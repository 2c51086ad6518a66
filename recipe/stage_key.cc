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

std::vector<Digest> prefix_names(const Recipe& recipe, const StageKeyInputs& inputs) {
  std::vector<Digest> names;
  StageKeyInputs state = inputs;
  for (const auto& stage : recipe.stages) {
    state.data.clear();
    Recipe alone;
    alone.stages = {stage};
    for (const auto& name : alone.data_names())
      if (const auto it = inputs.data.find(name); it != inputs.data.end()) state.data.insert(*it);
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
