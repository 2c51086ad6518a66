// The engine's side of the pipe to its agent (docs/pipe.md): start in, steps and rows out.
#pragma once

namespace wring {

// Runs the one job that comes over `in_fd`, reports over `out_fd`. Returns the process's exit status. Exits
// the process at once when `in_fd` closes.
int run_piped_job(int in_fd, int out_fd);

// The `hello` line on standard output.
int print_devices();

}  // namespace wring
