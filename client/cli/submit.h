// Creating a job and following it, for the verbs that do.
#pragma once

#include <cstdint>
#include <string>

#include "client/cli/context.h"

namespace wring {

// "512MiB", "4GB", "1000": bytes. Throws Error(kInvalidArgument, "BAD_QUANTITY") that names `flag`.
std::uint64_t parse_bytes(const std::string& text, const std::string& flag);
// "90s", "10m", "2h", "90": seconds.
double parse_seconds(const std::string& text, const std::string& flag);

// Submits (with a fresh request id where it is empty); prints the job, or with `wait` follows it and prints
// its report.
void submit_and_report(CliContext& context, const v1::JobSpec& spec, const std::string& request_id,
                       bool wait);

}  // namespace wring
