// The coordinator's calls, from a request to its answer.
#include "tests/sim/sim_coordinator.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "tests/sim/world.h"

namespace wring::sim {
namespace {

constexpr TimeMs kLookMs = 500;

}  // namespace

void SimCoordinator::start() {
  ledger_.emplace(world_.plan.options, world_.storage.stored_state(), world_.wall());
  world_.invariants.on_recovery(ledger_->state(), world_.storage);
  after(world_.plan.tick_ms, kTick);
}

void SimCoordinator::crash(const char* when) {
  if (!up()) return;
  world_.note({}, std::string("the coordinator dies ") + when);
  for (const auto& [number, lease] : leases_) world_.network.reset(lease.caller);
  for (const auto& [job, watch] : watches_) world_.network.reset(watch.caller);
  leases_.clear();
  lease_of_call_.clear();
  watches_.clear();
  job_of_watch_.clear();
  blocked_.clear();
  wake_is_due_ = false;
  ledger_.reset();
  world_.storage.crash();
  world_.invariants.on_crash(world_.storage);
  ++generation_;
  after(world_.random.between(0, 3'000), kStart);
}

void SimCoordinator::on_event(std::uint32_t kind, std::uint64_t what) {
  if (kind == kStart) {
    world_.note({}, "the coordinator is back");
    if (world_.random.chance(0.1)) world_.storage.raise_epoch();
    ++world_.counts.recoveries;
    return start();
  }
  if (kind == kTick) {
    Waiting nobody;
    apply(TickInput{}, nobody);
    return after(world_.plan.tick_ms, kTick);
  }
  if (kind == kPoll) return poll(what);
  if (kind == kLook) return look(what);
  wake_is_due_ = false;
  std::vector<std::uint64_t> waiting;
  for (const auto& [number, lease] : leases_) waiting.push_back(number);
  for (std::size_t i = waiting.size(); i > 1; --i) std::swap(waiting[i - 1], waiting[world_.random.below(i)]);
  for (const auto number : waiting) try_lease(number);
}

void SimCoordinator::receive(const Caller& caller, Request request) {
  try {
    std::visit([&](const auto& call) { handle(caller, call); }, request);
  } catch (const Error& error) {
    refuse(caller, error.reason());
  }
}

void SimCoordinator::refuse(const Caller& caller, const std::string& reason) {
  Answer answer;
  answer.refused = reason;
  world_.network.answer(caller, std::move(answer));
}

LedgerEntry SimCoordinator::step(const SchedulerInput& input, const std::string& job,
                                 const std::string& etag) {
  ++world_.counts.steps;
  try {
    auto entry = ledger_->apply(input, world_.wall(), job, etag,
                                [this](const auto& id) { return world_.storage.load(id); });
    world_.invariants.on_step(input, etag, entry, ledger_->state());
    return entry;
  } catch (const Error& error) {
    ++world_.counts.refusals;
    world_.invariants.on_refusal(input, etag, error);
    throw;
  }
}

bool SimCoordinator::apply(const SchedulerInput& input, Waiting& waiting, Batch batch, const std::string& job,
                           const std::string& etag) {
  auto entry = step(input, job, etag);
  waiting.outcome = entry.outcome;
  if (waiting.job.empty() && !entry.outcome.changed.empty()) waiting.job = entry.outcome.changed.front().id;
  waiting.version = world_.invariants.version(waiting.job);
  if (entry.write == Write::kNothing) return false;
  if (entry.write == Write::kOrder) batch = {};
  batch.outcome = std::move(entry.outcome);
  world_.storage.write(std::move(batch), waiting);
  return true;
}

// Where nothing goes to the disk the answer comes at once.
void SimCoordinator::apply_and_answer(const SchedulerInput& input, Waiting waiting, Batch batch,
                                      const std::string& job, const std::string& etag) {
  if (!apply(input, waiting, std::move(batch), job, etag)) on_stored(std::move(waiting));
}

// The outcome is on disk: publish it, then answer.
void SimCoordinator::on_stored(Waiting waiting) {
  ledger_->stored(waiting.outcome);
  for (const auto& job : waiting.outcome.changed)
    if (job.phase == JobPhase::kQueued && !std::exchange(wake_is_due_, true))
      after(world_.random.between(0, world_.plan.wake_ms), kWake);
  world_.invariants.on_answer(waiting, world_.storage);
  for (const auto& job : waiting.outcome.changed) tell_watches(job.id);
  switch (waiting.call) {
    case Waiting::Call::kNobody:
      return;
    case Waiting::Call::kSubmit:
      answer_job(waiting.caller, waiting.job);
      return end_submit(waiting.request_id);
    case Waiting::Call::kJob:
      return answer_job(waiting.caller, waiting.job);
    case Waiting::Call::kLease:
      return leased(waiting);
    case Waiting::Call::kRemove:
      ledger_->end_remove(waiting.job);
      world_.invariants.on_removed(waiting.job);
      tell_watches(waiting.job);
      return world_.network.answer(waiting.caller, {});
    default:
      world_.network.answer(waiting.caller, {});
  }
}

void SimCoordinator::answer_job(const Caller& caller, const std::string& job) {
  const Row* const row = world_.storage.row(job);
  if (!row) return refuse(caller, "JOB_NOT_FOUND");  // deleted in between
  Answer answer;
  answer.job = job;
  answer.version = row->record.version;
  answer.phase = row->record.phase;
  world_.network.answer(caller, std::move(answer));
}

void SimCoordinator::handle(const Caller& caller, const SubmitCall& call) {
  if (!ledger_->begin_submit(call.request_id)) {
    blocked_.emplace_back(caller, call);
    return;
  }
  try {
    if (const auto known = submitted_before(world_.storage.request(call.request_id), call.digest)) {
      answer_job(caller, *known);
      return end_submit(call.request_id);
    }
    if (world_.storage.full()) {
      refuse(caller, "DISK_FULL");
      return end_submit(call.request_id);
    }
    const SubmitInput input{.id = "j" + std::to_string(++ids_),
                            .needs = call.needs,
                            .max_attempts = call.max_attempts,
                            .priority = call.priority,
                            .project = call.project,
                            .queued_timeout = call.queued_timeout,
                            .total_timeout = call.total_timeout,
                            .max_runtime = call.max_runtime};
    Waiting waiting{Waiting::Call::kSubmit, caller, {}, 0, input.id, call.request_id};
    world_.invariants.on_submit(input.id, call);
    apply_and_answer(input, waiting, {{}, true, call.plan, call.request_id, call.digest, {}});
  } catch (const Error&) {
    end_submit(call.request_id);
    throw;
  }
}

void SimCoordinator::end_submit(const std::string& request_id) {
  ledger_->end_submit(request_id);
  for (std::size_t i = 0; i < blocked_.size(); ++i) {
    if (blocked_[i].second.request_id != request_id) continue;
    auto [caller, call] = std::move(blocked_[i]);
    blocked_.erase(blocked_.begin() + static_cast<std::ptrdiff_t>(i));
    return receive(caller, call);
  }
}

void SimCoordinator::handle(const Caller& caller, const CancelCall& call) {
  if (!world_.storage.row(call.job)) return refuse(caller, "JOB_NOT_FOUND");
  world_.invariants.on_cancel_asked(call.job);
  Waiting waiting{Waiting::Call::kJob, caller, {}, 0, call.job, {}};
  apply_and_answer(CancelInput{call.job}, waiting, {}, call.job, call.etag);
}

void SimCoordinator::handle(const Caller& caller, const RetryCall& call) {
  if (!world_.storage.row(call.job)) return refuse(caller, "JOB_NOT_FOUND");
  Waiting waiting{Waiting::Call::kJob, caller, {}, 0, call.job, {}};
  apply_and_answer(RetryInput{call.job}, waiting, {}, call.job, call.etag);
}

void SimCoordinator::handle(const Caller& caller, const PauseJobCall& call) {
  if (!world_.storage.row(call.job)) return refuse(caller, "JOB_NOT_FOUND");
  Waiting waiting{Waiting::Call::kJob, caller, {}, 0, call.job, {}};
  apply_and_answer(PauseJobInput{call.job, call.paused}, waiting, {}, call.job);
}

void SimCoordinator::handle(const Caller& caller, const DeleteCall& call) {
  if (!world_.storage.row(call.job)) return refuse(caller, "JOB_NOT_FOUND");
  ledger_->begin_remove(call.job, call.etag, [this](const auto& id) { return world_.storage.load(id); });
  world_.invariants.on_remove(call.job, call.etag);
  Batch batch;
  batch.removed = call.job;
  world_.storage.write(std::move(batch), {Waiting::Call::kRemove, caller, {}, 0, call.job, {}});
}

void SimCoordinator::handle(const Caller& caller, const WatchCall& call) {
  const Watch watch{caller, call, ++watch_calls_};
  if (tell(watch)) return;
  watches_.emplace(call.job, watch);
  job_of_watch_[watch.number] = call.job;
  after(kLookMs, kLook, watch.number);
}

// Once around the loop of Coordinator::watch(). Returns whether there was something to tell.
bool SimCoordinator::tell(const Watch& watch) {
  const Row* const row = world_.storage.row(watch.call.job);
  if (!row) {
    refuse(watch.caller, "JOB_NOT_FOUND");
    return true;
  }
  Answer answer;
  for (const auto& event : row->events)
    if (event.number > watch.call.after) answer.events.push_back(event);
  answer.ended = is_terminal(row->record.phase);
  if (answer.events.empty() && !answer.ended) return false;
  answer.job = watch.call.job;
  world_.network.answer(watch.caller, std::move(answer));
  return true;
}

// Something was stored: whoever waits for the job's next event is woken by what the ledger says of it.
void SimCoordinator::tell_watches(const std::string& job) {
  const auto stored = ledger_->stored_event(job);
  const auto [begin, end] = watches_.equal_range(job);
  for (auto it = begin; it != end;) {
    const bool is_news = !stored || *stored > it->second.call.after;
    if (!is_news || !tell(it->second)) {
      ++it;
      continue;
    }
    job_of_watch_.erase(it->second.number);
    it = watches_.erase(it);
  }
}

// Nobody has woken it for a while.
void SimCoordinator::look(std::uint64_t number) {
  const auto known = job_of_watch_.find(number);
  if (known == job_of_watch_.end()) return;
  const std::string job = known->second;
  const auto [begin, end] = watches_.equal_range(job);
  const auto it = std::find_if(begin, end, [&](const auto& entry) { return entry.second.number == number; });
  if (!tell(it->second)) return after(kLookMs, kLook, number);
  job_of_watch_.erase(known);
  watches_.erase(it);
  if (world_.storage.row(job))
    throw Violation{"watchers-are-woken", job, "an event was stored, and its watcher slept on"};
}

void SimCoordinator::handle(const Caller& caller, const PauseProjectInput& input) {
  apply_and_answer(input, {Waiting::Call::kPause, caller});
}

void SimCoordinator::handle(const Caller& caller, const PauseWorkerInput& input) {
  apply_and_answer(input, {Waiting::Call::kPause, caller});
}

void SimCoordinator::handle(const Caller& caller, const QuotaInput& input) {
  apply_and_answer(input, {Waiting::Call::kPause, caller});
}

void SimCoordinator::handle(const Caller& caller, const RegisterInput& input) {
  Waiting waiting{Waiting::Call::kRegister, caller};
  Batch batch;
  batch.worker = input.worker;
  batch.worker->last_seen = world_.wall();
  apply_and_answer(input, waiting, std::move(batch));
}

void SimCoordinator::handle(const Caller& caller, const RenewInput& input) {
  Waiting waiting;
  Answer answer;
  try {
    apply(input, waiting);
    answer.renewed = std::move(waiting.outcome.renewed);
  } catch (const Error& error) {
    if (error.reason() != "WORKER_NOT_FOUND") throw;
    answer.register_again = true;
  }
  world_.network.answer(caller, std::move(answer));
}

void SimCoordinator::handle(const Caller& caller, const StageInput& input) {
  Waiting waiting{Waiting::Call::kStage, caller, {}, 0, input.job, {}};
  apply_and_answer(input, waiting, {}, input.job);
}

void SimCoordinator::handle(const Caller& caller, const FinishInput& input) {
  Waiting waiting{Waiting::Call::kFinish, caller, {}, 0, input.job, {}};
  apply_and_answer(input, waiting, {}, input.job);
}

void SimCoordinator::handle(const Caller& caller, const LeaseCall& call) {
  const auto number = ++lease_calls_;
  leases_.emplace(number, Lease{caller, call, world_.now + call.wait_ms, 0});
  lease_of_call_.emplace(call_of(caller), number);
  try_lease(number);
}

void SimCoordinator::handle(const Caller& caller, const HangUp&) {
  const auto [begin, end] = lease_of_call_.equal_range(call_of(caller));
  for (auto it = begin; it != end; ++it) leases_.at(it->second).gone = true;
  std::erase_if(watches_, [&](const auto& entry) {
    const bool left = call_of(entry.second.caller) == call_of(caller);
    if (left) job_of_watch_.erase(entry.second.number);
    return left;
  });
}

void SimCoordinator::forget_lease(std::uint64_t number) {
  const auto [begin, end] = lease_of_call_.equal_range(call_of(leases_.at(number).caller));
  lease_of_call_.erase(std::find_if(begin, end, [&](const auto& entry) { return entry.second == number; }));
  leases_.erase(number);
}

// Once around the loop of Coordinator::lease().
void SimCoordinator::try_lease(std::uint64_t number) {
  const auto it = leases_.find(number);
  if (it == leases_.end() || it->second.stepping) return;
  Waiting waiting{Waiting::Call::kLease, it->second.caller, {}, number};
  try {
    it->second.stepping = apply(it->second.call.input, waiting);
    if (!it->second.stepping) wait_on(number);
  } catch (const Error& error) {
    refuse(it->second.caller, error.reason());
    forget_lease(number);
  }
}

void SimCoordinator::wait_on(std::uint64_t number) {
  Lease& lease = leases_.at(number);
  if (lease.gone || world_.now >= lease.until) {
    world_.network.answer(lease.caller, {});
    forget_lease(number);
    return;
  }
  lease.poll_at = std::min(lease.until, world_.now + world_.plan.poll_ms);
  after(lease.poll_at - world_.now, kPoll, number);
}

void SimCoordinator::poll(std::uint64_t number) {
  const auto it = leases_.find(number);
  if (it != leases_.end() && it->second.poll_at <= world_.now) try_lease(number);  // else it was woken since
}

void SimCoordinator::leased(const Waiting& waiting) {
  const auto it = leases_.find(waiting.lease);
  if (it == leases_.end()) return;
  it->second.stepping = false;
  if (!waiting.outcome.leased) return wait_on(waiting.lease);
  const JobRecord& job = *waiting.outcome.leased;
  if (it->second.gone) {  // nobody took it
    try {
      Waiting nobody;
      apply(FinishInput{job.id, job.fence, "released", "", {}}, nobody);
    } catch (const Error&) {  // and it is over already: the call fails, with nobody to hear it
    }
  } else {
    Answer answer;
    answer.leased = job;
    world_.network.answer(waiting.caller, std::move(answer));
  }
  forget_lease(waiting.lease);
}

}  // namespace wring::sim
