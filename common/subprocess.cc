// Starting another program with fork and exec.
#include "common/subprocess.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "common/error.h"

namespace wring {
namespace {

// What the child must know, prepared before fork: between fork and exec only async-signal-safe calls are
// made.
struct ChildPlan {
  std::vector<char*> argv;
  std::vector<std::string> environment_strings;
  std::vector<char*> environment;
  std::vector<int> away;  // room for a number for each named descriptor
  int error_fd;
  pid_t parent;
};

ChildPlan plan_child(const SubprocessOptions& options) {
  ChildPlan plan{};
  for (const auto& argument : options.argv) plan.argv.push_back(const_cast<char*>(argument.c_str()));
  plan.argv.push_back(nullptr);
  for (char** entry = environ; options.inherit_environment && *entry; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const auto& [key, value] : options.environment)
      replaced |= text.size() > key.size() && text.starts_with(key) && text[key.size()] == '=';
    if (!replaced) plan.environment_strings.emplace_back(text);
  }
  for (const auto& [key, value] : options.environment) plan.environment_strings.push_back(key + "=" + value);
  for (auto& text : plan.environment_strings) plan.environment.push_back(text.data());
  plan.environment.push_back(nullptr);
  plan.away.resize(options.descriptors.size());
  return plan;
}

// Moves the named descriptors to their numbers (first out of each other's way) and marks the rest
// close-on-exec. Returns false on failure, with errno set.
bool arrange_descriptors(const SubprocessOptions& options, ChildPlan& plan) {
  constexpr int kAway = 200;  // and free: the parent may have hundreds open
  int& error_fd = plan.error_fd;
  int highest = 2;
  for (std::size_t i = 0; i < options.descriptors.size(); ++i)
    if ((plan.away[i] = ::fcntl(options.descriptors[i].first, F_DUPFD, kAway)) < 0) return false;
  const int moved_error = ::fcntl(error_fd, F_DUPFD, kAway);
  if (moved_error < 0) return false;
  for (std::size_t i = 0; i < options.descriptors.size(); ++i) {
    if (::dup2(plan.away[i], options.descriptors[i].second) < 0) return false;
    highest = options.descriptors[i].second > highest ? options.descriptors[i].second : highest;
  }
  error_fd = highest + 1;
  if (::dup2(moved_error, error_fd) < 0) return false;
  ::fcntl(error_fd, F_SETFD, FD_CLOEXEC);
  ::close_range(static_cast<unsigned>(error_fd) + 1, ~0u, 0);
  for (int fd = 3; fd < error_fd; ++fd) {
    bool named = false;
    for (const auto& [from, to] : options.descriptors) named |= to == fd;
    if (!named) ::close(fd);
  }
  return true;
}

[[noreturn]] void run_child(const SubprocessOptions& options, ChildPlan& plan) {
  const auto fail = [&] {
    const int error = errno;
    [[maybe_unused]] const auto n = ::write(plan.error_fd, &error, sizeof error);
    ::_exit(127);
  };
  if (options.own_process_group) ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGHUP, SIGCHLD}) ::signal(number, SIG_DFL);
  if (options.in_child && !options.in_child()) fail();
  if (!arrange_descriptors(options, plan)) fail();
  if (options.address_space_bytes > 0) {
    const rlimit limit{options.address_space_bytes, options.address_space_bytes};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) fail();
  }
  if (!options.working_directory.empty() && ::chdir(options.working_directory.c_str()) != 0) fail();
  if (options.at_parents_end != 0) {
    ::prctl(PR_SET_PDEATHSIG, options.at_parents_end);
    if (::getppid() != plan.parent) ::_exit(127);  // it died before the line above
  }
  ::execve(plan.argv[0], plan.argv.data(), plan.environment.data());
  fail();
  ::_exit(127);
}

}  // namespace

Subprocess::Subprocess(const SubprocessOptions& options) : group_(options.own_process_group) {
  if (options.argv.empty()) throw Error(ErrorCode::kInternal, "SPAWN", "no program to start");
  auto plan = plan_child(options);
  auto error_pipe = Pipe::create();
  plan.error_fd = error_pipe.write.get();
  plan.parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw_io_error("fork for", options.argv[0], errno);
  if (pid_ == 0) run_child(options, plan);
  if (group_) ::setpgid(pid_, pid_);
  error_pipe.write.reset();
  int error = 0;
  ssize_t n;
  while ((n = ::read(error_pipe.read.get(), &error, sizeof error)) < 0 && errno == EINTR) {
  }
  if (n == sizeof error) {
    wait();
    throw_io_error("start", options.argv[0], error);
  }
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), group_(other.group_), status_(other.status_) {}

Subprocess::~Subprocess() {
  if (pid_ < 0 || status_) return;
  signal(SIGKILL);
  wait();
}

void Subprocess::signal(int number) {
  if (pid_ > 0 && !status_) ::kill(group_ ? -pid_ : pid_, number);
}

namespace {

ExitStatus from_wait(int raw, const rusage& usage) {
  ExitStatus status;
  status.code = WIFEXITED(raw) ? WEXITSTATUS(raw) : -1;
  status.signal = WIFSIGNALED(raw) ? WTERMSIG(raw) : 0;
  status.peak_rss_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
  return status;
}

}  // namespace

std::optional<ExitStatus> Subprocess::poll() {
  if (status_) return status_;
  int raw = 0;
  rusage usage{};
  if (::wait4(pid_, &raw, WNOHANG, &usage) == pid_) status_ = from_wait(raw, usage);
  return status_;
}

ExitStatus Subprocess::wait() {
  if (status_) return *status_;
  int raw = 0;
  rusage usage{};
  pid_t reaped;
  while ((reaped = ::wait4(pid_, &raw, 0, &usage)) < 0 && errno == EINTR) {
  }
  status_ = reaped == pid_ ? from_wait(raw, usage) : ExitStatus{-1, 0, 0};
  return *status_;
}

Pipe Pipe::create() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) throw_io_error("create", "a pipe", errno);
  return {FileDescriptor(fds[0]), FileDescriptor(fds[1])};
}

void limit_spinning_of_children() {
  if (!std::getenv("OMP_WAIT_POLICY")) ::setenv("GOMP_SPINCOUNT", "10000", 0);
}

std::filesystem::path sibling_program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

}  // namespace wring
