// The worker's main loop: register, lease, run, tell.
#include "tests/sim/sim_worker.h"

#include <algorithm>
#include <utility>

#include "tests/sim/world.h"

namespace wring::sim {
namespace {

constexpr TimeMs kLeaseWaitMs = 20'000;

}  // namespace

SimWorker::SimWorker(World& world, std::uint32_t id, std::uint32_t index)
    : CallingActor(world, id), index_(index), random_(world.plan.seed, 1'000'000 + index) {
  const auto plan = world.plan.worker(index);
  record_.id = "w" + std::to_string(index);
  record_.devices = plan.devices;
  record_.memory_bytes = plan.memory_bytes;
  record_.methods = plan.methods;
}

void SimWorker::start() {
  after(random_.between(0, 500), kStart);
}

void SimWorker::on_event(std::uint32_t kind, std::uint64_t what) {
  switch (kind) {
    case kTimeout:
      return time_out(what);
    case kStart:
      draining_ = false;
      register_worker();
      return keep_at(world_.plan.heartbeat_ms / 2);
    case kAgain:
      if (what != token_) return;
      return main_ == Main::kFinishing ? tell_end() : register_worker();
    case kStage:
      if (what == token_) stage();
      return;
    case kEngineStopped:
      if (what == token_) engine_stopped();
      return;
    case kKeep:
      if (what == keeper_token_) keep();
      return;
    case kDrainTimeUp:
      if (what != attempts_ || !attempt_) return;
      stop(Stop::kDrain);
      return after(10'000, kLeave, what);
    case kLimit:
      if (what == attempts_ && attempt_) run_out();
      return;
    default:
      if (what == attempts_ && attempt_) leave(random_.between(0, 5'000));
  }
}

void SimWorker::kill() {
  if (main_ == Main::kGone) return;
  world_.note(name(), name() + " is killed");
  leave(random_.between(0, 20'000));
}

// The process ends, and another with the same id begins later.
void SimWorker::leave(TimeMs back_after) {
  hang_up_all();
  if (draining_) call(RenewInput{record_.id, {}, true}, 1'000);  // the goodbye
  ++generation_;
  ++token_;
  main_ = Main::kGone;
  attempt_.reset();
  keeper_call_ = main_call_ = 0;
  main_backoff_ = keeper_backoff_ = 0;
  paused_until_ = std::min(paused_until_, world_.now);
  after(back_after, kStart);
}

void SimWorker::drain() {
  if (main_ == Main::kGone || draining_) return;
  world_.note(name(), name() + " drains");
  draining_ = true;
  if (!attempt_) return leave(random_.between(0, 5'000));
  after(world_.plan.drain_ms, kDrainTimeUp, attempts_);
}

void SimWorker::register_worker() {
  main_ = Main::kRegistering;
  main_call_ = call(RegisterInput{record_}, 10'000);
}

void SimWorker::lease() {
  main_ = Main::kLeasing;
  main_call_ = call(LeaseCall{{record_.id, record_.devices}, kLeaseWaitMs}, kLeaseWaitMs + 10'000);
}

void SimWorker::on_answer(std::uint64_t call, Answer answer) {
  if (call == keeper_call_) {
    keeper_call_ = 0;
    return keeper_reports_ ? on_report(answer) : on_heartbeat(answer);
  }
  if (call != main_call_) return;
  main_call_ = 0;
  switch (main_) {
    case Main::kRegistering:
      if (answer.away) return after(backoff(main_backoff_, 100, 3'000), kAgain, token_);
      main_backoff_ = 0;
      return lease();
    case Main::kLeasing:
      return on_lease(std::move(answer));
    case Main::kFinishing:
      return on_told(answer);
    default:
      return;
  }
}

void SimWorker::on_lease(Answer answer) {
  if (answer.away || !answer.refused.empty()) {
    main_ = Main::kRegistering;
    return after(answer.away ? 100 : 1'000, kAgain, token_);
  }
  if (!answer.leased) return lease();
  begin(std::move(*answer.leased));
}

void SimWorker::begin(JobRecord job) {
  main_ = Main::kRunning;
  ++attempts_;
  ++token_;
  attempt_.emplace();
  const auto plan = world_.plan_of(job.id);
  attempt_->plan = world_.plan.job(plan);
  attempt_->ending = world_.plan.ending(plan, job.attempt);
  const auto stages = static_cast<std::uint32_t>(attempt_->plan.stages.size());
  attempt_->last_stage = attempt_->ending == Ending::kSuccess ? stages : plan % stages;
  attempt_->end.job = job.id;
  attempt_->end.fence = job.fence;
  attempt_->job = std::move(job);
  for (std::uint32_t i = 0; i < stages; ++i) report(i, "pending");
  after(random_.between(5, 100), kStage, token_);  // the inputs are fetched
  const JobPlan& limits = attempt_->plan;
  if (limits.max_runtime > 0 && limits.ends_in_time) after(limits.max_runtime, kLimit, attempts_);
}

// A stage is over, or the first begins.
void SimWorker::stage() {
  Attempt& attempt = *attempt_;
  if (std::exchange(attempt.in_stage, false)) {
    if (attempt.stage == attempt.last_stage) return engine_failed();
    cache_.emplace(attempt.job.id, attempt.stage);
    report(attempt.stage++, "done");
  }
  while (attempt.stage < attempt.last_stage && cache_.contains({attempt.job.id, attempt.stage}))
    report(attempt.stage++, "cached");
  if (attempt.stage == attempt.plan.stages.size()) {
    main_ = Main::kFlushing;
    if (attempt.reports.empty()) finish("succeeded");
    return;
  }
  report(attempt.stage, "running");
  attempt.in_stage = true;
  after(attempt.plan.stages[attempt.stage], kStage, token_);
}

void SimWorker::engine_failed() {
  ++world_.counts.faults[static_cast<std::size_t>(Fault::kEngine)];
  const auto attempt = static_cast<int>(attempt_->job.attempt);
  const auto stage = static_cast<int>(attempt_->stage);
  switch (attempt_->ending) {
    case Ending::kUnavailable:
      attempt_->end.error = Json{{"code", "UNAVAILABLE"}, {"reason", "DOWNLOAD"}};
      break;
    case Ending::kUserError:
      attempt_->end.error = Json{{"code", "INVALID_ARGUMENT"}, {"reason", "NAN_WEIGHTS"}, {"stage", stage}};
      break;
    case Ending::kOutOfMemory:
      attempt_->end.error =
          Json{{"code", "RESOURCE_EXHAUSTED"}, {"reason", "OUT_OF_MEMORY"}, {"stage", stage}};
      break;
    case Ending::kSameCrash:
      attempt_->end.error =
          Json{{"code", "INTERNAL"}, {"reason", "ENGINE_CRASH"}, {"signal", 11}, {"stage", stage}};
      break;
    default:
      attempt_->end.error =
          Json{{"code", "INTERNAL"}, {"reason", "ENGINE_CRASH"}, {"signal", 32 + attempt}, {"stage", stage}};
  }
  finish("failed");
}

// The engine runs for longer than it may.
void SimWorker::run_out() {
  if (main_ != Main::kRunning || attempt_->stop != Stop::kNone) return;
  attempt_->end.error = Json{{"code", "DEADLINE_EXCEEDED"}, {"reason", "MAX_RUNTIME"}};
  finish("failed");
}

void SimWorker::finish(const std::string& outcome) {
  ++token_;
  main_ = Main::kFinishing;
  attempt_->end.outcome = outcome;
  attempt_->end.result = outcome == "succeeded" ? result_of(attempt_->job.id) : "";
  tell_end();
}

void SimWorker::tell_end() {
  main_call_ = call(attempt_->end, 30'000);
}

void SimWorker::on_told(const Answer& answer) {
  if (answer.away) return after(backoff(main_backoff_, 100, 3'000), kAgain, token_);
  end_attempt();
}

void SimWorker::end_attempt() {
  main_backoff_ = 0;
  attempt_.reset();
  if (draining_) return leave(random_.between(0, 5'000));
  lease();
}

// The engine is told to stop, and has stopped soon.
void SimWorker::stop(Stop reason) {
  if (attempt_->stop != Stop::kNone) return;
  attempt_->stop = reason;
  if (main_ == Main::kFinishing) return;  // the end has been decided
  after(random_.between(0, 100), kEngineStopped, ++token_);
}

void SimWorker::engine_stopped() {
  switch (attempt_->stop) {
    case Stop::kCancel:
      return finish("cancelled");
    case Stop::kDrain:
      return finish("released");
    default:
      return end_attempt();  // the lease is lost: there is nobody to tell
  }
}

TimeMs SimWorker::backoff(TimeMs& next, TimeMs first, TimeMs most) {
  next = next == 0 ? first : std::min(2 * next, most);
  return random_.between(next / 2, next);
}

}  // namespace wring::sim
