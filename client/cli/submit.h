// Creating a job and following it, for the verbs that do.
#pragma once

#include <string>

#include "client/cli/context.h"

namespace wring {

// Submits (with a fresh request id where it is empty); prints the job, or with `wait` follows it and prints
// its report.
void submit_and_report(CliContext& context, const v1::JobSpec& spec, const std::string& request_id,
                       bool wait);

}  // namespace wring
