// Finding and running the programs beside this one.
#include "client/cli/programs.h"

#include <unistd.h>

#include <cerrno>

#include "common/error.h"
#include "common/files.h"

namespace wring {

std::filesystem::path program(const std::string& name) {
  auto path = sibling_program(name);
  if (::access(path.c_str(), X_OK) == 0) return path;
  throw Error(
      ErrorCode::kNotFound, "NO_PROGRAM", "there is no " + name + " at " + path.string(), "",
      "scripts/build makes all programs; they must stay in one folder. wring doctor shows what is missing.");
}

Captured capture(const std::vector<std::string>& argv, bool with_standard_error) {
  auto pipe = Pipe::create();
  SubprocessOptions options;
  options.argv = argv;
  options.descriptors = {{pipe.write.get(), STDOUT_FILENO}};
  if (with_standard_error) options.descriptors.push_back({pipe.write.get(), STDERR_FILENO});
  options.own_process_group = false;
  Subprocess child(options);
  pipe.write.reset();
  Captured captured;
  char buffer[1 << 16];
  for (;;) {
    const auto n = ::read(pipe.read.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    captured.output.append(buffer, static_cast<std::size_t>(n));
  }
  captured.status = child.wait();
  return captured;
}

}  // namespace wring
