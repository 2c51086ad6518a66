// The scheduler's transitions.
#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "server/scheduler/waiting.h"

namespace wring {
namespace {

// When the job fails unless something happens to it before; 0: never. One that is being cancelled is not
// failed any more.
TimeMs deadline(const JobRecord& job, const SchedulerState& state) {
  const bool paused = job.paused || state.paused_projects.contains(job.project);
  const TimeMs queued = job.phase == JobPhase::kQueued && !paused ? job.queued_until : 0;
  const TimeMs total =
      job.phase == JobPhase::kQueued || job.phase == JobPhase::kRunning ? job.total_until : 0;
  const TimeMs attempt = job.phase == JobPhase::kRunning ? job.attempt_until : 0;
  TimeMs first = 0;
  for (const TimeMs at : {queued, total, attempt})
    if (at > 0 && (first == 0 || at < first)) first = at;
  return first;
}

// "90 s", "0.5 s".
std::string in_seconds(TimeMs time) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", static_cast<double>(time) / 1000);
  return text;
}

// Collects what a step changes.
class Transition {
 public:
  Transition(TimeMs now, SchedulerState& state, Outcome& outcome)
      : now_(now), state_(state), outcome_(outcome) {}

  void operator()(const SubmitInput& input) {
    if (state_.jobs.contains(input.id))
      throw Error(ErrorCode::kInternal, "DUPLICATE_JOB", "a second job with id " + input.id);
    check_queue(input.project);
    JobRecord job;
    job.id = input.id;
    job.sequence = state_.next_sequence++;
    job.needs = input.needs;
    if (input.max_attempts > 0) job.max_attempts = input.max_attempts;
    job.priority = input.priority;
    job.project = input.project;
    job.create_time = now_;
    job.queued_timeout = input.queued_timeout;
    job.total_timeout = input.total_timeout;
    job.max_runtime = input.max_runtime;
    job.prefixes = input.prefixes;
    job.request_id = input.request_id;
    begin_run(job);
    enqueue(job);
    commit(state_.jobs.emplace(job.id, std::move(job)).first->second, "queued");
  }

  void operator()(const RegisterInput& input) {
    forget_workers();
    WorkerRecord worker = input.worker;
    worker.last_seen = now_;
    worker.jobs.clear();
    for (auto it = state_.held.lower_bound({worker.id, ""});
         it != state_.held.end() && it->first == worker.id; ++it)
      worker.jobs.insert(it->second);
    state_.workers.insert_or_assign(worker.id, std::move(worker));
  }

  void operator()(const LeaseInput& input) {
    WorkerRecord& worker = find_worker(input.worker);
    worker.last_seen = now_;
    if (input.free_devices == worker.devices) {
      const auto abandoned = worker.jobs;
      for (const auto& id : abandoned)
        lose(state_.jobs.at(id), "LEASE_ABANDONED", " came back without the job");
    }
    worker.polled = 0;
    if (worker.draining || state_.paused_workers.contains(worker.id)) return;
    worker.polled = now_;
    worker.free_devices = input.free_devices;
    state_.queue.wake(now_, state_.options.max_backoff_ms, state_.jobs);
    for (;;) {
      const auto* const next =
          state_.queue.next([&](const JobNeeds& needs) { return fits(needs, worker, input.free_devices); },
                            [&](const std::string& project) { return may_run(project); }, state_.shares);
      if (!next) return;
      JobRecord& job = state_.jobs.at(*next);
      const auto* const prefix = state_.prefixes.waits_for(job);
      if (!prefix && waits_for_holder(job, worker)) return;
      if (!prefix) return lease(job, worker);
      state_.queue.park(job, *prefix);
    }
  }

  void operator()(const RenewInput& input) {
    WorkerRecord& worker = find_worker(input.worker);
    worker.last_seen = now_;
    worker.draining = input.draining;
    for (const auto& [id, fence] : input.leases) {
      const auto it = state_.jobs.find(id);
      if (it == state_.jobs.end() || it->second.worker != input.worker || !holds(it->second, fence)) {
        outcome_.renewed.push_back(LeaseAction::kLost);
        continue;
      }
      extend(it->second);  // not stored: a restart renews all leases
      outcome_.renewed.push_back(it->second.phase == JobPhase::kCancelling ? LeaseAction::kCancel
                                                                           : LeaseAction::kContinue);
    }
  }

  void operator()(const StageInput& input) {
    JobRecord& job = leased_job(input.job, input.fence);
    extend(job);
    if (!job.reported.emplace(input.index, input.state).second) return;  // told again
    if (input.is_prefix) note_stage(job, input);
    if (input.state == "pending") return commit_silently(job);
    const bool done = input.state != "running";
    commit(job, done ? "stage_done" : "stage_started", input.payload);
  }

  void operator()(const FinishInput& input) {
    JobRecord& known = find_job(input.job);
    if (is_repeated(known, input)) return;
    JobRecord& job = leased_job(input.job, input.fence);
    job.told_outcome = input.outcome;
    if (input.outcome == "succeeded") {
      job.result = input.result;
      job.error.reset();
      end(job, JobPhase::kSucceeded, "succeeded", {{"result", input.result}});
    } else if (input.outcome == "cancelled" || job.phase == JobPhase::kCancelling) {
      end(job, JobPhase::kCancelled, "cancelled");
    } else if (input.outcome == "released") {
      --job.attempt;
      requeue(job, 0, {{"reason", "the worker drains"}});
    } else {
      fail_attempt(job, input.error.value_or(Json::object()));
    }
  }

  void operator()(const CancelInput& input) {
    JobRecord& job = find_job(input.job);
    if (job.phase == JobPhase::kCancelled || job.phase == JobPhase::kCancelling) return;
    if (is_terminal(job.phase))
      throw Error(ErrorCode::kFailedPrecondition, "JOB_ENDED",
                  "job " + job.id + " has ended already (" + std::string(to_string(job.phase)) + ")", "id");
    if (job.phase == JobPhase::kQueued) {
      dequeue(job);
      end(job, JobPhase::kCancelled, "cancelled");
    } else {
      unwatch(job);
      job.phase = JobPhase::kCancelling;
      commit(job, "cancelling");
    }
  }

  void operator()(const RetryInput& input) {
    JobRecord& job = find_job(input.job);
    if (job.phase == JobPhase::kSucceeded)
      throw Error(ErrorCode::kFailedPrecondition, "JOB_ENDED",
                  "job " + job.id + " has succeeded: there is nothing to retry", "id",
                  "Submit it anew to run it again.");
    if (!is_terminal(job.phase))
      throw Error(ErrorCode::kFailedPrecondition, "JOB_NOT_ENDED",
                  "only a failed or cancelled job can be retried; job " + job.id + " is " +
                      std::string(to_string(job.phase)),
                  "id", "Cancel it first.");
    check_queue(job.project);
    job.attempt_base = job.attempt;
    job.failures = 0;
    job.crash_signature.clear();
    job.error.reset();
    job.end_time = 0;
    begin_run(job);
    requeue(job, 0, {{"reason", "asked for"}});
  }

  // Where it runs its worker hears that the lease is lost, and stops the engine.
  void operator()(const PauseJobInput& input) {
    JobRecord& job = find_job(input.job);
    if (job.paused == input.paused) return;
    if (input.paused) {
      check_pausable(job);
      pause(job);
    } else {
      dequeue(job);
      job.paused = false;
      enqueue(job);
      commit(job, "resumed");
    }
  }

  void operator()(const PauseProjectInput& input) {
    if (state_.paused_projects.contains(input.project) == input.paused) return;
    std::vector<JobRecord*> timed;
    for (auto& [id, job] : state_.jobs)
      if (job.phase == JobPhase::kQueued && job.project == input.project && job.queued_timeout > 0)
        timed.push_back(&job);
    for (const auto* job : timed) unwatch(*job);
    note_pause(state_.paused_projects, {PauseRecord::Kind::kProject, input.project, input.paused});
    for (auto* job : timed) {
      if (!input.paused) {
        begin_wait(*job);
        commit_silently(*job);
      }
      watch(*job);
    }
  }

  void operator()(const PauseWorkerInput& input) {
    find_worker(input.worker);
    note_pause(state_.paused_workers, {PauseRecord::Kind::kWorker, input.worker, input.paused});
  }

  void operator()(const QuotaInput& input) {
    Quota& quota = state_.quotas[input.project];
    if (quota == input.quota) return;
    quota = input.quota;
    outcome_.quota.emplace(input.project, input.quota);
  }

  void operator()(const SharedInput& input) { release(state_.prefixes.share(input.prefix)); }

  void operator()(const TickInput&) {
    state_.queue.wake(now_, state_.options.max_backoff_ms, state_.jobs);
    release(state_.prefixes.tick(now_));
    for (int i = 0; i < kMostTimeouts && !state_.deadlines.empty() && state_.deadlines.begin()->first <= now_;
         ++i)
      time_out(state_.jobs.at(state_.deadlines.begin()->second));
    auto& expiries = state_.expiries;
    while (!expiries.empty() && expiries.rbegin()->first > now_ + state_.options.lease_ms)
      extend(state_.jobs.at(expiries.rbegin()->second));  // the clock was set back
    while (!expiries.empty() && expiries.begin()->first <= now_)
      lose(state_.jobs.at(expiries.begin()->second), "LEASE_EXPIRED", " went silent");
  }

 private:
  static constexpr int kMostTimeouts = 100;  // in one step; the next one goes on
  static constexpr TimeMs kLooks = 720;      // for workers to forget, while one is remembered

  // Those that will not come again: pods, batch jobs. One that does registers anew. All are looked at, so not
  // at each registration.
  void forget_workers() {
    const TimeMs every = state_.options.forget_worker_ms / kLooks;
    if (now_ < state_.forgets_next && state_.forgets_next <= now_ + every) return;  // else it was set back
    state_.forgets_next = now_ + every;
    std::erase_if(state_.workers, [&](const auto& entry) {
      const auto& [id, worker] = entry;
      const bool goes = worker.jobs.empty() && !state_.paused_workers.contains(id) &&
                        worker.last_seen + state_.options.forget_worker_ms <= now_;
      if (goes) outcome_.forgotten.push_back(id);
      return goes;
    });
  }

  void release(const Prefixes::Freed& freed) {
    for (const auto& prefix : freed) state_.queue.release(prefix, state_.jobs);
  }

  // Whether another worker that asks, too, has more of what the job begins with: its next poll gets the job,
  // or another one, so nobody waits for long.
  bool waits_for_holder(const JobRecord& job, const WorkerRecord& worker) const {
    for (const auto& id : state_.holders.ahead_of(worker.id, job)) {
      const auto it = state_.workers.find(id);
      if (it == state_.workers.end() || state_.paused_workers.contains(id) || it->second.draining) continue;
      const WorkerRecord& holder = it->second;
      if (holder.polled > 0 && now_ - holder.polled < state_.options.preferred_ms &&
          fits(job.needs, holder, holder.free_devices))
        return true;
    }
    return false;
  }

  // Steps of a recipe end in their order.
  void note_stage(JobRecord& job, const StageInput& input) {
    if (input.state != "done" && input.state != "cached") return;
    const std::size_t k = job.stages_made++;
    if (k >= job.prefixes.size()) return;
    if (input.reach == Reach::kNowhere) return release(state_.prefixes.skipped(job, k));
    state_.holders.note(job.prefixes[k], job.worker);
    if (input.state == "cached" || input.reach == Reach::kNever)
      return release(state_.prefixes.share(job.prefixes[k]));
    const double seconds = json_or<double>(input.payload, "seconds", 0);
    release(state_.prefixes.made(job, k, now_, static_cast<TimeMs>(std::clamp(seconds, 0.0, 1e6) * 1000)));
  }

  JobRecord& find_job(const std::string& id) {
    const auto it = state_.jobs.find(id);
    if (it == state_.jobs.end())
      throw Error(ErrorCode::kNotFound, "JOB_NOT_FOUND", "there is no job " + id.substr(0, 80), "id");
    return it->second;
  }

  WorkerRecord& find_worker(const std::string& id) {
    const auto it = state_.workers.find(id);
    if (it == state_.workers.end())
      throw Error(ErrorCode::kNotFound, "WORKER_NOT_FOUND",
                  "worker " + id.substr(0, 80) + " is not registered", "worker_id", "Register first.");
    return it->second;
  }

  // Whether another job of the project may be leased.
  bool may_run(const std::string& project) const {
    return !state_.paused_projects.contains(project) && !runs_all_it_may(project, state_);
  }

  void check_queue(const std::string& project) const {
    const auto quota = state_.quotas.find(project);
    if (quota == state_.quotas.end() || quota->second.queued == 0) return;
    const auto queued = state_.queue.by_project().find(project);
    if (queued == state_.queue.by_project().end() || queued->second < quota->second.queued) return;
    throw Error(ErrorCode::kResourceExhausted, "QUOTA_QUEUED",
                "project " + project + " has " + std::to_string(queued->second) +
                    " jobs queued, and may have " + std::to_string(quota->second.queued),
                "spec.project", "Wait for some to be leased, or cancel some.");
  }

  static bool holds(const JobRecord& job, const Fence& fence) {
    return (job.phase == JobPhase::kRunning || job.phase == JobPhase::kCancelling) && job.fence == fence;
  }

  JobRecord& leased_job(const std::string& id, const Fence& fence) {
    JobRecord& job = find_job(id);
    if (!holds(job, fence))
      throw Error(ErrorCode::kFailedPrecondition, "STALE_LEASE", "this lease of job " + job.id + " is over",
                  "fence", "Stop the engine and take another job.");
    return job;
  }

  // Whether the attempt's end was told before, in the same words: its answer was lost.
  static bool is_repeated(const JobRecord& job, const FinishInput& input) {
    return job.fence == input.fence && !holds(job, input.fence) && job.told_outcome == input.outcome &&
           (input.outcome != "succeeded" || job.result == input.result);
  }

  // Whose fault it was decides. Infrastructure is tried again, bounded; a disk that is full or ill is one
  // machine's. What needs more memory or disk than a worker has goes to another that may do. What nobody can
  // explain (an engine that crashed, an internal error) is tried again until it happens twice in the same
  // way. All else is the user's to mend: final.
  void fail_attempt(JobRecord& job, const Json& error) {
    const auto reason = json_or<std::string>(error, "reason", "");
    if (reason == "DISK_FULL" || reason == "IO_ERROR" || reason == "DATABASE")
      return fail_infrastructure(job, error);
    if (reason == "OUT_OF_MEMORY" || reason == "NOT_ENOUGH_MEMORY") return fail_memory(job, error);
    if ((reason == "NOT_ENOUGH_DISK" || reason == "CACHE_TOO_SMALL") && fits_another(job, job.needs))
      return fail_infrastructure(job, error);
    switch (error_code_from_string(json_or<std::string>(error, "code", "UNKNOWN"))) {
      case ErrorCode::kUnavailable:
      case ErrorCode::kAborted:
      case ErrorCode::kDataLoss:
        return fail_infrastructure(job, error);
      case ErrorCode::kInternal:
      case ErrorCode::kUnknown: {
        const std::string signature = reason + " signal " + std::to_string(json_or<int>(error, "signal", 0)) +
                                      " stage " + std::to_string(json_or<int>(error, "stage", -1));
        if (std::exchange(job.crash_signature, signature) == signature) return end_failed(job, error);
        return fail_infrastructure(job, error);
      }
      default:
        end_failed(job, error);
    }
  }

  // The worker no longer has the job.
  void lose(JobRecord& job, const char* reason, const char* what) {
    if (job.phase == JobPhase::kCancelling) return end(job, JobPhase::kCancelled, "cancelled");
    fail_infrastructure(job, Error(ErrorCode::kUnavailable, reason, "worker " + job.worker + what).to_json());
  }

  // A submit or RetryJob: the total timeout begins.
  void begin_run(JobRecord& job) const {
    job.needs.outgrown_bytes = 0;
    job.total_until = job.total_timeout > 0 ? now_ + job.total_timeout : 0;
  }

  void watch(const JobRecord& job) {
    if (const TimeMs at = deadline(job, state_); at > 0) state_.deadlines.emplace(at, job.id);
  }
  void unwatch(const JobRecord& job) { state_.deadlines.erase({deadline(job, state_), job.id}); }

  // The queued timeout begins when the job may be leased.
  void begin_wait(JobRecord& job) const {
    const TimeMs from = backs_off(job, now_, state_.options) ? job.not_before : now_;
    job.queued_until = job.queued_timeout > 0 ? from + job.queued_timeout : 0;
  }

  void enqueue(JobRecord& job) {
    job.phase = JobPhase::kQueued;
    begin_wait(job);
    state_.queue.add(job);
    watch(job);
  }

  void dequeue(const JobRecord& job) {
    unwatch(job);
    state_.queue.remove(job);
  }

  static void check_pausable(const JobRecord& job) {
    if (is_terminal(job.phase))
      throw Error(ErrorCode::kFailedPrecondition, "JOB_ENDED",
                  "job " + job.id + " has ended already (" + std::string(to_string(job.phase)) + ")", "id");
    if (job.phase == JobPhase::kCancelling)
      throw Error(ErrorCode::kFailedPrecondition, "JOB_CANCELLING",
                  "job " + job.id + " was cancelled, and its worker stops it", "id");
  }

  void pause(JobRecord& job) {
    const bool running = job.phase == JobPhase::kRunning;
    if (running) {
      unwatch(job);
      let_go(job);
      --job.attempt;
      job.not_before = now_;
    } else {
      dequeue(job);
    }
    job.paused = true;
    enqueue(job);
    commit(job, "paused", running ? Json{{"worker", job.worker}} : Json::object());
  }

  void note_pause(std::set<std::string>& paused, PauseRecord pause) {
    const bool changes = pause.paused ? paused.insert(pause.name).second : paused.erase(pause.name) > 0;
    if (changes) outcome_.pause = std::move(pause);
  }

  void time_out(JobRecord& job) {
    const bool queued = job.phase == JobPhase::kQueued;
    const bool total = job.total_until > 0 && job.total_until <= now_;
    const char *reason = "QUEUED_TIMEOUT", *field = "queued_timeout_seconds";
    std::string message =
        "no worker took the job within " + in_seconds(job.queued_timeout) + ", its queued timeout";
    if (total) {
      reason = "TOTAL_TIMEOUT", field = "total_timeout_seconds";
      message = "the job has not ended within " + in_seconds(job.total_timeout) + ", its total timeout";
    } else if (!queued) {
      reason = "MAX_RUNTIME", field = "max_runtime_seconds";
      message = "the attempt has not ended within " + in_seconds(job.max_runtime) + ", its limit";
    }
    if (queued) message += "; " + waiting_reason(job, now_, state_);
    if (queued) dequeue(job);
    end_failed(job, Error(ErrorCode::kDeadlineExceeded, reason, message, field,
                          "Finished stages are kept: retry it, or submit it with a longer timeout.")
                        .to_json());
  }

  void lease(JobRecord& job, WorkerRecord& worker) {
    dequeue(job);
    job.phase = JobPhase::kRunning;
    ++job.attempt;
    job.worker = worker.id;
    job.fence = {state_.epoch, state_.next_fence++};
    extend(job);
    job.start_time = now_;
    job.told_outcome.clear();
    job.reported.clear();
    job.stages_made = 0;
    state_.prefixes.begin(job);
    // Its worker, which ends it in time, has as long as a lease to say so.
    job.attempt_until = job.max_runtime > 0 ? now_ + job.max_runtime + state_.options.lease_ms : 0;
    state_.held.emplace(worker.id, job.id);
    worker.jobs.insert(job.id);
    worker.had_job = true;
    worker.polled = 0;
    Share& share = state_.shares[share_key(job)];
    ++share.running;
    share.served = job.fence.n;
    forget_old_turns(state_.shares, job.fence.n);
    watch(job);
    commit(job, "leased", {{"worker", worker.id}});
    outcome_.leased = job;
  }

  // The job's lease, from now on.
  void extend(JobRecord& job) {
    state_.expiries.erase({job.lease_until, job.id});
    job.lease_until = now_ + state_.options.lease_ms;
    state_.expiries.emplace(job.lease_until, job.id);
  }

  void let_go(const JobRecord& job) {
    release(state_.prefixes.end(job, job.phase == JobPhase::kSucceeded));
    if (state_.held.erase({job.worker, job.id}) > 0) --state_.shares.at(share_key(job)).running;
    state_.expiries.erase({job.lease_until, job.id});
    if (const auto it = state_.workers.find(job.worker); it != state_.workers.end())
      it->second.jobs.erase(job.id);
  }

  void fail_infrastructure(JobRecord& job, const Json& error) {
    if (job.attempt - job.attempt_base >= job.max_attempts) return end_failed(job, error);
    job.error = error;
    const auto doubled = state_.options.backoff_ms << std::min(job.failures, 16u);
    ++job.failures;
    requeue(job, spread(std::min(doubled, state_.options.max_backoff_ms), job),
            {{"reason", "attempt failed"}, {"error", error}});
  }

  // Between half the pause and all of it, so that jobs which failed together do not come back together. The
  // same whenever it is replayed.
  static TimeMs spread(TimeMs pause, const JobRecord& job) {
    const auto drawn = std::hash<std::string>{}(job.id + "/" + std::to_string(job.failures));
    return pause - static_cast<TimeMs>(drawn % (static_cast<std::uint64_t>(pause) / 2 + 1));
  }

  bool fits_another(const JobRecord& job, const JobNeeds& needs) const {
    return std::any_of(state_.workers.begin(), state_.workers.end(), [&](const auto& entry) {
      const auto& [id, worker] = entry;
      return id != job.worker && is_present(worker, now_, state_.options) &&
             fits(needs, worker, worker.devices);
    });
  }

  // A limit of the job's own would be as small on another worker.
  void fail_memory(JobRecord& job, const Json& error) {
    const auto worker = state_.workers.find(job.worker);
    if (job.needs.memory_bytes > 0 || worker == state_.workers.end()) return end_failed(job, error);
    JobNeeds needs = job.needs;
    needs.outgrown_bytes = std::max(needs.outgrown_bytes, worker->second.memory_bytes);
    if (!fits_another(job, needs)) return end_failed(job, error);
    job.needs = needs;
    fail_infrastructure(job, error);
  }

  void end_failed(JobRecord& job, const Json& error) {
    job.error = error;
    end(job, JobPhase::kFailed, "failed", {{"error", error}});
  }

  void requeue(JobRecord& job, TimeMs delay, Json payload) {
    unwatch(job);
    let_go(job);
    job.not_before = now_ + delay;
    enqueue(job);
    commit(job, "released", std::move(payload));
  }

  void end(JobRecord& job, JobPhase phase, const char* type, Json payload = Json::object()) {
    unwatch(job);
    job.phase = phase;
    job.paused = false;
    job.end_time = now_;
    let_go(job);
    commit(job, type, std::move(payload));
  }

  // A change that is no event.
  void commit_silently(JobRecord& job) {
    ++job.version;
    outcome_.changed.push_back(job);
  }

  void commit(JobRecord& job, const char* type, Json payload = Json::object()) {
    ++job.version;
    ++job.last_event;
    outcome_.events.push_back(
        {job.id, job.last_event, now_, type, job.phase, job.attempt, std::move(payload)});
    outcome_.changed.push_back(job);
  }

  TimeMs now_;
  SchedulerState& state_;
  Outcome& outcome_;
};

}  // namespace

bool backs_off(const JobRecord& job, TimeMs now, const SchedulerOptions& options) {
  return job.not_before > now && job.not_before <= now + options.max_backoff_ms;
}

bool fits(const JobNeeds& needs, const WorkerRecord& worker,
          const std::map<std::string, std::uint32_t>& free) {
  const auto device = free.find(needs.device);
  if (device == free.end() || device->second < std::max(1u, needs.device_count)) return false;
  if (needs.memory_bytes > worker.memory_bytes) return false;
  if (needs.outgrown_bytes > 0 && needs.outgrown_bytes >= worker.memory_bytes) return false;
  if (!needs.worker_class.empty() && !worker.classes.contains(needs.worker_class)) return false;
  return std::all_of(needs.methods.begin(), needs.methods.end(),
                     [&](const auto& m) { return worker.methods.contains(m); });
}

bool is_present(const WorkerRecord& worker, TimeMs now, const SchedulerOptions& options) {
  return !worker.draining && worker.last_seen + options.worker_gone_ms > now;
}

bool takes_jobs(const WorkerRecord& worker, TimeMs now, const SchedulerState& state) {
  return is_present(worker, now, state.options) && !state.paused_workers.contains(worker.id);
}

std::uint64_t running_jobs(const std::string& project, const SchedulerState& state) {
  std::uint64_t running = 0;
  for (auto it = state.shares.lower_bound({project, ""});
       it != state.shares.end() && it->first.first == project; ++it)
    running += it->second.running;
  return running;
}

bool runs_all_it_may(const std::string& project, const SchedulerState& state) {
  const auto quota = state.quotas.find(project);
  return quota != state.quotas.end() && quota->second.running > 0 &&
         running_jobs(project, state) >= quota->second.running;
}

bool is_terminal(JobPhase phase) {
  return phase == JobPhase::kSucceeded || phase == JobPhase::kFailed || phase == JobPhase::kCancelled;
}

std::string_view to_string(JobPhase phase) {
  switch (phase) {
    case JobPhase::kQueued:
      return "queued";
    case JobPhase::kRunning:
      return "running";
    case JobPhase::kCancelling:
      return "cancelling";
    case JobPhase::kSucceeded:
      return "succeeded";
    case JobPhase::kFailed:
      return "failed";
    case JobPhase::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

Outcome step(const SchedulerInput& input, TimeMs now, SchedulerState& state) {
  Outcome outcome;
  std::visit(Transition(now, state, outcome), input);
  return outcome;
}

void restore(JobRecord job, SchedulerState& state) {
  state.next_sequence = std::max(state.next_sequence, job.sequence + 1);
  state.next_fence = std::max(state.next_fence, job.fence.n + 1);
  if (job.phase == JobPhase::kQueued) state.queue.add(job);
  if (const TimeMs at = deadline(job, state); at > 0) state.deadlines.emplace(at, job.id);
  if (job.phase == JobPhase::kRunning || job.phase == JobPhase::kCancelling) {
    state.held.emplace(job.worker, job.id);
    state.expiries.emplace(job.lease_until, job.id);
    state.prefixes.begin(job);
    ++state.shares[share_key(job)].running;
    if (const auto it = state.workers.find(job.worker); it != state.workers.end())
      it->second.jobs.insert(job.id);
  }
  state.jobs.insert_or_assign(job.id, std::move(job));
}

}  // namespace wring
