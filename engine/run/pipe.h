// The engine's side of the pipe to its agent (docs/pipe.md): start in, steps and rows out.
#pragma once

#include "common/json.h"
#include "engine/run/job.h"

namespace wring {

// Runs the one job that comes over `in_fd`, reports over `out_fd`. Returns the process's exit status. Exits
// the process at once when `in_fd` closes.
int run_piped_job(int in_fd, int out_fd);

// What run_piped_job() starts with where another engine runs it: inputs by tree_to_json(). Without
// `snapshots` and `plan_only`.
Json start_message(const JobSpec& spec);

// The `hello` line on standard output.
int print_devices();

}  // namespace wring
