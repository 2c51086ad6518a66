// The sweeps' thread.
#include "server/sweeps/runner.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "server/sweeps/bounds.h"
#include "server/sweeps/outcome.h"

namespace wring {

using namespace std::chrono_literals;

namespace {

void see_outcome(TrialView& view, const Json& outcome, const Sweep& sweep) {
  view.measured = measured_of(outcome, sweep.objectives, sweep.constraints);
  if (sweep.has_goal()) view.outcome = outcome;
}

TrialView to_view(const TrialRow& row, const Sweep& sweep) {
  TrialView view;
  view.at = json_at<Coordinates>(row.point, "at", "trial");
  view.rung = json_or<std::uint32_t>(row.point, "rung", 0);
  view.parent = json_or<std::int64_t>(row.point, "parent", -1);
  view.ended = !row.outcome.empty();
  if (view.ended) see_outcome(view, row.outcome, sweep);
  return view;
}

// So many trials that cannot be made, one after the other, end a sweep that has nothing else.
constexpr std::size_t kMostRefused = 100;
// One thread serves all sweeps, and refused trials never fill what a sweep may have open.
constexpr int kMadeAtOnce = 1000;

std::vector<Json> values_of(const Sweep& sweep, const Proposal& proposal) {
  if (!proposal.recipe.is_null()) return {proposal.label};
  return sweep.space.values(proposal.at);
}

v1::SubmitJobRequest job_request(const StoredSweep& stored, const Sweep& sweep, const TrialInputs& inputs,
                                 std::uint64_t number) {
  v1::SubmitJobRequest request;
  v1::JobSpec& job = *request.mutable_spec() = trial_settings(stored.spec, sweep);
  const auto& name = stored.spec.name().empty() ? sweep.name : stored.spec.name();
  job.set_name((name.empty() ? "sweep " + stored.record.id : name) + "/" + std::to_string(number));
  job.set_recipe(inputs.recipe);
  job.set_model(digest_of(inputs.model, stored.spec));
  for (const auto& [data, text] : inputs.data) (*job.mutable_data())[data] = digest_of(text, stored.spec);
  job.set_seed(inputs.seed);
  job.set_project(stored.record.project);
  return request;
}

}  // namespace

std::string digest_of(const std::string& text, const v1::SweepSpec& spec) {
  const auto it = spec.inputs().find(text);
  return it == spec.inputs().end() ? text : it->second;
}

v1::JobSpec trial_settings(const v1::SweepSpec& spec, const Sweep& sweep) {
  v1::JobSpec job;
  *job.mutable_resources() = spec.resources();
  if (!sweep.worker_class.empty()) job.mutable_resources()->set_worker_class(sweep.worker_class);
  *job.mutable_retry() = spec.retry();
  job.set_max_runtime_seconds(spec.max_runtime_seconds());
  job.set_priority(spec.priority());
  if (spec.has_retention()) *job.mutable_retention() = spec.retention();
  return job;
}

TrialInputs inputs_of(const Sweep& sweep, const Proposal& proposal) {
  if (!proposal.recipe.is_null()) return trial_of_recipe(sweep, proposal.recipe);
  return trial_of(sweep, values_of(sweep, proposal), proposal.rung);
}

SweepRunner::SweepRunner(JobStore& store, Coordinator& coordinator, const Clock& clock)
    : store_(store), coordinator_(coordinator), clock_(clock) {
  coordinator_.on_end([this](const std::string& job) {
    const std::lock_guard lock(mutex_);
    ended_.push_back(job);
    woken_ = true;
    news_.notify_one();
  });
  thread_ = std::thread([this] { run(); });
}

SweepRunner::~SweepRunner() {
  coordinator_.on_end({});
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  news_.notify_one();
  thread_.join();
}

void SweepRunner::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  news_.notify_one();
}

std::string SweepRunner::waiting_reason(const std::string& sweep) const {
  const std::lock_guard lock(mutex_);
  const auto it = waiting_.find(sweep);
  return it == waiting_.end() ? "" : it->second;
}

std::string SweepRunner::strategy_state(const std::string& sweep) const {
  const std::lock_guard lock(mutex_);
  const auto it = states_.find(sweep);
  return it == states_.end() ? "" : it->second;
}

void SweepRunner::wait_for(const std::string& id, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (reason.empty())
    waiting_.erase(id);
  else
    waiting_[id] = reason;
}

void SweepRunner::run() {
  guard([&] { note_ends(store_.read([](Connection& db) { return ends_to_note(db, true); })); });
  for (bool look = false;;) {
    guard([&] { round(look); });
    std::unique_lock lock(mutex_);
    // Time bounds, full queues and disks, and jobs that were deleted are noticed by looking.
    look = !news_.wait_for(lock, live_.empty() ? 60s : 1s, [&] { return stopping_ || woken_; });
    if (stopping_) return;
    woken_ = false;
  }
}

template <typename Body>
void SweepRunner::guard(Body body) {
  try {
    body();
  } catch (...) {  // tried again with the next round
    spdlog::error("sweeps: {}", current_error().what());
  }
}

void SweepRunner::round(bool look) {
  std::vector<std::string> heard;
  {
    const std::lock_guard lock(mutex_);
    heard.swap(ended_);
  }
  note_ends(store_.read([&](Connection& db) {
    if (look) return ends_to_note(db, false);
    std::vector<TrialEnd> ends;
    for (const auto& job : heard)
      if (auto end = end_to_note(db, job)) ends.push_back(*std::move(end));
    return ends;
  }));
  const auto open = store_.read([](Connection& db) { return open_sweeps(db); });
  std::erase_if(live_, [&](const auto& known) {
    return std::find(open.begin(), open.end(), known.first) == open.end();
  });
  for (const auto& id : open) guard([&] { advance(id); });
}

void SweepRunner::note_ends(std::vector<TrialEnd> ends) {
  if (ends.empty()) return;
  std::vector<Json> outcomes;
  for (auto& end : ends) {
    const auto job = store_.job(end.job);
    if (!job) end.phase = static_cast<int>(JobPhase::kCancelled);  // somebody deleted it
    outcomes.push_back(job ? outcome_of(*job, store_)
                           : Json{{"error", Error(ErrorCode::kNotFound, "JOB_NOT_FOUND",
                                                  "job " + end.job + " was deleted", "job")
                                                .to_json()}});
  }
  store_.change([&](Connection& db) {
    for (std::size_t i = 0; i < ends.size(); ++i) put_trial_end(db, ends[i], outcomes[i]);
  });
  for (std::size_t i = 0; i < ends.size(); ++i) see_end(ends[i], outcomes[i]);
}

void SweepRunner::see_end(const TrialEnd& end, const Json& outcome) {
  const auto it = live_.find(end.sweep);
  if (it == live_.end()) return;
  Live& live = it->second;
  TrialView& trial = live.trials.at(end.number);
  if (trial.ended) return rebuild(live);  // retried: what followed from its first end may not
  trial.ended = true;
  see_outcome(trial, outcome, live.sweep);
  --live.open;
  live.bytes += json_or<std::uint64_t>(outcome, "bytes", 0);
  live.succeeded += end.phase == static_cast<int>(JobPhase::kSucceeded);
}

std::optional<StoredSweep> SweepRunner::find(const std::string& id) {
  return store_.read([&](Connection& db) { return find_sweep(db, id); });
}

void SweepRunner::advance(const std::string& id) {
  auto stored = find(id);
  if (!stored) return;
  if (!live_.contains(id)) {
    Live live;
    live.stored = *stored;
    try {
      live.sweep = read_sweep(stored->spec.sweep(), stored->spec.recipe());
      rebuild(live);
    } catch (...) {
      const auto error = current_error();
      spdlog::error("sweep {}: {}", id, error.what());
      return end(stored->record, SweepPhase::kFailed, error.message());
    }
    live_.emplace(id, std::move(live));
  }
  Live& live = live_.at(id);
  if (stored->record.phase == SweepPhase::kCancelling) cancel_trials(id);
  Step step = Step::kMade;
  for (int made = 0; step == Step::kMade && made < kMadeAtOnce; ++made) step = make_trial(live);
  if (step == Step::kMade) wake();  // the other sweeps' turn comes first
  {
    const std::lock_guard lock(mutex_);
    states_[id] = live.strategy->state(live.trials);
  }
  if (live.open > 0) return;
  switch (live.stored.record.phase) {
    case SweepPhase::kStopping:
      return end(live.stored.record, SweepPhase::kStopped, "it was stopped");
    case SweepPhase::kCancelling:
      return end(live.stored.record, SweepPhase::kCancelled, "it was cancelled");
    case SweepPhase::kRunning:
      if (step == Step::kDone)
        end(live.stored.record, live.succeeded > 0 ? SweepPhase::kSucceeded : SweepPhase::kFailed,
            live.end_reason);
      return;
    default:
      return;
  }
}

// From the rows, as after a restart.
void SweepRunner::rebuild(Live& live) {
  live.trials.clear();
  live.open = live.succeeded = 0;
  live.bytes = 0;
  live.strategy = make_strategy(live.sweep, live.stored.record.extents);
  constexpr int kPage = 1000;
  for (bool more = true; more;) {
    const auto page = store_.read(
        [&](Connection& db) { return list_trials(db, live.stored.record.id, live.trials.size(), kPage); });
    for (const auto& row : page) {
      live.trials.push_back(to_view(row, live.sweep));
      live.open += !live.trials.back().ended;
      live.succeeded += row.outcome.contains("metrics");
      live.bytes += json_or<std::uint64_t>(row.outcome, "bytes", 0);
    }
    more = page.size() == kPage;
  }
}

void SweepRunner::cancel_trials(const std::string& id) {
  for (const auto& job : store_.read([&](Connection& db) { return open_trial_jobs(db, id); })) {
    try {
      coordinator_.cancel({}, job, {});
    } catch (const Error& error) {  // it has ended, or was deleted, in between
      if (error.code() != ErrorCode::kFailedPrecondition && error.code() != ErrorCode::kNotFound) throw;
    }
  }
}

SweepRunner::Step SweepRunner::make_trial(Live& live) {
  const std::lock_guard rows(rows_);
  const std::string id = live.stored.record.id;
  const auto stored = find(id);
  if (!stored) return Step::kWait;
  if (stored->record.extents != live.stored.record.extents)
    live.strategy = make_strategy(live.sweep, stored->record.extents);
  live.stored = *stored;
  const SweepRecord& record = live.stored.record;
  if (record.phase != SweepPhase::kRunning) return Step::kWait;
  if (auto reason = bound_reached(record, live.trials.size(), live.bytes, clock_.now_ms()); !reason.empty()) {
    live.end_reason = std::move(reason);
    return Step::kDone;
  }
  if (auto reason =
          failures_reached(live.sweep.bounds.failures, live.succeeded, live.trials.size() - live.open);
      !reason.empty()) {
    live.end_reason = std::move(reason);
    return Step::kDone;
  }
  if (live.refused >= kMostRefused && live.succeeded == 0 && live.open == 0) {
    live.end_reason =
        std::to_string(live.refused) + " trials in a row were refused; the last one: " + live.refusal;
    return Step::kDone;
  }
  if (live.open >= live.sweep.parallel) return Step::kWait;
  const Next next = live.strategy->next(live.trials);
  if (next.advice == Advice::kWait) return Step::kWait;
  if (next.advice == Advice::kTry) return submit_trial(live, next.proposal) ? Step::kMade : Step::kWait;
  live.end_reason = next.reason.empty() ? "the strategy has tried all that it would" : next.reason;
  if (!record.exhausted) {
    live.stored.record.exhausted = true;
    store_.change([&](Connection& db) { update_sweep(db, live.stored.record); });
  }
  return Step::kDone;
}

// Whether it is made; otherwise it is tried again later.
bool SweepRunner::submit_trial(Live& live, const Proposal& proposal) {
  const std::string& id = live.stored.record.id;
  NewTrial trial{id,
                 live.trials.size(),
                 {{"at", proposal.at},
                  {"values", values_of(live.sweep, proposal)},
                  {"rung", proposal.rung},
                  {"parent", proposal.parent}}};
  if (const auto& fidelity = live.sweep.strategy.fidelity)
    trial.point["fidelity"] = fidelity->value(proposal.rung);
  TrialView view{proposal.at, proposal.rung, proposal.parent, false, {}, {}};
  try {
    const auto inputs = inputs_of(live.sweep, proposal);
    coordinator_.submit({}, job_request(live.stored, live.sweep, inputs, trial.number), trial);
    ++live.open;
    live.refused = 0;
  } catch (...) {
    const auto error = current_error();
    if (error.code() == ErrorCode::kResourceExhausted || error.code() == ErrorCode::kUnavailable) {
      wait_for(id, error.message());
      return false;
    }
    store_.change([&](Connection& db) { put_failed_trial(db, trial, error.to_json()); });
    view.ended = true;
    ++live.refused;
    live.refusal = error.message();
  }
  wait_for(id, "");
  live.trials.push_back(std::move(view));
  return true;
}

void SweepRunner::end(SweepRecord record, SweepPhase phase, const std::string& reason) {
  const std::lock_guard rows(rows_);
  const auto stored = find(record.id);
  if (!stored || stored->record.version != record.version) return;  // somebody changed it: the next round
  record.phase = phase;
  record.end_time = clock_.now_ms();
  record.end_reason = reason;
  ++record.version;
  store_.change([&](Connection& db) { update_sweep(db, record); });
  wait_for(record.id, "");
  {
    const std::lock_guard lock(mutex_);
    states_.erase(record.id);
  }
  wake();
  spdlog::info("sweep {} ended: {}", record.id, reason);
  live_.erase(record.id);  // an extension begins anew; `reason` is gone
}

}  // namespace wring
