// Books on jobs, and what a step may do to them.
#include "tests/sim/invariants.h"

#include <algorithm>
#include <utility>

#include "tests/sim/world.h"

namespace wring::sim {
namespace {

std::string text(const Fence& fence) {
  return std::to_string(fence.epoch) + "." + std::to_string(fence.n);
}

std::string reason_of(const std::optional<Json>& error) {
  return error ? json_or<std::string>(*error, "reason", "") : "";
}

bool is_timeout(const JobRecord& job) {
  const auto reason = reason_of(job.error);
  return job.phase == JobPhase::kFailed &&
         (reason == "QUEUED_TIMEOUT" || reason == "TOTAL_TIMEOUT" || reason == "MAX_RUNTIME");
}

std::string text(JobPhase phase) {
  return std::string(to_string(phase));
}

}  // namespace

TimeMs Invariants::world_now() const {
  return world_.now;
}

void Invariants::demand(bool holds, const char* invariant, const std::string& job,
                        const std::string& what) const {
  if (!holds) throw Violation{invariant, job, what};
}

const Invariants::Known* Invariants::find(const std::string& job) const {
  const auto it = jobs_.find(job);
  return it == jobs_.end() ? nullptr : &it->second;
}

std::uint64_t Invariants::version(const std::string& job) const {
  const Known* const known = find(job);
  return known ? known->record.version : 0;
}

TimeMs Invariants::elapsed_at_most(const Moment& since) const {
  return world_.now - since.at + forward_ - since.forward;
}

void Invariants::on_clock_jump(TimeMs by) {
  if (by > 0) forward_ += by;
  if (by < 0) ++jumps_back_;
}

void Invariants::on_submit(const std::string& job, const SubmitCall& call) {
  request_of_[job] = call.request_id;
  plan_of_[job] = call.plan;
}

void Invariants::on_step(const SchedulerInput& input, const std::string& etag, const LedgerEntry& entry,
                         const SchedulerState& state) {
  check_etag(input, etag);
  std::visit([&](const auto& told) { check(told, entry.outcome, state); }, input);
  const bool writes = !entry.outcome.changed.empty() || entry.outcome.pause || entry.outcome.quota ||
                      std::holds_alternative<RegisterInput>(input);
  demand((entry.write == Write::kOutcome) == writes, "changes-are-written", "",
         "a change that is not stored");
  if (++steps_ % (world_.plan.workers > 100 ? 200'000 : 256) == 0) sweep(state);
}

void Invariants::check_etag(const SchedulerInput& input, const std::string& etag) const {
  if (etag.empty()) return;
  const auto* cancel = std::get_if<CancelInput>(&input);
  const auto* retry = std::get_if<RetryInput>(&input);
  const std::string& job = cancel ? cancel->job : retry->job;
  demand(std::to_string(version(job)) == etag, "etag-compared", job, "taken with etag " + etag);
}

void Invariants::on_refusal(const SchedulerInput& input, const std::string& etag, const Error& error) {
  if (error.reason() == "QUOTA_QUEUED") {
    const auto* submit = std::get_if<SubmitInput>(&input);
    const std::string project =
        submit ? submit->project : jobs_.at(std::get<RetryInput>(input).job).record.project;
    const auto most = quota_of(project).queued;
    demand(most > 0 && queued_of(project) >= most, "quotas-kept", "",
           project + " is refused below its quota");
  }
  const auto holds = [&](const std::string& job, const Fence& fence) {
    const Known* const known = find(job);
    return known && is_held(known->record.phase) && known->record.fence == fence;
  };
  if (const auto* stage = std::get_if<StageInput>(&input))
    demand(!holds(stage->job, stage->fence), "holder-heard", stage->job,
           "its holder is refused: " + error.reason());
  if (const auto* finish = std::get_if<FinishInput>(&input)) {
    demand(!holds(finish->job, finish->fence), "holder-heard", finish->job,
           "its holder is refused: " + error.reason());
    const Known* const known = find(finish->job);
    demand(!known || may_be_gone(finish->job) || known->told != std::pair{finish->fence, finish->outcome},
           "told-twice-stored-once", finish->job, "the same end, told again, is refused: " + error.reason());
  }
  if (const auto* pause = std::get_if<PauseJobInput>(&input)) {
    const Known* const known = find(pause->job);
    demand(may_be_gone(pause->job) ||
               (known && pause->paused &&
                (is_terminal(known->record.phase) || known->record.phase == JobPhase::kCancelling)),
           "acknowledged-job-kept", pause->job, "a pause is refused: " + error.reason());
  }
  if (const auto* cancel = std::get_if<CancelInput>(&input)) {
    const Known* const known = find(cancel->job);
    const bool ended =
        known && (known->record.phase == JobPhase::kSucceeded || known->record.phase == JobPhase::kFailed);
    demand(ended || !etag.empty() || may_be_gone(cancel->job), "acknowledged-job-kept", cancel->job,
           "a cancel is refused: " + error.reason());
  }
}

void Invariants::check(const SubmitInput& input, const Outcome& outcome, const SchedulerState&) {
  demand(outcome.changed.size() == 1 && !find(input.id), "phases", input.id, "a submit makes one new job");
  check_queue_quota(input.project, input.id);
  const JobRecord& job = outcome.changed.front();
  Known known;
  known.replay.max_attempts = input.max_attempts > 0 ? input.max_attempts : 5;
  known.queued = known.waiting = moment();
  known.begins.emplace(job.version, moment());
  known.record.sequence = job.sequence;
  known.record.priority = input.priority;
  known.record.project = input.project;
  known.record.needs = input.needs;
  known.record.queued_timeout = input.queued_timeout;
  known.record.total_timeout = input.total_timeout;
  known.record.max_runtime = input.max_runtime;
  demand(job.max_attempts == known.replay.max_attempts, "attempts-bounded", job.id,
         "another bound than asked for");
  jobs_.emplace(job.id, std::move(known));
  take_in(outcome);
}

void Invariants::check(const RegisterInput& input, const Outcome& outcome, const SchedulerState&) {
  demand(outcome.changed.empty(), "phases", "", "a register changes a job");
  workers_.insert_or_assign(input.worker.id, KnownWorker{input.worker, false});
}

void Invariants::check(const RenewInput& input, const Outcome& outcome, const SchedulerState&) {
  demand(outcome.changed.empty(), "phases", "", "a heartbeat changes a job's row");
  workers_.at(input.worker).draining = input.draining;
  for (std::size_t i = 0; i < input.leases.size(); ++i) {
    const auto& [job, fence] = input.leases[i];
    const auto it = jobs_.find(job);
    auto expected = LeaseAction::kLost;
    if (it != jobs_.end() && is_held(it->second.record.phase) && it->second.record.fence == fence) {
      it->second.renewed = moment();
      expected =
          it->second.record.phase == JobPhase::kCancelling ? LeaseAction::kCancel : LeaseAction::kContinue;
    }
    demand(outcome.renewed.at(i) == expected, "heartbeat-answered", job,
           "answer " + std::to_string(static_cast<int>(outcome.renewed[i])) + " under " + text(fence));
  }
}

void Invariants::check(const StageInput& input, const Outcome& outcome, const SchedulerState&) {
  const Known* const known = find(input.job);
  demand(known && is_held(known->record.phase) && known->record.fence == input.fence, "older-fence-refused",
         input.job, "a stage is taken under " + text(input.fence));
  jobs_.at(input.job).renewed = moment();
  demand(!outcome.changed.empty() || input.state == "pending" ||
             known->replay.stages.contains({input.index, input.state}),
         "reports-are-stored", input.job,
         "stage " + std::to_string(input.index) + " " + input.state + " is dropped");
  take_in(outcome);
}

void Invariants::check(const FinishInput& input, const Outcome& outcome, const SchedulerState&) {
  const Known* const known = find(input.job);
  const std::pair told{input.fence, input.outcome};
  if (outcome.changed.empty()) {
    demand(known && known->told == told, "told-twice-stored-once", input.job,
           "an end is taken for told before");
    return;
  }
  demand(known && is_held(known->record.phase) && known->record.fence == input.fence, "older-fence-refused",
         input.job, "'" + input.outcome + "' is taken under " + text(input.fence));
  check_end(input, *known, outcome.changed.back());
  jobs_.at(input.job).told = told;
  take_in(outcome);
}

void Invariants::check_end(const FinishInput& input, const Known& before, const JobRecord& after) const {
  auto expected = JobPhase::kSucceeded;
  if (input.outcome == "succeeded") {
    demand(after.result == input.result, "result-kept", input.job, "another result than was handed in");
  } else if (input.outcome == "cancelled" || before.record.phase == JobPhase::kCancelling) {
    expected = JobPhase::kCancelled;
  } else if (input.outcome == "released" || after.phase == JobPhase::kQueued) {
    expected = JobPhase::kQueued;
  } else {
    expected = JobPhase::kFailed;
  }
  demand(after.phase == expected, "phases", input.job,
         "'" + input.outcome + "' leads to " + text(after.phase));
  demand(
      reason_of(input.error) != "MAX_RUNTIME" || world_.now - before.leased().at >= before.record.max_runtime,
      "timeouts-kept", input.job, "the end of a longer attempt is taken for that of this one");
}

void Invariants::check(const CancelInput& input, const Outcome& outcome, const SchedulerState&) {
  const auto before = jobs_.at(input.job).record.phase;
  take_in(outcome);
  const auto after = jobs_.at(input.job).record.phase;
  const bool right = before == JobPhase::kQueued    ? after == JobPhase::kCancelled
                     : before == JobPhase::kRunning ? after == JobPhase::kCancelling
                                                    : after == before;
  demand(right && before != JobPhase::kSucceeded && before != JobPhase::kFailed, "cancel-kept", input.job,
         "a cancel of a job that is " + text(before) + " makes it " + text(after));
}

void Invariants::check(const RetryInput& input, const Outcome& outcome, const SchedulerState&) {
  const auto before = jobs_.at(input.job).record.phase;
  check_queue_quota(jobs_.at(input.job).record.project, input.job);
  jobs_.at(input.job).begins.insert_or_assign(outcome.changed.front().version, moment());
  take_in(outcome);
  demand(before == JobPhase::kFailed || before == JobPhase::kCancelled, "one-terminal-state", input.job,
         "a retry of a job that is " + text(before));
  demand(jobs_.at(input.job).record.phase == JobPhase::kQueued, "phases", input.job,
         "a retry does not queue it");
}

void Invariants::check(const PauseJobInput& input, const Outcome& outcome, const SchedulerState&) {
  const JobRecord before = jobs_.at(input.job).record;
  take_in(outcome);
  const JobRecord& after = jobs_.at(input.job).record;
  if (outcome.changed.empty()) {
    demand(before.paused == input.paused, "pauses-are-stored", input.job, "a pause or its end is dropped");
    return;
  }
  demand(after.paused == input.paused && after.phase == JobPhase::kQueued, "pauses-are-stored", input.job,
         "a pause of a job that is " + text(before.phase) + " makes it " + text(after.phase));
}

void Invariants::check(const PauseProjectInput& input, const Outcome& outcome, const SchedulerState&) {
  const bool resumed = pauses_.contains({PauseRecord::Kind::kProject, input.project}) && !input.paused;
  check_paused(PauseRecord::Kind::kProject, input.project, input.paused, outcome);
  std::size_t timed = 0;
  for (const auto& id : queue_)
    timed += jobs_.at(id).record.project == input.project && jobs_.at(id).record.queued_timeout > 0;
  demand(outcome.changed.size() == (resumed ? timed : 0), "timeouts-kept", "",
         std::to_string(outcome.changed.size()) + " queued timeouts begin anew of " + std::to_string(timed));
  for (const auto& job : outcome.changed)
    demand(job.phase == JobPhase::kQueued && job.project == input.project, "phases", job.id,
           "the end of another project's pause changes it");
  take_in(outcome);
  for (const auto& job : outcome.changed) jobs_.at(job.id).waiting = moment();
}

void Invariants::check(const PauseWorkerInput& input, const Outcome& outcome, const SchedulerState&) {
  demand(outcome.changed.empty(), "phases", "", "the pause of " + input.worker + " changes a job");
  check_paused(PauseRecord::Kind::kWorker, input.worker, input.paused, outcome);
}

void Invariants::check_paused(PauseRecord::Kind kind, const std::string& name, bool paused,
                              const Outcome& outcome) {
  const bool changes = paused ? pauses_.emplace(kind, name).second : pauses_.erase({kind, name}) > 0;
  demand(changes == outcome.pause.has_value(), "pauses-are-stored", "", "of " + name);
}

void Invariants::check(const QuotaInput& input, const Outcome& outcome, const SchedulerState&) {
  demand(outcome.changed.empty(), "phases", "", "the quota of " + input.project + " changes a job");
  const bool changes = std::exchange(quotas_[input.project], input.quota) != input.quota;
  demand(changes == outcome.quota.has_value(), "quotas-kept", "", "of " + input.project + ": not stored");
}

Quota Invariants::quota_of(const std::string& project) const {
  const auto it = quotas_.find(project);
  return it == quotas_.end() ? Quota{} : it->second;
}

std::uint64_t Invariants::queued_of(const std::string& project) const {
  return static_cast<std::uint64_t>(std::count_if(
      queue_.begin(), queue_.end(), [&](const auto& id) { return jobs_.at(id).record.project == project; }));
}

bool Invariants::runs_all_it_may(const std::string& project) const {
  const auto most = quota_of(project).running;
  if (most == 0) return false;
  const auto running = std::count_if(held_.begin(), held_.end(),
                                     [&](const auto& id) { return jobs_.at(id).record.project == project; });
  return static_cast<std::uint64_t>(running) >= most;
}

void Invariants::check_queue_quota(const std::string& project, const std::string& job) const {
  const auto most = quota_of(project).queued;
  demand(most == 0 || queued_of(project) < most, "quotas-kept", job,
         "queued above the quota of " + std::to_string(most));
}

bool Invariants::is_paused(const JobRecord& job) const {
  return job.paused || pauses_.contains({PauseRecord::Kind::kProject, job.project});
}

// Told of trials alone, which no plan has.
void Invariants::check(const SharedInput&, const Outcome& outcome, const SchedulerState&) {
  demand(outcome.changed.empty() && outcome.events.empty(), "changes-are-written", "",
         "a word of stages changed a job");
}

void Invariants::check(const TickInput&, const Outcome& outcome, const SchedulerState&) {
  std::size_t timed_out = 0;
  for (const auto& job : outcome.changed) {
    const bool timeout = is_timeout(job);
    timed_out += timeout;
    timeout ? check_timed_out(jobs_.at(job.id), job) : check_lost(jobs_.at(job.id));
  }
  take_in(outcome);
  if (timed_out < 100)  // else the next tick goes on
    for (const auto* const open : {&queue_, &held_})
      for (const auto& id : *open) check_overdue(jobs_.at(id));
  const TimeMs lease = world_.plan.options.lease_ms;
  for (const auto& id : held_) {
    const Known& known = jobs_.at(id);
    const auto back = static_cast<TimeMs>(jumps_back_ - known.renewed.jumps_back);
    demand(world_.now - known.renewed.at < lease * (1 + back), "leases-end", id,
           "not renewed for " + std::to_string(world_.now - known.renewed.at) + " ms, and still " +
               text(known.record.phase));
  }
}

// A lease that runs out was not renewed for a lease's time.
void Invariants::check_lost(const Known& known) const {
  demand(elapsed_at_most(known.renewed) >= world_.plan.options.lease_ms, "renewed-leases-kept",
         known.record.id,
         "lost " + std::to_string(world_.now - known.renewed.at) + " ms after it was renewed");
  demand(world_.now < world_.plan.settled(), "quiet-worlds-lose-no-lease", known.record.id,
         "a lease ran out");
}

// A timeout fails a job that has waited, or was under way, for as long; and no other.
void Invariants::check_timed_out(const Known& known, const JobRecord& after) const {
  if (reason_of(after.error) == "MAX_RUNTIME") return check_run_out(known);
  const bool total = reason_of(after.error) == "TOTAL_TIMEOUT";
  const TimeMs timeout = total ? known.record.total_timeout : known.record.queued_timeout;
  const TimeMs pause = total ? 0 : known.pause;
  const auto phase = known.record.phase;
  demand(total || (!is_paused(known.record) && elapsed_at_most(known.waiting) >= timeout) || known.unsure,
         "timeouts-kept", after.id, "the job was paused meanwhile");
  demand(timeout > 0 && (phase == JobPhase::kQueued || (total && phase == JobPhase::kRunning)),
         "timeouts-kept", after.id, "failed of a timeout that it has not, while " + text(phase));
  demand(elapsed_at_most(total ? known.begun() : known.queued) >= pause + timeout || known.unsure,
         "timeouts-kept", after.id,
         "failed " + std::to_string(world_.now - (total ? known.begun() : known.queued).at) +
             " ms into a timeout of " + std::to_string(timeout));
}

// An attempt's limit fails a job that runs for as long, and then for a lease's time in which its worker
// could have said so.
void Invariants::check_run_out(const Known& known) const {
  const JobRecord& job = known.record;
  demand(job.max_runtime > 0 && job.phase == JobPhase::kRunning, "timeouts-kept", job.id,
         "failed of a limit that it has not, while " + text(job.phase));
  demand(elapsed_at_most(known.leased()) >= job.max_runtime + world_.plan.options.lease_ms, "timeouts-kept",
         job.id,
         "failed " + std::to_string(world_.now - known.leased().at) + " ms into an attempt that may take " +
             std::to_string(job.max_runtime));
}

// Once a timeout is over the job has failed of it, unless it was cancelled before.
void Invariants::check_overdue(const Known& known) const {
  const JobRecord& job = known.record;
  if (job.phase == JobPhase::kCancelling) return;
  const auto within = [&](const Moment& since, TimeMs timeout, const char* what) {
    demand(timeout == 0 || jumps_back_ != since.jumps_back || world_.now - since.at < timeout,
           "timeouts-end-jobs", job.id,
           std::string(what) + " is over by " + std::to_string(world_.now - since.at - timeout) + " ms");
  };
  if (job.phase == JobPhase::kRunning && job.max_runtime > 0)
    within(known.leased(), job.max_runtime + world_.plan.options.lease_ms, "the attempt's limit");
  if (known.unsure) return;
  within(known.begun(), job.total_timeout, "the total timeout");
  if (job.phase != JobPhase::kQueued || job.queued_timeout == 0 || is_paused(job)) return;
  if (jumps_back_ != known.queued.jumps_back) return;  // by the clock it may have been queued in the future
  const bool backoff = known.queued.at + known.pause > known.waiting.at;
  within(backoff ? known.queued : known.waiting, (backoff ? known.pause : 0) + job.queued_timeout,
         "the queued timeout");
}

void Invariants::check(const LeaseInput& input, const Outcome& outcome, const SchedulerState& state) {
  const JobRecord* const granted = outcome.leased ? &*outcome.leased : nullptr;
  const KnownWorker& worker = workers_.at(input.worker);
  for (const auto& job : outcome.changed) {
    if (granted && job.id == granted->id) continue;
    const Known& known = jobs_.at(job.id);
    demand(known.record.worker == input.worker && is_held(known.record.phase) &&
               input.free_devices == worker.record.devices,
           "renewed-leases-kept", job.id, "taken from another worker than " + input.worker);
    demand(world_.now < world_.plan.settled(), "quiet-worlds-lose-no-lease", job.id, "a lease was abandoned");
  }
  demand(!granted || !worker.draining, "drained-workers-rest", granted ? granted->id : "",
         "leased while it drains");
  demand(!granted || !pauses_.contains({PauseRecord::Kind::kWorker, input.worker}), "paused-workers-rest",
         granted ? granted->id : "", "leased to " + input.worker);
  const auto is_granted = [&](const std::string& job) { return granted && job == granted->id; };
  Outcome lost = outcome, rest = outcome;  // what the worker lost counts when the next turn is decided
  std::erase_if(lost.changed, [&](const auto& job) { return is_granted(job.id); });
  std::erase_if(lost.events, [&](const auto& event) { return is_granted(event.job); });
  std::erase_if(rest.changed, [&](const auto& job) { return !is_granted(job.id); });
  std::erase_if(rest.events, [&](const auto& event) { return !is_granted(event.job); });
  take_in(lost);
  if (granted || world_.plan.workers <= 100 || steps_ % 64 == 0) check_order(input, granted);
  if (granted) check_grant(input, *granted, state);
  take_in(rest);
}

void Invariants::check_grant(const LeaseInput& input, const JobRecord& job,
                             const SchedulerState& state) const {
  const WorkerRecord& worker = workers_.at(input.worker).record;
  const Known& before = jobs_.at(job.id);
  demand(!is_paused(before.record), "paused-jobs-rest", job.id, "leased while it or its project is paused");
  demand(!runs_all_it_may(before.record.project), "quotas-kept", job.id,
         "leased above the quota of " + std::to_string(quota_of(before.record.project).running));
  demand(before.record.fence < job.fence, "fences-rise", job.id,
         text(job.fence) + " after " + text(before.record.fence));
  const auto free = input.free_devices.find(job.needs.device);
  demand(free != input.free_devices.end() && job.needs.device_count <= free->second, "needs-fit", job.id,
         "more devices than are free");
  demand(job.needs.memory_bytes <= worker.memory_bytes, "needs-fit", job.id, "more memory than there is");
  demand(has_outgrown_less(before, worker), "needs-fit", job.id, "it ran out of as much memory before");
  for (const auto& method : job.needs.methods)
    demand(worker.methods.contains(method), "needs-fit", job.id, "a worker without " + method);
  std::map<std::string, std::uint32_t> used;
  for (const auto& id : state.workers.at(input.worker).jobs) {
    const JobNeeds& needs = state.jobs.at(id).needs;
    used[needs.device] += std::max(1u, needs.device_count);
  }
  for (const auto& [kind, count] : used)
    demand(count <= worker.devices.at(kind), "devices-not-oversubscribed", job.id,
           std::to_string(count) + " " + kind + " in use of " + std::to_string(worker.devices.at(kind)));
}

// Whether the worker has more memory than each that was too small for the job.
bool Invariants::has_outgrown_less(const Known& known, const WorkerRecord& worker) const {
  const auto& small = known.replay.too_small;
  return std::all_of(small.begin(), small.end(), [&](const auto& id) {
    return workers_.at(id).record.memory_bytes < worker.memory_bytes;
  });
}

bool Invariants::may_be_granted(const Known& known, const KnownWorker& worker,
                                const LeaseInput& input) const {
  const JobNeeds& needs = known.record.needs;
  const auto free = input.free_devices.find(needs.device);
  if (free == input.free_devices.end() || free->second < std::max(1u, needs.device_count)) return false;
  if (needs.memory_bytes > worker.record.memory_bytes || !has_outgrown_less(known, worker.record))
    return false;
  return std::all_of(needs.methods.begin(), needs.methods.end(),
                     [&](const auto& method) { return worker.record.methods.contains(method); });
}

Turn Invariants::turn_of(const JobRecord& job) const {
  const auto it = shares_.find({job.project, job.needs.device});
  const auto [leased, newest] = it == shares_.end() ? std::pair{0u, std::uint64_t{0}} : it->second;
  const bool forgotten = newest + kTurnsRemembered <= newest_lease_;
  return {-std::int64_t{job.priority}, leased, forgotten ? 0 : newest, job.sequence};
}

// Of the jobs that fit and whose pause is over it is granted whose turn it is, and none is withheld.
void Invariants::check_order(const LeaseInput& input, const JobRecord* granted) const {
  const KnownWorker& worker = workers_.at(input.worker);
  if (worker.draining || pauses_.contains({PauseRecord::Kind::kWorker, input.worker})) return;
  demand(!granted || queue_.contains(granted->id), "one-holder", granted ? granted->id : "",
         "it was not queued");
  std::map<std::string, bool> full;  // by project, counted once: thousands wait in a large world
  const auto is_full = [&](const std::string& project) {
    const auto [at, is_new] = full.try_emplace(project);
    if (is_new) at->second = runs_all_it_may(project);
    return at->second;
  };
  for (const auto& id : queue_) {
    const Known& known = jobs_.at(id);
    const bool back = jumps_back_ != known.queued.jumps_back;
    if (granted && granted->id == id) {
      demand(elapsed_at_most(known.queued) >= known.pause || back || known.unsure, "pauses-kept", id,
             "leased " + std::to_string(world_.now - known.queued.at) + " ms into a pause of " +
                 std::to_string(known.pause));
      continue;
    }
    if (known.unsure || is_paused(known.record) || is_full(known.record.project) ||
        (granted && turn_of(jobs_.at(granted->id).record) < turn_of(known.record)))
      continue;
    // A clock set back costs two of the longest pauses at most: one that is longer counts as over, until by
    // the clock it no longer is.
    const TimeMs jumps = jumps_back_ - known.queued.jumps_back;
    const TimeMs pause = back ? world_.plan.options.max_backoff_ms * (2 * jumps + 1) : known.pause;
    demand(world_.now - known.queued.at < pause || !may_be_granted(known, worker, input), "turns-kept", id,
           "passed over for " + (granted ? granted->id : "nothing"));
  }
}

void Invariants::take_in(const Outcome& outcome) {
  for (const auto& event : outcome.events) {
    world_.trace_event(event);
    Known& known = jobs_.at(event.job);
    known.replay.apply(event);
    if (event.type == "resumed") known.waiting = moment();
    if (event.type == "leased") {
      known.renewed = moment();
      known.told = {};
    }
    if (event.type == "cancelled")
      demand(cancel_asked_.contains(event.job), "failed-without-cause", event.job,
             "cancelled, and nobody asked");
  }
  for (const auto& record : outcome.changed) take_in(record);
}

namespace {

bool is_same_need(JobNeeds a, const JobNeeds& b) {
  a.outgrown_bytes = b.outgrown_bytes;
  return a == b;
}

}  // namespace

void Invariants::take_in(const JobRecord& record) {
  Known& known = jobs_.at(record.id);
  const JobRecord& before = known.record;
  const Replay& replay = known.replay;
  demand(record.version == before.version + 1, "versions-rise", record.id, "by other than one");
  demand(record.priority == before.priority && record.sequence == before.sequence &&
             record.project == before.project && is_same_need(record.needs, before.needs) &&
             record.queued_timeout == before.queued_timeout && record.total_timeout == before.total_timeout &&
             record.max_runtime == before.max_runtime,
         "queue-keeps-its-order", record.id, "its place has changed");
  demand(record.phase == replay.phase && record.attempt == replay.attempt &&
             record.attempt_base == replay.attempt_base && record.last_event == replay.events,
         "state-is-replay", record.id, "record and events disagree: " + text(record.phase));
  demand(record.paused == replay.paused, "state-is-replay", record.id,
         "paused, and its events say otherwise");
  demand(before.phase != JobPhase::kSucceeded, "result-kept", record.id, "changed after its success");
  auto& [leased, newest] = shares_[{record.project, record.needs.device}];
  if (held_.erase(record.id) > 0) --leased;
  queue_.erase(record.id);
  const bool queued_again = record.phase == JobPhase::kQueued && before.phase != JobPhase::kQueued;
  if (record.phase == JobPhase::kRunning && before.phase == JobPhase::kQueued)
    known.leases.insert_or_assign(record.version, moment());
  known.record = record;
  known.record.reported.clear();
  if (is_held(record.phase)) {
    held_.insert(record.id);
    ++leased;
    newest = std::max(newest, record.fence.n);
    newest_lease_ = std::max(newest_lease_, record.fence.n);
  }
  if (record.phase == JobPhase::kQueued) queue_.insert(record.id);
  if (queued_again) {
    known.queued = known.waiting = moment();
    known.unsure = false;
    known.pause = record.not_before - world_.wall();
    check_pause(known);
  }
  world_.trace_record(record);
}

// A failure doubles the pause, between its bounds, and up to half is drawn off; a release or a retry has
// none.
void Invariants::check_pause(const Known& known) const {
  const SchedulerOptions& options = world_.plan.options;
  TimeMs expected = 0;
  if (known.replay.pause_follows) {
    expected = options.backoff_ms;
    for (std::uint32_t i = 1; i < known.replay.failures && expected < options.max_backoff_ms; ++i)
      expected *= 2;
    expected = std::min(expected, options.max_backoff_ms);
  }
  demand(known.pause >= expected / 2 && known.pause <= expected, "backoff-bounded", known.record.id,
         "a pause of " + std::to_string(known.pause) + " ms after " + std::to_string(known.replay.failures) +
             " failures, not " + std::to_string(expected / 2) + " to " + std::to_string(expected));
}

}  // namespace wring::sim
