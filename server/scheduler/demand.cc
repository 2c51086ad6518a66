// Counting ready jobs against free workers.
#include "server/scheduler/demand.h"

#include <algorithm>
#include <map>
#include <vector>

namespace wring {
namespace {

std::vector<const WorkerRecord*> free_workers(const std::set<std::string>& pool, TimeMs now,
                                              const SchedulerState& state) {
  std::vector<const WorkerRecord*> free;
  for (const auto& [id, worker] : state.workers)
    if (!pool.contains(id) && worker.jobs.empty() && takes_jobs(worker, now, state)) free.push_back(&worker);
  return free;
}

// How many jobs more the project may have running.
std::size_t room_of(const std::string& project, const SchedulerState& state) {
  if (state.paused_projects.contains(project)) return 0;
  const auto quota = state.quotas.find(project);
  if (quota == state.quotas.end() || quota->second.running == 0) return SIZE_MAX;
  return quota->second.running - std::min(quota->second.running, running_jobs(project, state));
}

}  // namespace

std::size_t unserved_jobs(const WorkerRecord& like, const std::set<std::string>& pool, TimeMs now,
                          const SchedulerState& state) {
  auto free = free_workers(pool, now, state);
  std::map<std::string, std::size_t> room;
  std::size_t unserved = 0;
  state.queue.for_each_ready([&](const JobNeeds& needs, const std::string& project, std::size_t jobs) {
    if (!fits(needs, like, like.devices)) return;
    auto& left = room.try_emplace(project, room_of(project, state)).first->second;
    jobs = std::min(jobs, left);
    left -= jobs;
    for (auto it = free.begin(); jobs > 0 && it != free.end();) {
      const bool takes_one = fits(needs, **it, (*it)->devices);
      jobs -= takes_one;
      it = takes_one ? free.erase(it) : std::next(it);
    }
    unserved += jobs;
  });
  return unserved;
}

}  // namespace wring
