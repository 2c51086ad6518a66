// The coordinator's core: one step at a time under a lock, the disk outside of it.
#include "server/api/coordinator.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "server/api/messages.h"

namespace wring {

using namespace std::chrono_literals;

Coordinator::Coordinator(JobStore& store, const Clock& clock, Metrics& metrics, SchedulerOptions options)
    : store_(store), clock_(clock), metrics_(metrics) {
  state_.options = options;
  state_.epoch = store.epoch();
  for (auto& worker : store.workers()) {
    auto record = to_record(worker);
    record.last_seen = to_time(worker.last_seen());
    state_.workers.emplace(worker.id(), std::move(record));
    workers_.emplace(worker.id(), std::move(worker));
  }
  for (auto& job : store.load_open_jobs()) {
    job.record.lease_until = clock.now_ms() + options.lease_ms;  // whoever holds it may go on
    live_[job.record.id] = {job.record.version, job.record.last_event, {}, 0};
    restore(std::move(job.record), state_);
  }
  state_.next_sequence = std::max(state_.next_sequence, store.highest_sequence() + 1);
  state_.next_fence = std::max(state_.next_fence, store.highest_fence() + 1);
  spdlog::info("{} jobs queued, {} leased", state_.queue.size(), state_.held.size());
  ticker_ = std::thread([this] { tick(); });
}

Coordinator::~Coordinator() {
  stop();
  ticker_.join();
}

void Coordinator::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  news_.notify_all();
}

// Lets leases run out, and keeps the gauges.
void Coordinator::tick() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (news_.wait_for(lock, 200ms, [&] { return stopping_; })) return;
      std::size_t present = 0;
      for (const auto& [id, worker] : state_.workers)
        present += worker.last_seen + state_.options.worker_gone_ms > clock_.now_ms();
      metrics_.queue(state_.queue.size(), state_.held.size(), present);
    }
    apply(TickInput{});
  }
}

Outcome Coordinator::apply(const SchedulerInput& input, StoreBatch batch, const std::string& job,
                           const std::string& etag) {
  Outcome outcome;
  std::future<void> done;
  {
    const std::lock_guard lock(mutex_);
    outcome = step_locked(input, job, etag);
    const bool nothing = outcome.changed.empty() && !batch.worker;
    if (nothing && job.empty()) return outcome;
    if (nothing) batch = {};  // told again: answered once the first telling is on disk
    if (batch.submitted) batch.submitted->record = outcome.changed.front();
    batch.outcome = outcome;
    done = store_.write(std::move(batch));  // still under the lock: writes keep the order of the steps
  }
  done.get();
  publish(outcome);
  return outcome;
}

Outcome Coordinator::step_locked(const SchedulerInput& input, const std::string& job,
                                 const std::string& etag) {
  if (!job.empty()) load_locked(job);
  try {
    check_etag_locked(job, etag);
    auto outcome = step(input, clock_.now_ms(), state_);
    if (outcome.changed.empty()) drop_if_ended_locked(job);
    return outcome;
  } catch (const Error& error) {
    if (error.reason() == "STALE_LEASE") metrics_.lease_refused_stale();
    drop_if_ended_locked(job);
    throw;
  }
}

// The outcome is on disk: whoever waits may see it.
void Coordinator::publish(const Outcome& outcome) {
  bool queued = false;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& job : outcome.changed) {
      const auto it = live_.try_emplace(job.id).first;
      it->second.version = std::max(it->second.version, job.version);
      it->second.last_event = std::max(it->second.last_event, job.last_event);
      if (job.phase != JobPhase::kRunning) it->second.progress.clear();
      if (is_terminal(job.phase)) metrics_.job_ended(std::string(to_string(job.phase)));
      queued |= job.phase == JobPhase::kQueued;
      drop_if_ended_locked(job.id);
    }
  }
  if (queued) work_.notify_all();
  news_.notify_all();
}

void Coordinator::load_locked(const std::string& id) {
  if (state_.jobs.contains(id)) return;
  auto job = store_.job(id);
  if (!job) return;
  live_[id] = {job->record.version, job->record.last_event, {}, 0};
  restore(std::move(job->record), state_);
}

// An ended job is kept until its end is on disk: what is read from there is then never older than the state.
void Coordinator::drop_if_ended_locked(const std::string& id) {
  const auto it = state_.jobs.find(id);
  if (it == state_.jobs.end()) {
    live_.erase(id);
    return;
  }
  const auto live = live_.find(id);
  if (!is_terminal(it->second.phase) || live == live_.end() || live->second.version < it->second.version)
    return;
  state_.jobs.erase(it);
  live_.erase(live);
}

void Coordinator::check_etag_locked(const std::string& id, const std::string& etag) {
  const auto it = state_.jobs.find(id);
  if (!etag.empty() && it != state_.jobs.end() && std::to_string(it->second.version) != etag)
    throw Error(ErrorCode::kAborted, "ETAG_MISMATCH", "job " + id + " has changed since", "etag",
                "Get it again and decide anew.");
}

}  // namespace wring
