// What was measured of an artifact, as the CLI tells it.
#pragma once

#include <string>
#include <vector>

#include "client/cli/context.h"
#include "wring/v1/evaluations.pb.h"

namespace wring {

std::vector<v1::Evaluation> evaluations_of(CliContext& context, const std::string& artifact);

// A table of them beside the input's, what perplexity has risen by with the error of the difference, and what
// an export's check has seen; empty where nothing was measured.
std::string describe_figures(const std::vector<v1::Evaluation>& rows);

// {"Q5_0": 150, "F32": 61}: "61 F32, 150 Q5_0".
std::string type_counts(const Json& counts);

}  // namespace wring
