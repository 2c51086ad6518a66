// The supervision loop of an engine child.
#include "worker/engine.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <sstream>

#include "common/clock.h"
#include "common/log.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "worker/engine_log.h"
#include "worker/error_detail.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr double kGraceSeconds = 1;  // from SIGTERM to SIGKILL
constexpr double kExitSeconds = 10;  // from the result to the engine's exit
constexpr double kMemoryCheckSeconds = 0.1;
constexpr int kPollMs = 50;

void make_non_blocking(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

// A "Name:   123 kB" line of /proc/PID/status, in bytes.
std::uint64_t status_bytes(const std::string& status, const char* name) {
  const auto at = status.find(name);
  return at == std::string::npos ? 0
                                 : std::strtoull(status.c_str() + at + std::strlen(name), nullptr, 10) * 1024;
}

// Anonymous and shared memory of a process and of those that its main thread has started; 0 once it has
// ended.
std::uint64_t memory_with_children(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  std::string status;
  try {
    status = read_file(folder + "/status");
  } catch (const Error&) {
    return 0;
  }
  std::uint64_t bytes = status_bytes(status, "RssAnon:") + status_bytes(status, "RssShmem:");
  std::ifstream children(folder + "/task/" + std::to_string(pid) + "/children");
  for (pid_t child = 0; children >> child;) bytes += memory_with_children(child);
  return bytes;
}

// How often the kernel has killed a process of this machine (or container) for memory since it started.
std::uint64_t oom_kills() {
  std::istringstream text(read_file("/proc/vmstat"));
  std::string name;
  std::uint64_t value = 0;
  while (text >> name >> value)
    if (name == "oom_kill") return value;
  return 0;
}

class Supervisor {
 public:
  Supervisor(const EngineRun& run, EngineListener& listener, const StopSignal& stop)
      : run_(run), listener_(listener), stop_(stop), log_(run.log), oom_kills_(oom_kills()), child_(start()) {
    send(run.start);
    // Where memory runs out all the same, the kernel is to take the engine and not the worker.
    std::ofstream("/proc/" + std::to_string(child_.pid()) + "/oom_score_adj") << 500;
  }

  EngineOutcome run() {
    while (!ended()) {
      pump(closed_ ? 5 : kPollMs);
      if (!failure_ && !stopping()) check_limits();
      if (failure_ || stop_ || (result_ && since_result_.seconds() > kExitSeconds)) end_engine();
    }
    ::kill(-child_.pid(), SIGKILL);  // what it left; its own id is still taken, as it is not reaped yet
    status_ = child_.wait();
    pump(0);
    return outcome();
  }

 private:
  Subprocess start() {
    ::signal(SIGPIPE, SIG_IGN);
    auto to_engine = Pipe::create(), from_engine = Pipe::create(), log = Pipe::create();
    const FileDescriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    SubprocessOptions options;
    options.argv = {run_.program.string(), "job"};
    options.working_directory = run_.folder;
    options.environment = {{"HOME", run_.folder.string()}, {"TMPDIR", run_.folder.string()}};
    for (const char* secret : {"WRING_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"})
      options.environment.emplace_back(secret, "");
    Sandbox::Fence fence;
    if (run_.sandbox) {
      OwnFiles own = run_.own;
      own.writable.push_back(run_.folder);
      fence = run_.sandbox->narrow(own);
      options.in_child = [&] { return run_.sandbox->enter(fence); };
    }
    options.descriptors = {{nothing.get(), 0},
                           {log.write.get(), 1},
                           {log.write.get(), 2},
                           {to_engine.read.get(), 3},
                           {from_engine.write.get(), 4}};
    Subprocess child(options);
    in_ = std::move(to_engine.write);
    out_ = std::move(from_engine.read);
    err_ = std::move(log.read);
    for (const auto* fd : {&in_, &out_, &err_}) make_non_blocking(fd->get());
    return child;
  }

  // Whether it has exited; it stays unreaped, so that its group's id stays its own.
  bool ended() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(child_.pid()), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           info.si_pid != 0;
  }

  bool stopping() const { return since_term_.has_value(); }

  // Moves what the pipes have, waiting at most `wait_ms` for something.
  void pump(int wait_ms) {
    std::array<pollfd, 3> fds{{{out_ ? out_.get() : -1, POLLIN, 0},
                               {err_ ? err_.get() : -1, POLLIN, 0},
                               {in_ && !to_send_.empty() ? in_.get() : -1, POLLOUT, 0}}};
    if (::poll(fds.data(), fds.size(), wait_ms) <= 0) return;
    if (fds[1].revents)
      drain(err_, [&](std::string_view bytes) {
        for (const auto& line : log_.append(bytes)) listener_.on_log(line);
      });
    if (fds[0].revents && drain(out_, [&](std::string_view bytes) { take(bytes); })) closed_ = true;
    if (fds[2].revents) flush();
  }

  // Reads all there is. Returns true at the end of the stream.
  template <typename Take>
  bool drain(FileDescriptor& fd, const Take& take) {
    std::array<char, 1 << 16> buffer;
    for (;;) {
      const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
      if (n > 0) {
        take(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
      } else if (n == 0 || errno != EINTR) {
        const bool end = n == 0 || errno != EAGAIN;
        if (end) fd.reset();
        return end;
      }
    }
  }

  void take(std::string_view bytes) {
    if (failure_ || stop_) return;  // nothing it says matters any more
    try {
      lines_.append(bytes);
      while (const auto line = lines_.next()) handle(parse_engine_line(*line));
    } catch (...) {
      failure_ = current_error();
    }
  }

  void handle(const EngineLine& line) {
    if (result_ || said_)
      throw Error(ErrorCode::kInternal, "ENGINE_PROTOCOL", "the engine goes on after its last message");
    std::visit([&](const auto& l) { on(l); }, line);
  }
  void on(const HelloLine& hello) { spdlog::debug("engine {} is up", hello.version); }
  void on(const PlanLine& plan) { listener_.on_plan(plan); }
  void on(const LookupLine& lookup) {
    const auto found = listener_.on_lookup(lookup);
    Json answer = found.value_or(Json::object());
    answer.update({{"type", "lookup_result"}, {"index", lookup.index}, {"hit", found.has_value()}});
    send(answer);
  }
  void on(const StartedLine& started) {
    step_ = static_cast<std::int32_t>(started.index);
    step_name_ = started.name;
    listener_.on_started(started);
  }
  void on(const ProgressLine& progress) { listener_.on_progress(progress); }
  void on(const DoneLine& done) { listener_.on_done(done); }
  void on(const RowsLine& rows) { listener_.on_rows(rows); }
  void on(const ResultLine& result) {
    result_ = result;
    since_result_ = Stopwatch();
  }
  void on(const ErrorLine& error) { said_ = error; }

  void send(const Json& message) {
    to_send_ += message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    flush();
  }

  void flush() {
    while (in_ && !to_send_.empty()) {
      const ssize_t n = ::write(in_.get(), to_send_.data(), to_send_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) return in_.reset();  // it has gone; how it went is told by its exit
      to_send_.erase(0, static_cast<std::size_t>(n));
    }
  }

  void check_limits() {
    if (run_.seconds > 0 && run_.began.seconds() > run_.seconds && !result_)
      failure_ = Error(ErrorCode::kDeadlineExceeded, "MAX_RUNTIME",
                       "the job ran longer than its limit of " + human_duration(run_.seconds),
                       "max_runtime_seconds", "Finished stages are kept: raise the limit and retry.");
    if (since_memory_.seconds() < kMemoryCheckSeconds) return;
    since_memory_ = Stopwatch();
    const auto used = memory_with_children(child_.pid());
    listener_.on_memory(used);
    if (run_.memory_bytes == 0 || used <= run_.memory_bytes) return;
    const std::string told = "engine used " + human_bytes(used) + " of " + human_bytes(run_.memory_bytes);
    if (run_.limit_is_jobs)
      failure_ = Error(ErrorCode::kResourceExhausted, "MEMORY_LIMIT", told, "resources.memory_bytes",
                       "Give the job more memory, or take fewer calibration samples or a shorter sequence.");
    else  // a larger worker may have the room
      failure_ =
          Error(ErrorCode::kResourceExhausted, "OUT_OF_MEMORY", told + " that its worker gives a job",
                "--memory", "Start a worker with a larger --memory, or take fewer calibration samples.");
  }

  // SIGTERM first; SIGKILL once the grace is over, and at once where it broke a limit or the protocol.
  void end_engine() {
    if (killed_) return;
    if (!since_term_) {
      since_term_ = Stopwatch();
      child_.signal(SIGTERM);
    }
    if (failure_ || since_term_->seconds() >= kGraceSeconds) {
      child_.signal(SIGKILL);
      killed_ = true;
    }
  }

  EngineOutcome outcome() {
    EngineOutcome outcome;
    outcome.peak_bytes = status_.peak_rss_bytes;
    const bool by_others = told_by_others();
    if (by_others) stop_.wait(kGraceSeconds);
    if (stop_) return outcome;
    const int signal = by_others ? SIGTERM : status_.signal;
    if (by_others) said_.reset();  // nobody cancelled the job
    if (failure_) {
      outcome.error = to_detail(*failure_, step_);
    } else if (result_) {
      if (status_.code != 0)
        spdlog::warn("the engine gave its result and then ended badly (signal {}, status {})", status_.signal,
                     status_.code);
      outcome.result = std::move(result_);
    } else if (said_) {
      outcome.error = to_detail(said_->error, said_->index);
    } else {
      outcome.error = to_detail(crash(signal), step_);
      outcome.error->set_signal(signal);
    }
    if (outcome.error) outcome.error->set_last_log(log_.last_lines());
    return outcome;
  }

  // Who ends a machine, or a batch job, tells the engine at once with its worker, which may not have heard
  // yet.
  bool told_by_others() const {
    const bool says_so = said_ && said_->error.code() == ErrorCode::kCancelled;
    return !since_term_ && !failure_ && (says_so || status_.signal == SIGTERM);
  }

  Error crash(int signal) const {
    const std::string where = step_ < 0 ? "before its first step"
                                        : "in step " + std::to_string(step_ + 1) + " (" + step_name_ + ")";
    if (signal == SIGKILL && oom_kills() > oom_kills_)
      return Error(
          ErrorCode::kResourceExhausted, "OUT_OF_MEMORY",
          "the kernel ended the engine " + where + " as memory ran out; it had used " +
              human_bytes(status_.peak_rss_bytes),
          "", "Use a machine with more memory, or take fewer calibration samples or a shorter sequence.");
    if (signal != 0)
      return Error(ErrorCode::kInternal, "ENGINE_CRASH",
                   "the engine was ended by signal " + std::to_string(signal) + " (" + ::strsignal(signal) +
                       ") " + where);
    return Error(ErrorCode::kInternal, "ENGINE_CRASH",
                 "the engine exited with status " + std::to_string(status_.code) + " " + where +
                     " and gave no reason");
  }

  const EngineRun& run_;
  EngineListener& listener_;
  const StopSignal& stop_;
  EngineLog log_;
  std::uint64_t oom_kills_;
  FileDescriptor in_, out_, err_;
  Subprocess child_;
  ExitStatus status_;
  LineBuffer lines_;
  std::string to_send_;
  Stopwatch since_memory_, since_result_;
  std::optional<Stopwatch> since_term_;
  bool closed_ = false, killed_ = false;
  std::int32_t step_ = -1;
  std::string step_name_;
  std::optional<ResultLine> result_;
  std::optional<ErrorLine> said_;
  std::optional<Error> failure_;
};

}  // namespace

EngineOutcome run_engine(const EngineRun& run, EngineListener& listener, const StopSignal& stop) {
  return Supervisor(run, listener, stop).run();
}

HelloLine ask_engine_devices(const fs::path& program) {
  try {
    auto pipe = Pipe::create();
    SubprocessOptions options;
    options.argv = {program.string(), "devices"};
    options.descriptors = {{pipe.write.get(), 1}};
    Subprocess child(options);
    pipe.write.reset();
    LineBuffer lines;
    std::array<char, 4096> buffer;
    for (ssize_t n; (n = ::read(pipe.read.get(), buffer.data(), buffer.size())) != 0;) {
      if (n < 0 && errno != EINTR) throw_io_error("read", "the engine's answer", errno);
      if (n > 0) lines.append(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    }
    const auto status = child.wait();
    const auto line = lines.next();
    if (status.code != 0 || !line)
      throw Error(ErrorCode::kInternal, "ENGINE_CRASH",
                  "it ended with status " + std::to_string(status.code) + ", signal " +
                      std::to_string(status.signal));
    auto hello = parse_engine_line(*line);
    if (!std::holds_alternative<HelloLine>(hello))
      throw Error(ErrorCode::kInternal, "ENGINE_PROTOCOL", "its first line is no hello");
    return std::get<HelloLine>(std::move(hello));
  } catch (const Error& error) {
    throw Error(ErrorCode::kFailedPrecondition, "NO_ENGINE",
                "'" + program.string() + " devices' does not work: " + error.what(), "--engine",
                "Give the path of a wring-engine that runs on this machine.");
  }
}

}  // namespace wring
