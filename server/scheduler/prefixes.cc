// Makers and who waits for them.
#include "server/scheduler/prefixes.h"

#include <algorithm>

namespace wring {

const std::string* Prefixes::waits_for(const JobRecord& job) const {
  for (const auto& prefix : job.prefixes)
    if (const auto it = makers_.find(prefix); it != makers_.end() && it->second != job.id) return &it->first;
  return nullptr;
}

void Prefixes::begin(const JobRecord& job) {
  for (std::size_t k = job.stages_made; k < job.prefixes.size(); ++k) {
    const auto& prefix = job.prefixes[k];
    if (at_hand_.contains(prefix)) continue;
    if (makers_.try_emplace(prefix, job.id).first->second == job.id) until_.erase(prefix);  // it is made anew
  }
}

Prefixes::Freed Prefixes::made(const JobRecord& job, std::size_t k, TimeMs now, TimeMs took) {
  if (k >= job.prefixes.size()) return {};
  const auto& prefix = job.prefixes[k];
  at_hand_.erase(prefix);
  const auto maker = makers_.try_emplace(prefix, job.id).first;
  if (maker->second != job.id) return {};
  if (took <= kNothing) return share(prefix);
  until_[prefix] = now + std::clamp(took, kLeastWait, kMostWait);
  return {};
}

Prefixes::Freed Prefixes::share(const std::string& prefix) {
  remember(prefix);
  until_.erase(prefix);
  silent_.erase(prefix);
  return makers_.erase(prefix) > 0 ? Freed{prefix} : Freed{};
}

Prefixes::Freed Prefixes::end(const JobRecord& job, bool succeeded) {
  Freed freed;
  for (const auto& prefix : job.prefixes) {
    const auto it = makers_.find(prefix);
    if (it == makers_.end() || it->second != job.id || until_.contains(prefix)) continue;
    if (succeeded) remember(prefix);  // it was there without a word about it
    makers_.erase(it);
    freed.push_back(prefix);
  }
  return freed;
}

Prefixes::Freed Prefixes::skipped(const JobRecord& job, std::size_t k) {
  const auto it = makers_.find(job.prefixes.at(k));
  if (it == makers_.end() || it->second != job.id || until_.contains(it->first)) return {};
  const Freed freed{it->first};
  makers_.erase(it);
  return freed;
}

// Its maker's worker is slow, or gone: the first one of those that are freed makes it again, and the others
// wait for that one. Once more would be a queue of makers.
Prefixes::Freed Prefixes::tick(TimeMs now) {
  Freed over;
  for (auto& [prefix, until] : until_) {
    until = std::min(until, now + kMostWait);  // the clock was set back
    if (until <= now) over.push_back(prefix);
  }
  for (const auto& prefix : over) {
    if (silent_.size() >= kRemembered) silent_.clear();
    if (!silent_.insert(prefix).second) {
      share(prefix);
      silent_.insert(prefix);  // and remembered: its next silence ends in this way, too
    }
    until_.erase(prefix);
    makers_.erase(prefix);
  }
  return over;
}

void Prefixes::remember(const std::string& prefix) {
  if (at_hand_.size() >= kRemembered) at_hand_.clear();
  at_hand_.insert(prefix);
}

}  // namespace wring
