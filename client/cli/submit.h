// Creating a job and following it, for the verbs that do.
#pragma once

#include <optional>
#include <string>

#include "client/cli/context.h"

namespace wring {

// How long what a job makes is kept, for the verbs that make jobs.
struct RetentionFlags {
  std::string expire_after;
  bool pin = false;
};
void add_retention_flags(CLI::App& verb, RetentionFlags& flags);
std::optional<v1::Retention> retention_of(const RetentionFlags& flags);

// Submits (with a fresh request id where it is empty); prints the job, or with `wait` follows it and prints
// its report.
void submit_and_report(CliContext& context, const v1::JobSpec& spec, const std::string& request_id,
                       bool wait);

}  // namespace wring
