// Ids: their letters, their length, and that none comes twice.
#include "common/ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

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

TEST(RandomUuid, HasTheFormOfVersion4EveryTime) {
  std::set<std::string> ids;
  for (int i = 0; i < 200; ++i) {
    const std::string uuid = random_uuid();
    EXPECT_THAT(uuid,
                testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
    ids.insert(uuid);
  }
  EXPECT_EQ(ids.size(), 200u);
}

}  // namespace
}  // namespace wring
