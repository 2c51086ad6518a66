// Clocks: the system's tells the time of day, the manual one moves only when it is told to.
#include "common/clock.h"

#include <gtest/gtest.h>

#include <ctime>

namespace wring {
namespace {

// Milliseconds since the epoch, from clock_gettime.
TimeMs posix_now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return TimeMs{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

TEST(SystemClock, TellsMillisecondsSinceTheUnixEpoch) {
  const TimeMs before = posix_now_ms(), now = SystemClock().now_ms(), after = posix_now_ms();
  EXPECT_LE(before, now);
  EXPECT_LE(now, after);
}

TEST(ManualClock, StandsStillUntilItIsToldToMove) {
  ManualClock clock(1'000);
  EXPECT_EQ(clock.now_ms(), 1'000);
  EXPECT_EQ(clock.now_ms(), 1'000);
  clock.advance(250);
  EXPECT_EQ(clock.now_ms(), 1'250);
  EXPECT_EQ(ManualClock().now_ms(), 0);
}

TEST(Stopwatch, CountsSecondsFromItsConstruction) {
  const auto outer_start = std::chrono::steady_clock::now();
  const Stopwatch watch;
  const auto inner_start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - inner_start < std::chrono::milliseconds(2)) {
  }
  const double seconds = watch.seconds();
  EXPECT_GE(seconds, 0.002);
  EXPECT_LE(seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - outer_start).count());
}

}  // namespace
}  // namespace wring
