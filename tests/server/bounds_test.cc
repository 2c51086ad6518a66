// When a sweep's bounds are reached, and how they are raised.
#include "server/sweeps/bounds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <utility>
#include <vector>

#include "common/error.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

SweepRecord record(std::uint64_t trials, std::uint64_t bytes, double seconds) {
  SweepRecord record;
  record.create_time = 1'000'000;
  record.trials = trials;
  record.bytes = bytes;
  record.seconds = seconds;
  if (trials > 0) record.extents = {trials};
  return record;
}

v1::SweepBounds more(std::uint64_t trials, std::uint64_t bytes, double seconds) {
  v1::SweepBounds more;
  more.set_trials(trials);
  more.set_bytes(bytes);
  more.set_seconds(seconds);
  return more;
}

TEST(SweepBounds, EachEndsASweepWhenItIsReachedAndNotBefore) {
  const auto all = record(3, 100, 60);
  EXPECT_EQ(bound_reached(all, 2, 99, 1'059'999), "");
  EXPECT_EQ(bound_reached(all, 3, 99, 1'059'999), "bounds.trials is reached");
  EXPECT_EQ(bound_reached(all, 2, 100, 1'059'999), "bounds.bytes is reached");
  EXPECT_EQ(bound_reached(all, 2, 99, 1'060'000), "bounds.seconds is reached");
  EXPECT_EQ(bound_reached(record(0, 0, 0), 1'000'000, 1ull << 50, 1ll << 50), "");
}

TEST(SweepBounds, MoreIsAddedAndEachExtensionOfTrialsIsRemembered) {
  auto extended = record(3, 100, 60);
  extend_bounds(extended, more(2, 50, 30), 1'010'000);
  EXPECT_EQ(extended.trials, 5u);
  EXPECT_EQ(extended.extents, (std::vector<std::uint64_t>{3, 2}));
  EXPECT_EQ(extended.bytes, 150u);
  EXPECT_EQ(extended.seconds, 90);
}

TEST(SweepBounds, MoreTimeIsFromNowOnWhereTheBoundHasPassed) {
  auto extended = record(0, 0, 60);
  extend_bounds(extended, more(0, 0, 30), 1'500'000);  // 500 s after it was submitted
  EXPECT_EQ(extended.seconds, 530);
  EXPECT_EQ(bound_reached(extended, 0, 0, 1'529'999), "");
  EXPECT_EQ(bound_reached(extended, 0, 0, 1'530'000), "bounds.seconds is reached");
}

TEST(SweepBounds, WhatIsNotThereOrTooMuchIsRefusedWithItsField) {
  using Case = std::pair<v1::SweepBounds, const char*>;
  auto unbounded = record(0, 0, 0);
  for (const auto& [asked, field] : std::vector<Case>{
           {more(1, 0, 0), "more.trials"}, {more(0, 1, 0), "more.bytes"}, {more(0, 0, 1), "more.seconds"}}) {
    const auto error = thrown_by([&, &asked = asked] { extend_bounds(unbounded, asked, 0); });
    EXPECT_EQ(error.reason(), "NO_SUCH_BOUND") << field;
    EXPECT_EQ(error.field(), field);
  }
  auto bounded = record(3, 100, 60);
  for (const auto& [asked, field] :
       std::vector<Case>{{more(1'000'000, 0, 0), "more.trials"},
                         {more(0, ~0ull, 0), "more.bytes"},
                         {more(0, 0, 1e9), "more.seconds"},
                         {more(0, 0, -1), "more.seconds"},
                         {more(0, 0, std::numeric_limits<double>::quiet_NaN()), "more.seconds"}}) {
    const auto error = thrown_by([&, &asked = asked] { extend_bounds(bounded, asked, 1'000'000); });
    EXPECT_EQ(error.reason(), "OUT_OF_RANGE") << field;
    EXPECT_EQ(error.field(), field);
  }
  EXPECT_EQ(bounded.extents.size(), 1u);
}

}  // namespace
}  // namespace wring
