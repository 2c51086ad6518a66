// How much of a machine's processor this process may use.
#include "common/cores.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
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
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const int allowed = cores_of_quota(text);
  return allowed > 0 ? std::min(bound, allowed) : bound;
}

}  // namespace wring
