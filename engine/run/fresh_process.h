// What is done by another process of this program, which has nothing in memory of what this one did.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/run/job.h"
#include "engine/run/progress.h"

namespace wring {

// Runs a verb with `arguments` and --json; returns the JSON that it printed. Scratch goes into `folder`.
// Throws the error that it ended with, or kInternal "EXPORT_NOT_VERIFIED" where it gave none.
Json run_fresh(const std::vector<std::string>& arguments, const std::filesystem::path& folder);

struct FreshEvaluations {
  std::vector<std::vector<EvaluationRow>> rows;  // by evaluation of the recipe
  std::uint64_t peak_bytes = 0;                  // resident memory of that process, highest
};

// Runs a job that has evaluations alone, by the pipe that an agent speaks (docs/pipe.md); both ends of it are
// files of this machine. Throws the error that it ended with, or kInternal "ENGINE_CRASH".
FreshEvaluations evaluate_fresh(const JobSpec& spec, Progress& progress);

}  // namespace wring
