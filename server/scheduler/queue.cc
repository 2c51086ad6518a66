// The queue's index.
#include "server/scheduler/queue.h"

#include <limits>
#include <tuple>

#include "common/error.h"

namespace wring {

void JobQueue::add(const JobRecord& job) {
  if (job.not_before > 0) {
    delayed_.emplace(job.not_before, job.id);
    return;
  }
  ready_[job.needs][job.project].emplace(place(job), job.id);
  ++ready_count_;
}

void JobQueue::remove(const JobRecord& job) {
  if (delayed_.erase({job.not_before, job.id}) > 0) return;
  const auto same_needs = ready_.find(job.needs);
  const auto line = same_needs->second.find(job.project);
  line->second.erase(place(job));
  --ready_count_;
  if (line->second.empty()) same_needs->second.erase(line);
  if (same_needs->second.empty()) ready_.erase(same_needs);
}

bool JobQueue::contains(const JobRecord& job) const {
  if (delayed_.contains({job.not_before, job.id})) return true;
  const auto same_needs = ready_.find(job.needs);
  if (same_needs == ready_.end()) return false;
  const auto line = same_needs->second.find(job.project);
  return line != same_needs->second.end() && line->second.contains(place(job));
}

void JobQueue::wake(TimeMs now, TimeMs max_backoff, const Jobs& jobs) {
  const auto wake_one = [&](auto it) {
    const JobRecord& job = jobs.at(it->second);
    ready_[job.needs][job.project].emplace(place(job), job.id);
    ++ready_count_;
    delayed_.erase(it);
  };
  while (!delayed_.empty() && delayed_.begin()->first <= now) wake_one(delayed_.begin());
  while (!delayed_.empty() && delayed_.rbegin()->first > now + max_backoff)
    wake_one(std::prev(delayed_.end()));
}

const std::string* JobQueue::next(const std::function<bool(const JobNeeds&)>& fits,
                                  const Shares& shares) const {
  using Turn = std::tuple<std::int64_t, std::uint32_t, std::uint64_t, std::uint64_t>;
  const std::string* first = nullptr;
  Turn turn;
  for (const auto& [needs, projects] : ready_) {
    if (!fits(needs)) continue;
    for (const auto& [project, line] : projects) {
      const auto& [place, id] = *line.begin();
      const auto it = shares.find({project, needs.device});
      const Share share = it == shares.end() ? Share{} : it->second;
      const Turn its{place.first, share.running, share.served, place.second};
      if (first && turn <= its) continue;
      first = &id;
      turn = its;
    }
  }
  return first;
}

}  // namespace wring
