// A bounded map.
#include "server/http/recent_answers.h"

#include <utility>

namespace wring {

std::optional<RecentAnswers::Answer> RecentAnswers::find(const std::string& question, std::uint64_t version,
                                                         TimeMs now) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(question);
  if (it == entries_.end()) return std::nullopt;
  const Entry& entry = it->second;
  if (entry.version != version || now < entry.time || now - entry.time >= kGoodForMs) return std::nullopt;
  return entry.answer;
}

void RecentAnswers::put(const std::string& question, std::uint64_t version, TimeMs now, Answer answer) {
  if (answer.whole && answer.whole->body.size() > kMostBytes) answer.whole = nullptr;
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kMost && !entries_.contains(question)) entries_.clear();
  entries_[question] = {version, now, std::move(answer)};
}

}  // namespace wring
