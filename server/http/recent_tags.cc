// A bounded map.
#include "server/http/recent_tags.h"

#include <utility>

namespace wring {

std::optional<std::string> RecentTags::find(const std::string& question, std::uint64_t version,
                                            TimeMs now) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(question);
  if (it == entries_.end()) return std::nullopt;
  const Entry& entry = it->second;
  if (entry.version != version || now < entry.time || now - entry.time >= kGoodForMs) return std::nullopt;
  return entry.tag;
}

void RecentTags::put(const std::string& question, std::uint64_t version, TimeMs now, std::string tag) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kMost && !entries_.contains(question)) entries_.clear();
  entries_[question] = {version, now, std::move(tag)};
}

}  // namespace wring
