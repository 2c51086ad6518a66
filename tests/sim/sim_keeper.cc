// The worker's lease keeper: one call at a time; reports in order first, heartbeats when they are due.
#include <algorithm>

#include "tests/sim/sim_worker.h"
#include "tests/sim/world.h"

namespace wring::sim {

void SimWorker::report(std::uint32_t index, const char* state) {
  attempt_->reports.push_back(
      {attempt_->job.id, attempt_->job.fence, index, state, Json{{"index", index}, {"state", state}}});
  if (keeper_call_ == 0 && keeper_backoff_ == 0) keep_at(0);
}

void SimWorker::keep_at(TimeMs delay) {
  after(delay, kKeep, ++keeper_token_);
}

void SimWorker::keep() {
  if (main_ == Main::kGone || keeper_call_ != 0) return;
  keeper_attempt_ = attempts_;
  keeper_registers_ = false;
  keeper_reports_ = attempt_ && !attempt_->reports.empty();
  if (keeper_reports_) {
    keeper_call_ = call(attempt_->reports.front(), 10'000);
    return;
  }
  if (world_.now < heartbeat_due_) return keep_at(heartbeat_due_ - world_.now);
  RenewInput heartbeat{record_.id, {}, draining_};
  if (attempt_) heartbeat.leases.emplace_back(attempt_->job.id, attempt_->job.fence);
  keeper_call_ = call(std::move(heartbeat), 5'000);
}

void SimWorker::on_report(const Answer& answer) {
  if (answer.away) return keep_at(backoff(keeper_backoff_, 100, 2'000));
  keeper_backoff_ = 0;
  if (attempt_ && keeper_attempt_ == attempts_) {
    attempt_->reports.pop_front();
    if (answer.refused == "STALE_LEASE") stop(Stop::kLost);
    if (main_ == Main::kFlushing && attempt_->reports.empty() && attempt_->stop == Stop::kNone)
      finish("succeeded");
  }
  keep();
}

void SimWorker::on_heartbeat(const Answer& answer) {
  const TimeMs busy = attempt_ ? std::min(world_.plan.busy_ms, world_.plan.heartbeat_ms / 2) : 0;
  heartbeat_due_ = world_.now + (attempt_ ? busy : world_.plan.heartbeat_ms / 2);
  if (answer.away) return keep_at(backoff(keeper_backoff_, 100, 2'000));
  keeper_backoff_ = 0;
  if (!keeper_registers_ && answer.register_again) {
    keeper_registers_ = true;
    keeper_call_ = call(RegisterInput{record_}, 10'000);
    return;
  }
  if (attempt_ && keeper_attempt_ == attempts_ && !answer.renewed.empty()) {
    if (answer.renewed.front() == LeaseAction::kCancel) stop(Stop::kCancel);
    if (answer.renewed.front() == LeaseAction::kLost) stop(Stop::kLost);
  }
  keep();
}

}  // namespace wring::sim
