// Kinds against the specs' `takes`.
#include "recipe/model_kind.h"

#include <algorithm>

#include "common/error.h"
#include "common/text.h"

namespace wring {
namespace {

bool takes_any(const MethodSpec& spec, const std::vector<std::string>& kinds) {
  return std::any_of(kinds.begin(), kinds.end(), [&](const std::string& kind) {
    return std::find(spec.takes.begin(), spec.takes.end(), kind) != spec.takes.end();
  });
}

std::string named(const std::vector<std::string>& kinds) {
  if (kinds.size() > 1) return "a transformer model";
  if (kinds.front() == "graph") return "an ONNX graph";
  return kinds.front() == "encoder" ? "an encoder" : "a " + kinds.front();
}

std::string way_out(const MethodSpec& spec, const std::vector<const MethodSpec*>& others,
                    const std::vector<std::string>& kinds) {
  if (spec.kind == "export" && kinds == std::vector<std::string>{"graph"})
    return "Of a transformer that was exported as ONNX hand in the folder, with config.json and "
           "wring_onnx.json.";
  std::vector<std::string> fitting;
  for (const auto* other : others)
    if (takes_any(*other, kinds)) fitting.push_back(other->name);
  return fitting.empty() ? "Nothing here takes it." : "What takes it: " + join(fitting, ", ") + ".";
}

void check(const MethodSpec& spec, const std::vector<const MethodSpec*>& others,
           const std::vector<std::string>& kinds, const std::string& field) {
  if (takes_any(spec, kinds)) return;
  throw Error(ErrorCode::kInvalidArgument, "WRONG_MODEL_KIND",
              spec.name + " takes " + join(spec.takes, ", ") + "; this model is " + named(kinds), field,
              way_out(spec, others, kinds));
}

std::string place(const char* list, std::size_t index, const char* member) {
  return std::string(list) + "[" + std::to_string(index) + "]." + member;
}

}  // namespace

void check_model_kind(const Recipe& recipe, const std::vector<std::string>& kinds,
                      const Catalogue& catalogue) {
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const std::string field = place("stages", i, "method");
    check(catalogue.method(recipe.stages[i].method, field), catalogue.methods(), kinds, field);
  }
  for (std::size_t i = 0; i < recipe.evaluations.size(); ++i) {
    const std::string field = place("evaluations", i, "suite");
    check(catalogue.suite(recipe.evaluations[i].suite, field), catalogue.suites(), kinds, field);
  }
  for (std::size_t i = 0; i < recipe.exports.size(); ++i) {
    const std::string field = place("exports", i, "format");
    check(catalogue.format(recipe.exports[i].format, field), catalogue.formats(), kinds, field);
  }
}

}  // namespace wring
