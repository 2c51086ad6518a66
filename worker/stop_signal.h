// Why a running attempt is to end early: said once by whoever knows first, read by all who work on it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace wring {

enum class Stop {
  kNone,
  kCancel,  // the user's wish: stop, and say so
  kLost,    // the lease is another's: stop, and say nothing
  kDrain,   // this worker goes: give the job back
};

// Any thread may call.
class StopSignal {
 public:
  // The first reason stays, except that a lost lease overrules the others.
  void set(Stop reason) {
    const std::lock_guard lock(mutex_);
    if (reason_ == Stop::kNone || reason == Stop::kLost) reason_ = reason;
    changed_.notify_all();
  }

  Stop reason() const {
    const std::lock_guard lock(mutex_);
    return reason_;
  }
  explicit operator bool() const { return reason() != Stop::kNone; }

  // Sleeps, or returns true as soon as a reason is there.
  bool wait(double seconds) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                             [&] { return reason_ != Stop::kNone; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Stop reason_ = Stop::kNone;
};

}  // namespace wring
