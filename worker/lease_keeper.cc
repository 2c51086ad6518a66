// The keeper's thread: heartbeats when they are due, which bring cancels, and reports in order between them.
#include "worker/lease_keeper.h"

#include <algorithm>

#include "common/log.h"

namespace wring {
namespace {

constexpr double kBusySeconds = 0.75;  // between heartbeats of a running job: how fast a cancel comes through
constexpr double kProgressSeconds = 0.5;  // between heartbeats while progress is made
constexpr std::size_t kMostLines = 1000;

auto seconds(double value) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(value));
}

}  // namespace

LeaseKeeper::LeaseKeeper(Coordinator& coordinator, v1::Worker worker, double heartbeat_seconds,
                         std::function<v1::WorkerUse()> use)
    : coordinator_(coordinator),
      worker_(std::move(worker)),
      heartbeat_seconds_(heartbeat_seconds > 0 ? heartbeat_seconds : 5),
      use_(std::move(use)) {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

LeaseKeeper::~LeaseKeeper() = default;

void LeaseKeeper::begin(const std::string& job_id, const v1::Fence& fence, StopSignal& stop) {
  const std::lock_guard lock(mutex_);
  lease_ = Lease{job_id, fence, &stop, ++leases_};
  changed_.notify_all();
}

void LeaseKeeper::progress(const v1::Progress& progress) {
  const std::lock_guard lock(mutex_);
  if (!lease_) return;
  lease_->progress[progress.stage()] = progress;
  changed_.notify_all();
}

void LeaseKeeper::log(const std::string& line) {
  const std::lock_guard lock(mutex_);
  if (!lease_) return;
  lease_->log.push_back(line);
  ++lease_->logged;
  if (lease_->log.size() > kMostLines) lease_->log.pop_front();
}

void LeaseKeeper::report(v1::StageStatus stage, std::vector<v1::Evaluation> evaluations) {
  const std::lock_guard lock(mutex_);
  if (!lease_) return;
  v1::ReportStageRequest request;
  request.set_job_id(lease_->job_id);
  *request.mutable_fence() = lease_->fence;
  *request.mutable_stage() = std::move(stage);
  for (auto& row : evaluations) *request.add_evaluations() = std::move(row);
  lease_->reports.push_back(std::move(request));
  changed_.notify_all();
}

void LeaseKeeper::flush() {
  std::unique_lock lock(mutex_);
  if (lease_) lease_->flushing = true;
  changed_.notify_all();
  while (lease_ && !(lease_->reports.empty() && lease_->log.empty()) && !*lease_->stop)
    changed_.wait_for(lock, std::chrono::milliseconds(50));
}

void LeaseKeeper::end() {
  const std::lock_guard lock(mutex_);
  lease_.reset();
}

void LeaseKeeper::set_draining() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  changed_.notify_all();
}

LeaseKeeper::Lease* LeaseKeeper::lease(std::uint64_t number) {
  return lease_ && lease_->number == number ? &*lease_ : nullptr;
}

// Whether something is to be told now, and not with the heartbeat that is due next.
bool LeaseKeeper::is_urgent() const {
  return lease_ && (!lease_->reports.empty() || (lease_->flushing && !lease_->log.empty()));
}

LeaseKeeper::Time LeaseKeeper::next_due(Time last) const {
  double wait = 0.5 * heartbeat_seconds_;
  if (lease_)
    wait = std::min(wait, lease_->progress.empty() && lease_->log.empty() ? kBusySeconds : kProgressSeconds);
  return last + seconds(wait);
}

void LeaseKeeper::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  Backoff backoff(0.1, 2);
  auto last = std::chrono::steady_clock::now();
  while (!stop.stop_requested()) {
    const bool due = std::chrono::steady_clock::now() >= next_due(last);
    if (!due && !is_urgent()) {
      const auto due_at = next_due(last);
      changed_.wait_until(lock, stop, due_at, [&] { return is_urgent() || next_due(last) < due_at; });
      continue;
    }
    bool answered;
    if (!due && lease_ && !lease_->reports.empty()) {
      answered = send_report(lock);
    } else {
      answered = send_heartbeat(lock);
      last = std::chrono::steady_clock::now();
    }
    if (answered)
      backoff.reset();
    else
      changed_.wait_for(lock, stop, seconds(backoff.next_seconds()), [] { return false; });
  }
}

// Returns whether the server answered, with whatever.
bool LeaseKeeper::send_report(std::unique_lock<std::mutex>& lock) {
  const auto number = lease_->number;
  const auto request = lease_->reports.front();
  std::optional<Error> error;
  lock.unlock();
  try {
    coordinator_.report_stage(request);
  } catch (const Error& e) {
    error = e;
  }
  lock.lock();
  if (error && is_away(*error)) return false;
  auto* const lease = this->lease(number);
  if (!lease) return true;
  if (error && error->reason() == "STALE_LEASE")
    lease->stop->set(Stop::kLost);
  else if (error)
    spdlog::warn("job {}: the server does not take the report of a step: {}", lease->job_id, error->what());
  lease->reports.pop_front();
  changed_.notify_all();
  return true;
}

bool LeaseKeeper::send_heartbeat(std::unique_lock<std::mutex>& lock) {
  v1::HeartbeatRequest request;
  request.set_worker_id(worker_.id());
  request.set_draining(draining_);
  std::uint64_t number = 0, logged = 0;
  if (lease_) {
    number = lease_->number;
    logged = lease_->logged;
    auto* const status = request.add_leases();
    status->set_job_id(lease_->job_id);
    *status->mutable_fence() = lease_->fence;
    for (const auto& [stage, progress] : lease_->progress) *status->add_progress() = progress;
    lease_->progress.clear();
    for (const auto& line : lease_->log) status->add_log(line);
  }
  lock.unlock();
  std::optional<v1::HeartbeatResponse> response;
  bool answered = true;
  try {
    *request.mutable_use() = use_();
    response = coordinator_.heartbeat(request);
    if (response->register_again()) coordinator_.register_worker(worker_);
  } catch (const Error& error) {
    answered = !is_away(error);
    if (answered) spdlog::warn("the server refuses the heartbeat: {}", error.what());
  }
  lock.lock();
  if (auto* const lease = this->lease(number); lease && answered) {
    while (!lease->log.empty() && lease->logged - lease->log.size() < logged) lease->log.pop_front();
    changed_.notify_all();
  }
  if (response) obey(*response, number);
  return answered;
}

void LeaseKeeper::obey(const v1::HeartbeatResponse& response, std::uint64_t number) {
  auto* const lease = this->lease(number);
  if (!lease) return;
  for (const auto& answer : response.answers()) {
    if (answer.job_id() != lease->job_id) continue;
    if (answer.action() == "cancel") lease->stop->set(Stop::kCancel);
    if (answer.action() == "lost") lease->stop->set(Stop::kLost);
  }
}

}  // namespace wring
