// One way to start another program: its own process group, no inherited descriptor but those named, limits
// set.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/files.h"

namespace wring {

struct SubprocessOptions {
  std::vector<std::string> argv;                                 // argv[0] is the path of the program
  std::vector<std::pair<std::string, std::string>> environment;  // set on top of the parent's
  bool inherit_environment = true;                               // false: `environment` is all that it gets
  std::filesystem::path working_directory;                       // empty: the parent's
  std::vector<std::pair<int, int>> descriptors;  // {parent's fd, child's number}; all others are closed
  bool own_process_group = true;
  int at_parents_end = SIGKILL;  // what it gets when the parent's thread that spawned it dies; 0: nothing
  std::uint64_t address_space_bytes = 0;  // RLIMIT_AS; 0 = no limit
  // Called in the child before it loses the parent's descriptors: async-signal-safe; false, with errno, is a
  // start that failed.
  std::function<bool()> in_child;
};

struct ExitStatus {
  int code = 0;    // exit status, or -1 where a signal ended it
  int signal = 0;  // 0 where it exited
  std::uint64_t peak_rss_bytes = 0;
};

// A running child. Killed (its whole group) and reaped on destruction. Not thread-safe.
class Subprocess {
 public:
  // Throws Error where the program cannot be started (also where exec itself fails).
  explicit Subprocess(const SubprocessOptions& options);
  ~Subprocess();
  Subprocess(Subprocess&& other) noexcept;
  Subprocess& operator=(Subprocess&&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number);           // to the group where it has one
  std::optional<ExitStatus> poll();  // reaps without waiting
  ExitStatus wait();

 private:
  pid_t pid_ = -1;
  bool group_ = false;
  std::optional<ExitStatus> status_;
};

// A pipe whose both ends are close-on-exec.
struct Pipe {
  FileDescriptor read, write;
  static Pipe create();
};

// For programs that start engines, first thing in main: lets a child's OpenMP threads wait for each other for
// some 100 us and then sleep, where libgomp by itself spins for milliseconds. Two engines on the same cores
// are several times faster so; one alone is no slower. GOMP_SPINCOUNT or OMP_WAIT_POLICY in the environment
// stay as they are.
void limit_spinning_of_children();

// The path of a program that lies beside this process's own executable.
std::filesystem::path sibling_program(const std::string& name);

}  // namespace wring
