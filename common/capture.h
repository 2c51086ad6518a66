// Running a program to its end and keeping what it says, within bounds.
#pragma once

#include <cstddef>
#include <string>

#include "common/subprocess.h"

namespace wring {

enum class StandardError { kInherit, kMerge, kKeep };  // kMerge: into the output

struct CaptureOptions {
  StandardError standard_error = StandardError::kInherit;
  double seconds = 0;             // then it is killed; 0: no limit
  std::size_t max_bytes = 0;      // kept of each stream, the rest is read and dropped; 0: no limit
  bool own_process_group = true;  // false: Ctrl-C on the terminal reaches it as well
};

struct CapturedRun {
  ExitStatus status;
  std::string output, error;
  bool timed_out = false, cut = false;  // cut: a stream had more than max_bytes
};

// Runs `program`, whose descriptors are set here, to its end. Throws Error where it cannot be started.
CapturedRun run_captured(SubprocessOptions program, const CaptureOptions& options);

}  // namespace wring
