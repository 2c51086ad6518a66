// The queue's index.
#include "server/scheduler/queue.h"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace wring {

void forget_old_turns(Shares& shares, std::uint64_t n) {
  for (auto it = shares.begin(); it != shares.end();) {
    auto& share = it->second;
    if (share.served + kTurnsRemembered <= n) share.served = 0;
    it = share.served == 0 && share.running == 0 ? shares.erase(it) : std::next(it);
  }
}

void JobQueue::add(const JobRecord& job) {
  ++by_project_[job.project];
  if (job.paused)
    paused_.insert(job.id);
  else if (job.not_before > 0)
    delayed_.emplace(job.not_before, job.id);
  else
    make_ready(job);
  since_[share_key(job)].insert(job.create_time);
}

void JobQueue::remove(const JobRecord& job) {
  const auto count = by_project_.find(job.project);
  if (--count->second == 0) by_project_.erase(count);
  const auto since = since_.find(share_key(job));
  since->second.erase(since->second.find(job.create_time));
  if (since->second.empty()) since_.erase(since);
  if (paused_.erase(job.id) > 0 || delayed_.erase({job.not_before, job.id}) > 0) return;
  if (const auto it = parked_.find(job.id); it != parked_.end()) {
    const auto waiting = waiting_for_.find(it->second);
    waiting->second.erase(job.id);
    if (waiting->second.empty()) waiting_for_.erase(waiting);
    parked_.erase(it);
    return;
  }
  leave_ready(job);
}

void JobQueue::park(const JobRecord& job, const std::string& prefix) {
  leave_ready(job);
  parked_.emplace(job.id, prefix);
  waiting_for_[prefix].insert(job.id);
}

void JobQueue::release(const std::string& prefix, const Jobs& jobs) {
  const auto waiting = waiting_for_.find(prefix);
  if (waiting == waiting_for_.end()) return;
  for (const auto& id : waiting->second) {
    parked_.erase(id);
    make_ready(jobs.at(id));
  }
  waiting_for_.erase(waiting);
}

void JobQueue::leave_ready(const JobRecord& job) {
  const auto same_needs = ready_.find(job.needs);
  const auto line = same_needs->second.find(job.project);
  line->second.erase(place(job));
  if (line->second.empty()) same_needs->second.erase(line);
  if (same_needs->second.empty()) ready_.erase(same_needs);
}

bool JobQueue::contains(const JobRecord& job) const {
  if (job.paused) return paused_.contains(job.id);
  if (delayed_.contains({job.not_before, job.id}) || parked_.contains(job.id)) return true;
  const auto same_needs = ready_.find(job.needs);
  if (same_needs == ready_.end()) return false;
  const auto line = same_needs->second.find(job.project);
  return line != same_needs->second.end() && line->second.contains(place(job));
}

std::size_t JobQueue::size() const {
  std::size_t jobs = 0;
  for (const auto& [project, count] : by_project_) jobs += count;
  return jobs;
}

void JobQueue::wake(TimeMs now, TimeMs max_backoff, const Jobs& jobs) {
  const auto wake_one = [&](auto it) {
    make_ready(jobs.at(it->second));
    delayed_.erase(it);
  };
  while (!delayed_.empty() && delayed_.begin()->first <= now) wake_one(delayed_.begin());
  while (!delayed_.empty() && delayed_.rbegin()->first > now + max_backoff)
    wake_one(std::prev(delayed_.end()));
}

const std::string* JobQueue::next(const std::function<bool(const JobNeeds&)>& fits,
                                  const std::function<bool(const std::string&)>& may_run,
                                  const Shares& shares) const {
  using Turn = std::tuple<std::int64_t, std::uint32_t, std::uint64_t, std::uint64_t>;
  const std::string* first = nullptr;
  Turn turn;
  for (const auto& [needs, projects] : ready_) {
    if (!fits(needs)) continue;
    for (const auto& [project, line] : projects) {
      if (!may_run(project)) continue;
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

// How many of the line go before `place`, at most `most`: counted from whichever end is nearer, since jobs
// are looked at when they are about to run or have just come.
std::size_t JobQueue::before(const Line& line, Place place, std::size_t most) {
  auto front = line.begin(), back = line.end();
  for (std::size_t steps = 0; steps < most; ++steps) {
    if (front == line.end() || front->first >= place) return steps;
    ++front;
    if (std::prev(back)->first < place) return std::min(most, line.size() - steps);
    --back;
  }
  return most;
}

std::size_t JobQueue::ahead_of(const JobRecord& job, std::size_t most) const {
  const auto same_needs = ready_.find(job.needs);
  if (same_needs == ready_.end()) return 0;
  const auto line = same_needs->second.find(job.project);
  if (line == same_needs->second.end() || !line->second.contains(place(job))) return 0;
  std::size_t ahead = 0;
  for (const auto& [needs, projects] : ready_) {
    const auto other = projects.find(job.project);
    if (needs.device != job.needs.device || other == projects.end()) continue;
    ahead += before(other->second, place(job), most - ahead);
  }
  return ahead;
}

void JobQueue::for_each_ready(
    const std::function<void(const JobNeeds&, const std::string&, std::size_t)>& visit) const {
  for (const auto& [needs, projects] : ready_)
    for (const auto& [project, line] : projects) visit(needs, project, line.size());
}

}  // namespace wring
