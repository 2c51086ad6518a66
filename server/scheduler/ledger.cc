// Memory ahead of the disk by what is being written, and never by more.
#include "server/scheduler/ledger.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace wring {
namespace {

[[noreturn]] void throw_no_job(const std::string& id) {
  throw Error(ErrorCode::kNotFound, "JOB_NOT_FOUND", "there is no job " + id, "id");
}

}  // namespace

Ledger::Ledger(const SchedulerOptions& options, StoredState stored, TimeMs now) {
  state_.options = options;
  state_.epoch = stored.epoch;
  for (auto& worker : stored.workers) {
    std::string id = worker.id;
    state_.workers.emplace(std::move(id), std::move(worker));
  }
  state_.paused_projects = std::move(stored.paused_projects);
  state_.paused_workers = std::move(stored.paused_workers);
  state_.quotas = std::move(stored.quotas);
  for (const auto& [key, n] : stored.served) state_.shares[key].served = n;
  for (auto& job : stored.open_jobs) {
    job.lease_until = now + options.lease_ms;  // whoever holds it may go on
    // Further off than it can be means that the clock was set back since.
    job.queued_until = std::min(job.queued_until, now + options.max_backoff_ms + job.queued_timeout);
    job.total_until = std::min(job.total_until, now + job.total_timeout);
    job.attempt_until = std::min(job.attempt_until, now + job.max_runtime + options.lease_ms);
    on_disk_[job.id] = {job.version, job.last_event};
    restore(std::move(job), state_);
  }
  state_.next_sequence = std::max(state_.next_sequence, stored.highest_sequence + 1);
  state_.next_fence = std::max(state_.next_fence, stored.highest_fence + 1);
}

LedgerEntry Ledger::apply(const SchedulerInput& input, TimeMs now, const std::string& job,
                          const std::string& etag, const Load& load) {
  if (!job.empty()) load_if_absent(job, load);
  LedgerEntry entry;
  try {
    check_etag(job, etag);
    entry.outcome = step(input, now, state_);
  } catch (const Error&) {
    drop_if_ended(job);
    throw;
  }
  const auto& outcome = entry.outcome;
  if (!outcome.changed.empty() || outcome.pause || outcome.quota ||
      std::holds_alternative<RegisterInput>(input)) {
    entry.write = Write::kOutcome;
  } else {
    const bool setting = std::holds_alternative<PauseProjectInput>(input) ||
                         std::holds_alternative<PauseWorkerInput>(input) ||
                         std::holds_alternative<QuotaInput>(input);
    if (!job.empty() || setting) entry.write = Write::kOrder;
    drop_if_ended(job);
  }
  return entry;
}

void Ledger::stored(const Outcome& outcome) {
  for (const auto& job : outcome.changed) {
    OnDisk& known = on_disk_[job.id];
    known.version = std::max(known.version, job.version);
    known.last_event = std::max(known.last_event, job.last_event);
    drop_if_ended(job.id);
  }
}

void Ledger::begin_remove(const std::string& id, const std::string& etag, const Load& load) {
  load_if_absent(id, load);
  try {
    check_removable(id, etag);
  } catch (const Error&) {
    drop_if_ended(id);
    throw;
  }
  removing_.insert(id);
}

void Ledger::check_removable(const std::string& id, const std::string& etag) const {
  const auto it = state_.jobs.find(id);
  if (it == state_.jobs.end()) throw_no_job(id);
  check_etag(id, etag);
  if (!is_terminal(it->second.phase))
    throw Error(ErrorCode::kFailedPrecondition, "JOB_NOT_ENDED", "job " + id + " has not ended", "id",
                "Cancel it first.");
}

void Ledger::end_remove(const std::string& id) {
  removing_.erase(id);
  state_.jobs.erase(id);
  on_disk_.erase(id);
}

bool Ledger::begin_submit(const std::string& request_id) {
  return request_id.empty() || submitting_.insert(request_id).second;
}

void Ledger::end_submit(const std::string& request_id) {
  submitting_.erase(request_id);
}

std::optional<std::uint64_t> Ledger::stored_event(const std::string& id) const {
  const auto it = on_disk_.find(id);
  if (it == on_disk_.end()) return std::nullopt;
  return it->second.last_event;
}

void Ledger::load_if_absent(const std::string& id, const Load& load) {
  if (removing_.contains(id)) throw_no_job(id);
  if (state_.jobs.contains(id)) return;
  auto job = load(id);
  if (!job) return;
  on_disk_[id] = {job->version, job->last_event};
  restore(std::move(*job), state_);
}

// An ended job is kept until its end is on disk: what is loaded from there is then never older than the
// state.
void Ledger::drop_if_ended(const std::string& id) {
  const auto it = state_.jobs.find(id);
  if (it == state_.jobs.end()) {
    on_disk_.erase(id);
    return;
  }
  const auto known = on_disk_.find(id);
  if (!is_terminal(it->second.phase) || known == on_disk_.end() || known->second.version < it->second.version)
    return;
  state_.jobs.erase(it);
  on_disk_.erase(known);
}

void Ledger::check_etag(const std::string& id, const std::string& etag) const {
  const auto it = state_.jobs.find(id);
  if (!etag.empty() && it != state_.jobs.end() && std::to_string(it->second.version) != etag)
    throw Error(ErrorCode::kAborted, "ETAG_MISMATCH", "job " + id + " has changed since", "etag",
                "Get it again and decide anew.");
}

std::optional<std::string> submitted_before(const std::optional<std::pair<std::string, std::string>>& stored,
                                            const std::string& digest) {
  if (!stored) return std::nullopt;
  if (stored->second != digest)
    throw Error(ErrorCode::kAlreadyExists, "REQUEST_ID_REUSED",
                "this request id belongs to another job (" + stored->first + ")", "request_id",
                "Take a new UUID for a new job.");
  return stored->first;
}

}  // namespace wring
