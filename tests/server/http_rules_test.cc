// Which calls HTTP reaches, and the tags that polls are answered by: without a socket.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "server/api/calls.h"
#include "server/auth/access.h"
#include "server/http/recent_tags.h"
#include "server/http/rules.h"

namespace wring {
namespace {

// What no rule reaches and no gRPC service runs would be a hole; what both reach must be of the same types.
TEST(HttpRules, ReachEveryCallForPeopleAndNoOther) {
  std::set<std::string> reached, wanted;
  for (const auto& rule : http_rules()) {
    reached.insert(rule.name);
    if (rule.raw_body || rule.raw_response) continue;
    const auto* const call = find_call(rule.name);
    ASSERT_TRUE(call) << rule.name;
    EXPECT_EQ(call->request, rule.method->input_type()) << rule.name;
    EXPECT_EQ(call->response, rule.method->output_type()) << rule.name;
  }
  for (const auto& access : access_table())
    if (access.people && access.method != "Jobs/WatchJob") wanted.emplace(access.method);
  EXPECT_EQ(reached, wanted);
  for (const auto& call : calls()) EXPECT_TRUE(reached.contains(std::string(call.method))) << call.method;
}

TEST(RecentTags, CountForTheVersionThatTheyWereMadeOfAndNotForLong) {
  RecentTags tags;
  EXPECT_EQ(tags.find("a", 1, 0), std::nullopt);
  tags.put("a", 1, 5000, "tag");
  EXPECT_EQ(tags.find("a", 1, 5999), "tag");
  EXPECT_EQ(tags.find("a", 1, 6000), std::nullopt);
  EXPECT_EQ(tags.find("a", 1, 4999), std::nullopt) << "the clock was set back";
  EXPECT_EQ(tags.find("a", 2, 5000), std::nullopt);
  EXPECT_EQ(tags.find("b", 1, 5000), std::nullopt);
  for (int i = 0; i < 1000; ++i) tags.put(std::to_string(i), 1, 5000, "t");
  EXPECT_EQ(tags.find("a", 1, 5000), std::nullopt) << "it grows without end";
  EXPECT_EQ(tags.find("999", 1, 5000), "t");
}

}  // namespace
}  // namespace wring
