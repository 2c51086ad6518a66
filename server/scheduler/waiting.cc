// What stands between a job and its next lease, the first reason first.
#include "server/scheduler/waiting.h"

#include <algorithm>
#include <vector>

namespace wring {

namespace {

const std::string kNoneConnected = "no connected worker";

// What the workers that take jobs lack of what a job needs; none of them fits it.
std::string lack(const JobNeeds& needs, const std::vector<const WorkerRecord*>& workers) {
  const auto none = [&](auto has) { return std::none_of(workers.begin(), workers.end(), has); };
  if (!needs.worker_class.empty() &&
      none([&](const auto* w) { return w->classes.contains(needs.worker_class); }))
    return kNoneConnected + " is of class " + needs.worker_class;
  for (const auto& method : needs.methods)
    if (none([&](const auto* w) { return w->methods.contains(method); }))
      return kNoneConnected + " has method " + method;
  if (none([&](const auto* w) { return w->devices.contains(needs.device); }))
    return kNoneConnected + " has a device of kind " + needs.device;
  if (none([&](const auto* w) { return w->memory_bytes >= needs.memory_bytes; }))
    return kNoneConnected + " has enough memory";
  if (needs.outgrown_bytes > 0 && none([&](const auto* w) { return w->memory_bytes > needs.outgrown_bytes; }))
    return kNoneConnected + " has more memory than those that were too small for it";
  return kNoneConnected + " has all that the job needs";
}

}  // namespace

std::string waiting_reason(const JobRecord& job, TimeMs now, const SchedulerState& state) {
  if (job.phase != JobPhase::kQueued) return "";
  if (const auto newer = state.jobs.find(job.id);
      newer != state.jobs.end() && newer->second.phase != JobPhase::kQueued)
    return "a worker takes it";
  if (job.paused) return "paused: the job (wring resume job " + job.id + ")";
  if (state.paused_projects.contains(job.project))
    return "paused: its project (wring resume project " + job.project + ")";
  if (runs_all_it_may(job.project, state))
    return "quota: its project runs " + std::to_string(running_jobs(job.project, state)) +
           " jobs, as many as it may";
  if (const auto* const prefix = state.prefixes.waits_for(job))
    return "job " + state.prefixes.makers().at(*prefix) + " makes its first stages";
  if (backs_off(job, now, state.options))
    return "waits " + std::to_string((job.not_before - now + 999) / 1000) + " s before it is tried again";
  std::vector<const WorkerRecord*> takers;
  bool fitting = false, idle = false, paused = false, drains = false;
  for (const auto& [id, worker] : state.workers) {
    drains |= worker.draining && !worker.jobs.empty();
    const bool fits_it = fits(job.needs, worker, worker.devices);
    if (!takes_jobs(worker, now, state)) {
      paused |= fits_it && is_present(worker, now, state.options);
      continue;
    }
    takers.push_back(&worker);
    fitting |= fits_it;
    idle |= fits_it && worker.jobs.empty();
  }
  if (fitting)
    return idle ? "a worker that fits is idle and will ask for it" : "all workers that fit are busy";
  if (paused) return "paused: all connected workers that fit (wring resume worker NAME)";
  if (takers.empty()) return drains ? "all connected workers drain: they take no more jobs" : kNoWorker;
  return lack(job.needs, takers);
}

bool lacks_worker_of(const WorkerRecord& like, const JobNeeds& needs, const std::string& reason) {
  return reason == kNoWorker || (reason.starts_with(kNoneConnected) && fits(needs, like, like.devices));
}

}  // namespace wring
