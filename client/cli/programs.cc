// Finding and running the programs beside this one.
#include "client/cli/programs.h"

#include <unistd.h>

#include <csignal>
#include <utility>

#include "client/cli/interrupt.h"
#include "common/capture.h"
#include "common/error.h"

namespace wring {

std::filesystem::path program(const std::string& name) {
  auto path = sibling_program(name);
  if (::access(path.c_str(), X_OK) == 0) return path;
  throw Error(
      ErrorCode::kNotFound, "NO_PROGRAM", "there is no " + name + " at " + path.string(), "",
      "scripts/build makes all programs; they must stay in one folder. wring doctor shows what is missing.");
}

Captured capture(const std::vector<std::string>& argv, bool with_standard_error) {
  SubprocessOptions program;
  program.argv = argv;
  program.at_parents_end = SIGTERM;  // an engine leaves nothing half done behind
  CaptureOptions options;
  options.own_process_group = false;
  if (with_standard_error) options.standard_error = StandardError::kMerge;
  auto run = run_captured(std::move(program), options);
  return {run.status, std::move(run.output)};
}

Captured capture_engine(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program("wring-engine").string());
  const InterruptScope interrupt;  // the engine has heard as well, and cleans up
  auto ended = capture(arguments);
  if (const int signal = ended.status.signal)
    throw Error(interrupt.seen() ? ErrorCode::kCancelled : ErrorCode::kInternal, "ENGINE_KILLED",
                "wring-engine was ended by signal " + std::to_string(signal));
  return ended;
}

}  // namespace wring
