// Stage keys: the name of a stage's output by everything that can alter it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/digest.h"
#include "recipe/recipe.h"

namespace wring {

inline constexpr int kNumericsVersion = 3;  // raised when the engine's arithmetic changes results

// Never in here: host, path, YAML order, comments, thread count.
struct StageKeyInputs {
  Digest input;  // model as it enters the stage: artifact digest, or the previous stage's key
  std::map<std::string, Digest> data;  // only the data that the stage reads
  std::uint64_t seed = 0;
  std::string device_class;  // cpu, cuda
  std::string kernel_level;  // avx512-bf16, avx2, ..., sm90
  int numerics_version = kNumericsVersion;
};

// Names of what the first 1, 2, ... stages of a recipe make, as far as is known without a worker: equal where
// the keys are, on equal workers. `inputs.input` is the model; `inputs.data` may hold more than is read.
std::vector<Digest> prefix_names(const Recipe& recipe, const StageKeyInputs& inputs);

Digest stage_key(const StageSpec& stage, const StageKeyInputs& inputs);
Digest evaluation_key(const EvaluationSpec& evaluation, const StageKeyInputs& inputs);

}  // namespace wring
