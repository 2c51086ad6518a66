// A std::shared_mutex where who wants it alone gets it, however many come to share it: those who come later
// wait.
#pragma once

#include <mutex>
#include <shared_mutex>

namespace wring {

// To be held by std::lock_guard and std::shared_lock. A thread that shares it must not lock it again.
class FairSharedMutex {
 public:
  void lock() {
    const std::lock_guard turn(turn_);
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }
  void lock_shared() {
    const std::lock_guard turn(turn_);
    mutex_.lock_shared();
  }
  void unlock_shared() { mutex_.unlock_shared(); }

 private:
  std::mutex turn_;
  std::shared_mutex mutex_;
};

}  // namespace wring
