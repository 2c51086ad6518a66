// Reading a child's streams until it has closed them or its time is over.
#include "common/capture.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/clock.h"

namespace wring {
namespace {

// Takes what `stream` has. Closes it at its end.
void take(FileDescriptor& stream, std::string& kept, std::size_t max_bytes, bool& cut) {
  std::array<char, 1 << 16> buffer;
  const auto n = ::read(stream.get(), buffer.data(), buffer.size());
  if (n < 0 && errno == EINTR) return;
  if (n <= 0) return stream.reset();
  const auto got = static_cast<std::size_t>(n);
  const auto room = max_bytes == 0 ? got : max_bytes - std::min(max_bytes, kept.size());
  cut |= room < got;
  kept.append(buffer.data(), std::min(room, got));
}

// Waits for `child` without reading, in slices. Returns false where the time is over first.
bool ends_within(Subprocess& child, double seconds, const Stopwatch& watch) {
  while (!child.poll()) {
    if (seconds > 0 && watch.seconds() > seconds) return false;
    ::usleep(5'000);
  }
  return true;
}

}  // namespace

CapturedRun run_captured(SubprocessOptions program, const CaptureOptions& options) {
  auto output = Pipe::create(), error = Pipe::create();
  program.descriptors.emplace_back(output.write.get(), STDOUT_FILENO);
  if (options.standard_error == StandardError::kMerge)
    program.descriptors.emplace_back(output.write.get(), STDERR_FILENO);
  if (options.standard_error == StandardError::kKeep)
    program.descriptors.emplace_back(error.write.get(), STDERR_FILENO);
  program.own_process_group = options.own_process_group;
  const Stopwatch watch;
  Subprocess child(program);
  output.write.reset();
  error.write.reset();
  CapturedRun run;
  while (!run.timed_out && (output.read || error.read)) {
    std::array<pollfd, 2> fds{
        {{output.read ? output.read.get() : -1, POLLIN, 0}, {error.read ? error.read.get() : -1, POLLIN, 0}}};
    const double left = options.seconds - watch.seconds();
    const int wait_ms = options.seconds > 0 ? std::max(0, static_cast<int>(left * 1000)) : -1;
    const int ready = ::poll(fds.data(), fds.size(), wait_ms);
    run.timed_out = ready == 0 || (options.seconds > 0 && left <= 0);
    if (ready <= 0) continue;
    if (fds[0].revents) take(output.read, run.output, options.max_bytes, run.cut);
    if (fds[1].revents) take(error.read, run.error, options.max_bytes, run.cut);
  }
  run.timed_out |= !ends_within(child, options.seconds, watch);
  if (run.timed_out) child.signal(SIGKILL);
  run.status = child.wait();
  return run;
}

}  // namespace wring
