// The queued jobs, so kept that a lease looks at the first job of each kind and not at all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "server/scheduler/records.h"

namespace wring {

// A project that was last served so many leases ago counts as one that never was, and is forgotten.
inline constexpr std::uint64_t kTurnsRemembered = 1000;

// What a project has had of the workers' devices of one kind.
struct Share {
  std::uint32_t running = 0;  // its jobs there now
  std::uint64_t served = 0;   // n of the newest lease there; 0: none yet
};
using ShareKey = std::pair<std::string, std::string>;  // project, kind of device
using Shares = std::map<ShareKey, Share>;
inline ShareKey share_key(const JobRecord& job) {
  return {job.project, job.needs.device};
}
// At lease `n`.
void forget_old_turns(Shares& shares, std::uint64_t n);

// Of those that may be leased the next one is that of the highest priority; among equals that of the project
// with the fewest jobs on this kind of device; among equals of the project that was served longest ago; of
// its jobs the one submitted first.
//
// One thread. A job must not change, but for its version and events, between add() and remove().
class JobQueue {
 public:
  using Jobs = std::map<std::string, JobRecord>;

  void add(const JobRecord& job);     // REQUIRES: it is not in
  void remove(const JobRecord& job);  // REQUIRES: it is in
  bool contains(const JobRecord& job) const;
  // A ready job that is not to be leased until release(prefix). REQUIRES: next() gave it.
  void park(const JobRecord& job, const std::string& prefix);
  void release(const std::string& prefix, const Jobs& jobs);
  std::size_t size() const;
  // How many each project has; none where it has none.
  const std::map<std::string, std::size_t>& by_project() const { return by_project_; }

  // When those that wait were submitted.
  const std::map<ShareKey, std::multiset<TimeMs>>& since() const { return since_; }

  // Lets jobs be leased whose backoff is over. A backoff longer than any that is given means that the clock
  // was set back since: it is over.
  void wake(TimeMs now, TimeMs max_backoff, const Jobs& jobs);

  // The id of the next job of those that were woken, are not paused and are of a project that `may_run`, or
  // nullptr. Looks at one job of each (needs, project); asks `fits` once for equal needs.
  const std::string* next(const std::function<bool(const JobNeeds&)>& fits,
                          const std::function<bool(const std::string&)>& may_run, const Shares& shares) const;

  // How many jobs of its project for the same kind of device go before a ready one, at most `most`; of
  // another 0.
  std::size_t ahead_of(const JobRecord& job, std::size_t most) const;

  // How many jobs of each (needs, project) wake() has let be leased and are not parked.
  void for_each_ready(
      const std::function<void(const JobNeeds&, const std::string& project, std::size_t jobs)>& visit) const;

 private:
  // Falling priority, then submission.
  using Place = std::pair<std::int64_t, std::uint64_t>;
  static Place place(const JobRecord& job) { return {-std::int64_t{job.priority}, job.sequence}; }
  using Line = std::map<Place, std::string>;  // ids of jobs
  static std::size_t before(const Line& line, Place place, std::size_t most);

  void leave_ready(const JobRecord& job);
  void make_ready(const JobRecord& job) { ready_[job.needs][job.project].emplace(place(job), job.id); }

  std::map<JobNeeds, std::map<std::string, Line>> ready_;  // by project
  std::set<std::pair<TimeMs, std::string>> delayed_;       // by the end of their backoff
  std::set<std::string> paused_;
  std::map<std::string, std::string> parked_;                 // job -> prefix it waits for
  std::map<std::string, std::set<std::string>> waiting_for_;  // and by prefix
  std::map<std::string, std::size_t> by_project_;
  std::map<ShareKey, std::multiset<TimeMs>> since_;
};

}  // namespace wring
