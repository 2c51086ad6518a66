// Ids: their letters, their length, and that none comes twice.
#include "common/ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

namespace wring {
namespace {

TEST(RandomId, UsesAllOfCrockfordsLettersAndNoOther) {
  const std::string id = random_id(10'000);  // a letter is missing once in 10^136 runs
  EXPECT_EQ(id.size(), 10'000u);
  const std::set<char> letters(id.begin(), id.end());
  EXPECT_EQ(std::string(letters.begin(), letters.end()), "0123456789abcdefghjkmnpqrstvwxyz");
}

TEST(RandomId, IsAsLongAsAskedFor) {
  EXPECT_EQ(random_id(0), "");
  EXPECT_EQ(random_id(1).size(), 1u);
  EXPECT_EQ(random_id().size(), 12u);
}

TEST(RandomId, DoesNotComeTwiceInThousands) {
  std::set<std::string> ids;
  for (int i = 0; i < 2'000; ++i) ids.insert(random_id());
  EXPECT_EQ(ids.size(), 2'000u);
}

TEST(NeighbouringIds, BeginAlikeWithinAMomentAndOtherwiseNot) {
  NeighbouringIds ids;
  std::set<std::string> all, beginnings;
  for (std::int64_t now = 1'000'000; now < 1'000'000 + 20 * 250; ++now) {
    const std::string id = ids.next(now);
    all.insert(id);
    beginnings.insert(id.substr(0, 3));
  }
  EXPECT_EQ(all.size(), 5'000u);
  EXPECT_GE(beginnings.size(), 18u);  // 20 of 32,768: two may be the same
  EXPECT_LE(beginnings.size(), 20u);
  const std::string one = ids.next(0);  // a clock that was set back
  EXPECT_EQ(one.size(), 12u);
  EXPECT_EQ(ids.next(1).substr(0, 3), one.substr(0, 3));
}

TEST(RandomUuid, HasTheFormOfVersion7EveryTimeAndTheClocksOrder) {
  std::set<std::string> ids;
  const std::string before = random_uuid();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_LT(before, random_uuid());
  for (int i = 0; i < 200; ++i) {
    const std::string uuid = random_uuid();
    EXPECT_THAT(uuid,
                testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
    ids.insert(uuid);
  }
  EXPECT_EQ(ids.size(), 200u);
}

TEST(IsUuid, TakesTheirFormAlone) {
  EXPECT_TRUE(is_uuid(random_uuid()));
  EXPECT_TRUE(is_uuid("9C1F3AD8-54f6-1b0e-0a3f-3a2f62c7f001"));
  for (const char* text : {"", "my-request", "9c1f3ad854f64b0e8a3f3a2f62c7f001",
                           "9c1f3ad8-54f6-4b0e-8a3f-3a2f62c7f00g", "9c1f3ad8-54f6-4b0e-8a3f-3a2f62c7f0011"})
    EXPECT_FALSE(is_uuid(text)) << text;
}

}  // namespace
}  // namespace wring
