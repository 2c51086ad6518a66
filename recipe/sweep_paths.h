// Paths of a sweep's space: where in a recipe they point.
#pragma once

#include <string>

#include "common/json.h"
#include "recipe/check.h"

namespace wring {

// What a path sets: a place in recipe_tree(), or one of a trial's inputs.
struct SweepPath {
  enum class Kind { kRecipe, kModel, kData, kSeed };
  Kind kind = Kind::kRecipe;
  Json::json_pointer pointer;  // of kRecipe
  std::string data;            // name of kData
  bool structural = false;     // it decides which other paths mean something: a method, a whole stage

  std::string canonical() const;  // two paths to one place have one
};

// "stages[0].params.bits", the same as "stages[0].bits" or, of the only stage of that method,
// "stages.gptq.bits"; "stages[1].method", "stages[1]", "evaluations[0].params.windows", "model",
// "data.calibration", "seed". Throws Error(kInvalidArgument, "UNKNOWN_PATH") about `field`.
SweepPath resolve_path(const std::string& path, const Json& recipe, const std::string& field,
                       const Source& source);

}  // namespace wring
