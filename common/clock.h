// Time, injected where a test must control it.
#pragma once

#include <chrono>
#include <cstdint>

namespace wring {

// Milliseconds since the Unix epoch.
using TimeMs = std::int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimeMs now_ms() const = 0;
};

// Stands still until it is told to move. One thread.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(TimeMs start = 0) : now_(start) {}
  TimeMs now_ms() const override { return now_; }
  void advance(TimeMs by) { now_ += by; }

 private:
  TimeMs now_;
};

// Seconds since construction, by a clock that never jumps.
class Stopwatch {
 public:
  Stopwatch() : start_(std::chrono::steady_clock::now()) {}
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_;
};

// The wall clock as it was at construction, going on without jumps: a clock that is set while leases run
// takes none of them away. After a restart it is the wall clock's time again.
class SystemClock final : public Clock {
 public:
  SystemClock();
  TimeMs now_ms() const override;

 private:
  TimeMs start_;
  Stopwatch since_;
};

}  // namespace wring
