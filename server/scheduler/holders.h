// Which workers have what others may need: the outputs of shared first steps in their caches.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>

#include "server/scheduler/records.h"

namespace wring {

// What the scheduler has heard of, no more: a restart forgets it, and a cache may have let go of it. One
// thread.
class Holders {
 public:
  // The worker has what the prefix names.
  void note(const std::string& prefix, const std::string& worker);

  // Of the workers that hold most of the job's prefixes, the newest first; none where `worker` is one of
  // them, or nobody holds any.
  std::deque<std::string> ahead_of(const std::string& worker, const JobRecord& job) const;

 private:
  static constexpr std::size_t kRemembered = 100'000, kWorkersEach = 8;

  std::map<std::string, std::deque<std::string>> by_prefix_;
};

}  // namespace wring
