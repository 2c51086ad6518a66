// How much of a machine's processor this process may use.
#include "common/cores.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace wring {
namespace {

// std::thread::hardware_concurrency of GCC 12 counts the machine's cores, whatever this process is bound to.
int bound_cores() {
  constexpr std::size_t kMostCores = 1 << 16;  // the kernel refuses a mask that is too small for the machine
  for (std::size_t cores = CPU_SETSIZE; cores <= kMostCores; cores *= 2) {
    std::vector<cpu_set_t> mask(cores / CPU_SETSIZE);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The least that a control group (version 2) of this process or one around it has; 0: no limit.
int allowed_cores() {
  const std::string groups = text_of("/proc/self/cgroup"), mark = "0::/";
  const auto at = groups.starts_with(mark) ? 0 : groups.find("\n" + mark);
  if (at == groups.npos) return 0;
  const auto start = groups.find('/', at);
  std::string group = groups.substr(start, groups.find('\n', start) - start);
  int least = 0;
  for (;; group.erase(group.rfind('/'))) {
    const int cores = cores_of_quota(text_of("/sys/fs/cgroup" + group + "/cpu.max"));
    if (cores > 0 && (least == 0 || cores < least)) least = cores;
    if (group.empty()) return least;
  }
}

}  // namespace

int cores_of_quota(const std::string& cpu_max) {
  std::istringstream text(cpu_max);
  std::int64_t quota = 0, period = 0;
  if (!(text >> quota >> period) || quota <= 0 || period <= 0) return 0;
  const auto cores = quota / period + (quota % period != 0);
  return static_cast<int>(std::min<std::int64_t>(cores, std::numeric_limits<int>::max()));
}

int usable_cores() {
  const int bound = std::max(1, bound_cores());
  const int allowed = allowed_cores();
  return allowed > 0 ? std::min(bound, allowed) : bound;
}

}  // namespace wring
