// What must hold of rows, answers and restarts.
#include <algorithm>
#include <utility>

#include "tests/sim/invariants.h"
#include "tests/sim/world.h"

namespace wring::sim {

void Invariants::on_commit(const Batch& batch, const Storage& storage) {
  std::map<std::string, std::uint64_t> events;
  for (const auto& event : batch.outcome.events) {
    const Row* const row = storage.row(event.job);
    auto& last = events.try_emplace(event.job, row ? row->events.size() : 0).first->second;
    demand(event.number == ++last, "commits-keep-the-order-of-steps", event.job, "an event out of order");
  }
  for (const auto& record : batch.outcome.changed) {
    const Row* const row = storage.row(record.id);
    demand((row == nullptr) == batch.submitted, "commits-keep-the-order-of-steps", record.id, "no such row");
    demand(record.version == (row ? row->record.version : 0) + 1, "commits-keep-the-order-of-steps",
           record.id,
           "version " + std::to_string(record.version) + " written over " +
               std::to_string(row ? row->record.version : 0));
    last_change_ = world_.now;
  }
  if (!batch.removed.empty()) forget(batch.removed, storage);
  if (batch.submitted && !batch.request_id.empty())
    demand(!storage.request(batch.request_id), "submitted-twice-is-one-job", batch.outcome.changed.front().id,
           "a second job of request " + batch.request_id);
}

void Invariants::on_remove(const std::string& job, const std::string& etag) {
  const Known* const known = find(job);
  demand(known && is_terminal(known->record.phase), "deleted-jobs-had-ended", job, "its deletion is taken");
  demand(etag.empty() || std::to_string(known->record.version) == etag, "etag-compared", job,
         "deleted with etag " + etag);
  demand(removing_.insert(job).second, "deleted-jobs-had-ended", job, "it is deleted twice at a time");
}

// It goes from the disk.
void Invariants::forget(const std::string& job, const Storage& storage) {
  const Known* const known = find(job);
  const Row* const row = storage.row(job);
  demand(known && row && row->record.version == known->record.version && is_terminal(row->record.phase),
         "deleted-jobs-had-ended", job, "it has changed since its deletion was taken");
  gone_.insert(job);
  forget(job);
  last_change_ = world_.now;
}

void Invariants::forget(const std::string& job) {
  jobs_.erase(job);
  acknowledged_.erase(job);
  acknowledged_stages_.erase(job);
  succeeded_.erase(job);
}

// What was told since the backup need not hold any more, but for one thing: no lease that was given since may
// be taken for one of those given from now on.
void Invariants::on_restore(const Storage& storage) {
  std::set<std::string> lost;
  for (const auto& [job, known] : jobs_)
    if (!storage.row(job)) lost.insert(job);
  jobs_ = backup_;
  for (auto& [job, version] : acknowledged_) {
    const Row* const row = storage.row(job);
    if (row) version = std::min(version, row->record.version);
    if (!row) lost.insert(job);
  }
  for (const auto& job : lost) {
    gone_.insert(job);
    forget(job);
  }
  for (auto& [job, stages] : acknowledged_stages_)
    stages.erase(stages.upper_bound(storage.row(job)->events.size()), stages.end());
  std::erase_if(succeeded_, [&](const auto& job) {
    return storage.row(job.first)->record.phase != JobPhase::kSucceeded;
  });
}

void Invariants::on_watched(const std::string& job, const std::vector<JobEvent>& seen,
                            const Storage& storage) const {
  const Row* const row = storage.row(job);
  demand(row != nullptr, "acknowledged-job-kept", job, "a watch of it has ended, and it is not there");
  demand(seen.size() <= row->events.size() && !seen.empty() && is_terminal(seen.back().phase),
         "watchers-see-every-event", job, "a watch has ended before the job");
  for (std::size_t i = 0; i < seen.size(); ++i)
    demand(seen[i].number == i + 1 && seen[i].type == row->events[i].type &&
               seen[i].payload == row->events[i].payload,
           "watchers-see-every-event", job, "event " + std::to_string(i + 1) + " was seen as another one");
}

// Somebody is told: it must be on disk, and stay there.
void Invariants::on_answer(const Waiting& waiting, const Storage& storage) {
  if (const auto& job = waiting.outcome.leased) {
    const auto [given, is_new] = fences_.try_emplace(job->fence, job->id);
    demand(is_new, "fences-rise", job->id, "its fence was given to " + given->second + " before");
  }
  if (waiting.call == Waiting::Call::kNobody || waiting.job.empty() || may_be_gone(waiting.job)) return;
  const Row* const row = storage.row(waiting.job);
  demand(row && row->record.version >= waiting.version, "answered-after-the-commit", waiting.job,
         "version " + std::to_string(waiting.version) + " is told of and not on disk");
  auto& version = acknowledged_[waiting.job];
  version = std::max(version, waiting.version);
  if (waiting.call == Waiting::Call::kStage)
    for (const auto& event : waiting.outcome.events)
      if (event.type == "stage_done") acknowledged_stages_[event.job].insert(event.number);
  for (const auto& job : waiting.outcome.changed)
    if (job.phase == JobPhase::kSucceeded) succeeded_.emplace(job.id, job);
}

void Invariants::on_submitted(const std::string& request_id, const std::string& job) {
  if (may_be_gone(job)) return;  // an answer from before it went may come after that of the next one
  auto& known = job_of_request_[request_id];
  demand(known.empty() || known == job || may_be_gone(known), "submitted-twice-is-one-job", job,
         "request " + request_id + " was " + known + " before");
  known = job;
}

Invariants::Known Invariants::known_from(const Row& row) const {
  Known known;
  known.replay.max_attempts = row.record.max_attempts;
  known.unsure = true;
  for (const auto& event : row.events) known.replay.apply(event);
  known.record = row.record;
  known.record.reported.clear();
  return known;
}

// What was only in memory is gone: the books go back to what the rows say.
void Invariants::on_crash(const Storage& storage) {
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    const Row* const row = storage.row(it->first);
    if (!row) {
      demand(!acknowledged_.contains(it->first), "acknowledged-job-kept", it->first, "lost in a crash");
      it = jobs_.erase(it);
      continue;
    }
    Known& known = it->second;
    if (row->record.version != known.record.version) {
      auto back = known_from(*row);
      back.queued = known.queued;
      back.renewed = known.renewed;
      back.begins = std::move(known.begins);  // a retry that is lost began nothing
      back.begins.erase(back.begins.upper_bound(row->record.version), back.begins.end());
      back.leases = std::move(known.leases);
      back.leases.erase(back.leases.upper_bound(row->record.version), back.leases.end());
      back.waiting = known.waiting;
      back.told = {row->record.fence, row->record.told_outcome};
      known = std::move(back);
    }
    ++it;
  }
  was_removing_.merge(removing_);
  removing_.clear();
  workers_.clear();
  pauses_ = storage.pauses();
  quotas_ = storage.quotas();
  queue_.clear();
  held_.clear();
  shares_.clear();
  newest_lease_ = 0;
  for (const auto& [key, n] : storage.served()) {  // also of jobs that were deleted
    shares_[key].second = n;
    newest_lease_ = std::max(newest_lease_, n);
  }
  for (const auto& [id, known] : jobs_) {
    const JobRecord& job = known.record;
    auto& [leased, newest] = shares_[{job.project, job.needs.device}];
    newest = std::max(newest, job.fence.n);
    newest_lease_ = std::max(newest_lease_, job.fence.n);
    if (job.phase == JobPhase::kQueued) queue_.insert(id);
    if (!is_held(job.phase)) continue;
    held_.insert(id);
    ++leased;
  }
}

void Invariants::on_recovery(const SchedulerState& state, const Storage& storage) {
  for (const auto& [job, version] : acknowledged_) {
    const Row* const row = storage.row(job);
    demand(row && row->record.version >= version, "acknowledged-job-kept", job,
           "version " + std::to_string(version) + " was told of and is not on disk after a restart");
  }
  workers_.clear();
  for (const auto& [id, worker] : state.workers) workers_.emplace(id, KnownWorker{worker, worker.draining});
  for (auto& [id, known] : jobs_) {
    if (is_held(known.record.phase)) known.renewed = moment();
    if (is_terminal(known.record.phase)) continue;
    const auto it = state.jobs.find(id);
    demand(it != state.jobs.end() && it->second.version == known.record.version &&
               it->second.not_before == known.record.not_before &&
               it->second.failures == known.record.failures && it->second.fence == known.record.fence &&
               it->second.told_outcome == known.record.told_outcome &&
               it->second.paused == known.record.paused,
           "restart-goes-on-from-the-rows", id, "not in the memory as it is on disk");
  }
  sweep(state);
}

// The indices of the scheduler's state agree with its jobs, and those with the books.
void Invariants::sweep(const SchedulerState& state) const {
  demand(state.queue.size() == queue_.size(), "queue-index", "", "the queue is not what was queued");
  for (const auto& id : queue_)
    demand(state.queue.contains(state.jobs.at(id)), "queue-index", id, "it is not in the queue");
  std::set<std::pair<std::string, std::string>> leases;
  std::set<std::pair<TimeMs, std::string>> expiries;
  for (const auto& id : held_) {
    leases.emplace(state.jobs.at(id).worker, id);
    expiries.emplace(state.jobs.at(id).lease_until, id);
  }
  demand(state.held == leases, "queue-index", "", "the leased jobs are not what was leased");
  demand(state.expiries == expiries, "queue-index", "", "leases run out at other times than their jobs say");
  std::set<std::string> projects, workers;
  for (const auto& [kind, name] : pauses_)
    (kind == PauseRecord::Kind::kProject ? projects : workers).insert(name);
  demand(state.quotas == quotas_, "quotas-kept", "", "not those that were set");
  demand(state.paused_projects == projects && state.paused_workers == workers, "pauses-are-stored", "",
         "other projects or workers are paused than were");
  for (const auto& id : held_) {
    const JobRecord& job = state.jobs.at(id);
    const auto worker = state.workers.find(job.worker);
    demand(worker == state.workers.end() || worker->second.jobs.contains(id), "queue-index", id,
           "its worker does not have it");
  }
  for (const auto& [id, worker] : state.workers)
    for (const auto& job : worker.jobs)
      demand(held_.contains(job) && state.jobs.at(job).worker == id, "queue-index", job,
             id + " does not hold it");
  for (const auto& [id, job] : state.jobs) {
    if (removing_.contains(id)) continue;
    const Known* const known = find(id);
    demand(known && known->record.version == job.version && known->record.phase == job.phase,
           "state-is-replay", id, "changed without a word");
    if (world_.storage.hands_back()) continue;
    const Row* const row = world_.storage.row(id);
    demand(!is_terminal(job.phase) || !row || row->record.version < job.version, "ended-jobs-leave-memory",
           id, "its end is on disk");
  }
}

void Invariants::at_end(const Storage& storage) const {
  for (const auto& [job, version] : acknowledged_) {
    const Row* const row = storage.row(job);
    demand(row && row->record.version >= version, "acknowledged-job-kept", job, "not on disk at the end");
  }
  for (const auto& [job, stages] : acknowledged_stages_) {
    std::set<std::uint64_t> kept;
    for (const auto& event : storage.row(job)->events)
      if (event.type == "stage_done") kept.insert(event.number);
    demand(std::includes(kept.begin(), kept.end(), stages.begin(), stages.end()), "finished-stages-kept", job,
           "a stage that was acknowledged is not on disk");
  }
  for (const auto& [job, record] : succeeded_) {
    const JobRecord& row = storage.row(job)->record;
    demand(row.phase == JobPhase::kSucceeded && row.result == record.result, "result-kept", job,
           "succeeded once, and is now " + std::string(to_string(row.phase)));
  }
  for (const auto& [id, row] : storage.rows()) {
    Replay replay;
    replay.max_attempts = row.record.max_attempts;
    for (const auto& event : row.events) replay.apply(event);
    demand(replay.phase == row.record.phase && replay.events == row.record.last_event, "state-is-replay", id,
           "its row is not what its events say");
    demand(is_terminal(row.record.phase), "no-starvation", id, "has not ended");
    demand(row.record.phase != JobPhase::kSucceeded || row.record.result == result_of(id), "result-kept", id,
           "another result than its own");
  }
}

}  // namespace wring::sim
