// Stage keys: the name of a stage's output by everything that can alter it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/digest.h"
#include "recipe/recipe.h"

namespace wring {

inline constexpr int kNumericsVersion = 4;    // raised when the engine's arithmetic changes results
inline constexpr int kStatisticsVersion = 1;  // raised when stored statistics hold something else

// Never in here: host, path, YAML order, comments, thread count.
struct StageKeyInputs {
  Digest input;  // model as it enters the stage: artifact digest, or the previous stage's key
  std::map<std::string, Digest> data;  // only the data that the stage reads
  std::uint64_t seed = 0;
  std::string device_class;  // cpu, cuda
  std::string kernel_level;  // avx512-bf16, avx2, ..., sm90
  int numerics_version = kNumericsVersion;
  int processes = 1;  // of the job: training ends with other bits in other numbers of them
};

// What a stage or evaluation is told of its layers' inputs where these are those of its input model
// throughout
// (`propagate: dense`). Stages that differ in nothing that is named here are told the same.
struct StatisticsSpec {
  std::vector<std::string> which;  // as in the method's spec
  Json settings;                   // samples, sequence_length, forward_dtype
};
// Of a method or suite with these parameters; nullopt where they depend on it, or it needs none.
std::optional<StatisticsSpec> statistics_of(const std::string& name, const Json& params);
// `inputs.data` is the calibration data. Not of the seed: none is drawn.
Digest statistics_key(const StatisticsSpec& statistics, const StageKeyInputs& inputs);

// Names of what a recipe makes first that others may make too, in the engine's order: its evaluations of the
// input and of each stage its output, with the statistics before. As far as is known without a worker: equal
// where the keys are, on equal workers. `inputs.input` is the model; `inputs.data` may hold more than is
// read.
std::vector<Digest> prefix_names(const Recipe& recipe, const StageKeyInputs& inputs);

Digest stage_key(const StageSpec& stage, const StageKeyInputs& inputs);
Digest evaluation_key(const EvaluationSpec& evaluation, const StageKeyInputs& inputs);

}  // namespace wring
