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

namespace {

StoredState stored_state(JobStore& store) {
  StoredState stored{store.epoch(),
                     store.highest_sequence(),
                     store.highest_fence(),
                     {},
                     {},
                     store.served(),
                     store.paused(PauseRecord::Kind::kProject),
                     store.paused(PauseRecord::Kind::kWorker),
                     store.quotas()};
  for (const auto& worker : store.workers()) {
    stored.workers.push_back(to_record(worker));
    stored.workers.back().last_seen = to_time(worker.last_seen());
  }
  for (auto& job : store.load_open_jobs()) stored.open_jobs.push_back(std::move(job.record));
  return stored;
}

void log_events(const Outcome& outcome) {
  if (!spdlog::should_log(spdlog::level::debug)) return;
  for (const auto& event : outcome.events) {
    const LogScope job("job", event.job);
    spdlog::debug("job {}: {}, attempt {}", event.job, event.type, event.attempt);
  }
}

}  // namespace

Coordinator::Coordinator(JobStore& store, const Clock& clock, Metrics& metrics, SchedulerOptions options)
    : store_(store),
      clock_(clock),
      metrics_(metrics),
      ledger_(options, stored_state(store), clock.now_ms()),
      attempts_(metrics, ledger_.state().held) {
  for (auto& worker : store.workers()) workers_.emplace(worker.id(), std::move(worker));
  spdlog::info("{} jobs queued, {} leased", ledger_.state().queue.size(), ledger_.state().held.size());
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
  stop_.notify_all();
}

// Lets leases run out, and keeps the gauges.
void Coordinator::tick() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (stop_.wait_for(lock, 200ms, [&] { return stopping_; })) return;
      std::size_t present = 0;
      const SchedulerState& state = ledger_.state();
      for (const auto& [id, worker] : state.workers) present += takes_jobs(worker, clock_.now_ms(), state);
      metrics_.queue(state.queue.size(), state.held.size(), present);
      std::map<ShareKey, Metrics::Waiting> queues;
      for (const auto& [share, since] : state.queue.since())
        queues[share] = {since.size(),
                         static_cast<double>(std::max<TimeMs>(0, clock_.now_ms() - *since.begin())) / 1000};
      metrics_.queues(queues);
    }
    apply(TickInput{});
  }
}

Outcome Coordinator::apply(const SchedulerInput& input, StoreBatch batch, const std::string& job,
                           const std::string& etag) {
  LedgerEntry entry;
  std::future<void> done;
  {
    const std::lock_guard lock(mutex_);
    entry = step_locked(input, job, etag);
    if (entry.write == Write::kNothing) return entry.outcome;
    attempts_.note(entry.outcome);
    if (entry.write == Write::kOrder) batch = {};
    if (batch.submitted) batch.submitted->record = entry.outcome.changed.front();
    batch.outcome = entry.outcome;
    done = store_.write(std::move(batch));  // still under the lock: writes keep the order of the steps
  }
  done.get();
  publish(entry.outcome);
  return entry.outcome;
}

LedgerEntry Coordinator::step_locked(const SchedulerInput& input, const std::string& job,
                                     const std::string& etag) {
  try {
    return ledger_.apply(input, clock_.now_ms(), job, etag, [this](const auto& id) { return load(id); });
  } catch (const Error& error) {
    if (error.reason() == "STALE_LEASE") metrics_.lease_refused_stale();
    throw;
  }
}

void Coordinator::on_end(std::function<void(const std::string& job)> hear) {
  const std::lock_guard lock(mutex_);
  hear_end_ = std::move(hear);
}

// The outcome is on disk: whoever waits may see it.
void Coordinator::publish(const Outcome& outcome) {
  log_events(outcome);
  bool queued = outcome.pause || outcome.quota;
  {
    const std::lock_guard lock(mutex_);
    ledger_.stored(outcome);
    for (const auto& job : outcome.changed) {
      if (const auto it = live_.find(job.id); it != live_.end()) {
        if (job.phase != JobPhase::kRunning) it->second.progress.clear();
        if (!ledger_.stored_event(job.id)) live_.erase(it);
      }
      if (is_terminal(job.phase)) {
        metrics_.job_ended(std::string(to_string(job.phase)));
        if (hear_end_) hear_end_(job.id);
      }
      queued |= job.phase == JobPhase::kQueued;
    }
  }
  if (queued) work_.notify_all();
  news_.notify_all();
}

std::optional<JobRecord> Coordinator::load(const std::string& id) {
  auto job = store_.job(id);
  if (!job) return std::nullopt;
  return std::move(job->record);
}

}  // namespace wring
