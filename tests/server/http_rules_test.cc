// Which calls HTTP reaches, and the tags that polls are answered by: without a socket.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "server/api/calls.h"
#include "server/auth/access.h"
#include "server/http/recent_answers.h"
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

TEST(RecentAnswers, CountForTheVersionThatTheyWereMadeOfAndNotForLong) {
  RecentAnswers answers;
  const auto tag = [&](const char* question, std::uint64_t version, TimeMs now) {
    const auto found = answers.find(question, version, now);
    return found ? found->tag : "none";
  };
  EXPECT_EQ(tag("a", 1, 0), "none");
  answers.put("a", 1, 5000, {"tag", nullptr});
  EXPECT_EQ(tag("a", 1, 5999), "tag");
  EXPECT_EQ(tag("a", 1, 6000), "none");
  EXPECT_EQ(tag("a", 1, 4999), "none") << "the clock was set back";
  EXPECT_EQ(tag("a", 2, 5000), "none");
  EXPECT_EQ(tag("b", 1, 5000), "none");
  for (int i = 0; i < 1000; ++i) answers.put(std::to_string(i), 1, 5000, {"t", nullptr});
  EXPECT_EQ(tag("a", 1, 5000), "none") << "it grows without end";
  EXPECT_EQ(tag("999", 1, 5000), "t");
}

TEST(RecentAnswers, KeepBodiesThatAreNotLarge) {
  RecentAnswers answers;
  const auto body = [&](std::size_t size) {
    HttpResponse response;
    response.body = std::string(size, 'x');
    answers.put("a", 1, 0, {"tag", std::make_shared<HttpResponse>(response)});
    const auto found = answers.find("a", 1, 0);
    return found && found->whole ? found->whole->body.size() : 0;
  };
  EXPECT_EQ(body(10'000), 10'000u);
  EXPECT_EQ(body(1'000'000), 0u);
}

}  // namespace
}  // namespace wring
