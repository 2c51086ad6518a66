// One thread that sleeps until the call that waits longest is over its limit.
#include "server/api/silence_limit.h"

#include "common/log.h"

namespace wring {

SilenceLimit::SilenceLimit(double seconds)
    : limit_(std::chrono::duration_cast<std::chrono::steady_clock::duration>(
          std::chrono::duration<double>(seconds))),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

SilenceLimit::~SilenceLimit() = default;

SilenceLimit::Waiting::Waiting(SilenceLimit& at, grpc::ServerContext& context) : at_(at) {
  const std::lock_guard lock(at_.mutex_);
  entry_ = at_.waiting_.insert(at_.waiting_.end(), {std::chrono::steady_clock::now() + at_.limit_, &context});
  if (at_.waiting_.size() == 1) at_.changed_.notify_all();
}

SilenceLimit::Waiting::~Waiting() {
  const std::lock_guard lock(at_.mutex_);
  (entry_->context ? at_.waiting_ : at_.cancelled_).erase(entry_);
}

void SilenceLimit::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (waiting_.empty()) {
      changed_.wait(lock, stop, [&] { return !waiting_.empty(); });
      continue;
    }
    const auto until = waiting_.front().until;
    if (std::chrono::steady_clock::now() < until) {
      changed_.wait_until(lock, stop, until, [] { return false; });
      continue;
    }
    spdlog::info("{} let a message wait for too long: its call is cancelled",
                 waiting_.front().context->peer());
    std::exchange(waiting_.front().context, nullptr)->TryCancel();
    cancelled_.splice(cancelled_.end(), waiting_, waiting_.begin());
  }
}

}  // namespace wring
