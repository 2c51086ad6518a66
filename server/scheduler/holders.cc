// A few names of workers for each prefix.
#include "server/scheduler/holders.h"

#include <algorithm>

namespace wring {

void Holders::note(const std::string& prefix, const std::string& worker) {
  if (by_prefix_.size() >= kRemembered) by_prefix_.clear();
  auto& workers = by_prefix_[prefix];
  std::erase(workers, worker);
  workers.push_front(worker);
  if (workers.size() > kWorkersEach) workers.pop_back();
}

std::deque<std::string> Holders::ahead_of(const std::string& worker, const JobRecord& job) const {
  for (auto prefix = job.prefixes.rbegin(); prefix != job.prefixes.rend(); ++prefix) {
    const auto it = by_prefix_.find(*prefix);
    if (it == by_prefix_.end()) continue;
    const bool holds = std::find(it->second.begin(), it->second.end(), worker) != it->second.end();
    return holds ? std::deque<std::string>{} : it->second;
  }
  return {};
}

}  // namespace wring
