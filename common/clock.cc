// The system's clocks.
#include "common/clock.h"

namespace wring {

SystemClock::SystemClock()
    : start_(std::chrono::duration_cast<std::chrono::milliseconds>(
                 std::chrono::system_clock::now().time_since_epoch())
                 .count()) {}

TimeMs SystemClock::now_ms() const {
  return start_ + static_cast<TimeMs>(since_.seconds() * 1000);
}

}  // namespace wring
