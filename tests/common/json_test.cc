// JSON from outside: bounded, and with errors that name what was read and the key.
#include "common/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::HasSubstr;

TEST(ParseJson, NamesWhatWasReadAndTheByte) {
  const auto error = thrown_by([] { (void)parse_json(R"({"a": 1,})", "the header"); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.reason(), "MALFORMED_JSON");
  EXPECT_THAT(error.what(), HasSubstr("the header"));
  EXPECT_THAT(error.what(), HasSubstr("9"));
}

TEST(ParseJson, RefusesDeepNestingBeforeAnythingIsBuilt) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(parse_json(nested(64), "x").size(), 1u);
  EXPECT_EQ(thrown_by([&] { (void)parse_json(nested(65), "x"); }).reason(), "MALFORMED_JSON");
  EXPECT_EQ(thrown_by([&] { (void)parse_json(std::string(10'000'000, '['), "x"); }).reason(),
            "MALFORMED_JSON");
  EXPECT_EQ(parse_json(R"(["[[[[\"[["])", "x", 1)[0], "[[[[\"[[");
}

TEST(ParseJson, RefusesWhatStandsBehindTheValue) {
  EXPECT_EQ(thrown_by([] { (void)parse_json("{} {}", "x"); }).reason(), "MALFORMED_JSON");
  EXPECT_EQ(thrown_by([] { (void)parse_json("", "x"); }).reason(), "MALFORMED_JSON");
  EXPECT_EQ(thrown_by([] { (void)parse_json("\"\xff\"", "x"); }).reason(), "MALFORMED_JSON");
}

TEST(JsonAt, NamesTheKeyThatIsMissingOrOfAnotherType) {
  const Json json{{"n", 3}, {"s", "text"}, {"null", nullptr}};
  EXPECT_EQ(json_at<int>(json, "n", "x"), 3);
  EXPECT_THAT(thrown_by([&] { (void)json_at<int>(json, "m", "config.json"); }).what(),
              testing::AllOf(HasSubstr("config.json"), HasSubstr("m"), HasSubstr("missing")));
  EXPECT_THAT(thrown_by([&] { (void)json_at<int>(json, "s", "config.json"); }).what(), HasSubstr("s"));
  for (const Json& no_port : {Json(3.7), Json(-1), Json(65536), Json(true), Json("3")})
    EXPECT_EQ(thrown_by([&] {
                (void)json_at<std::uint16_t>(Json{{"port", no_port}}, "port", "x");
              }).reason(),
              "BAD_MEMBER")
        << no_port;
  EXPECT_EQ(thrown_by([] { (void)json_at<int>(Json::array(), "n", "x"); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST(JsonOr, FallsBackWhereTheKeyIsAbsentOrNullNotWhereItIsWrong) {
  const Json json{{"n", 3}, {"s", "text"}, {"null", nullptr}};
  EXPECT_EQ(json_or<int>(json, "n", 7), 3);
  EXPECT_EQ(json_or<int>(json, "m", 7), 7);
  EXPECT_EQ(json_or<int>(json, "null", 7), 7);
  EXPECT_EQ(json_or<int>(Json(3), "n", 7), 7);
  EXPECT_THROW((void)json_or<int>(json, "s", 7), Error);
}

TEST(ParseJson, StopsReadingAtTheDepthThatIsTooMuch) {
  const auto error = thrown_by([] { (void)parse_json(std::string(65, '[') + "no JSON at all", "x"); });
  EXPECT_THAT(error.what(), HasSubstr("deeper than 64"));
}

TEST(ParseJson, CountsObjectsAsDepthToo) {
  EXPECT_EQ(parse_json(R"({"a":{"b":1}})", "x", 2)["a"]["b"], 1);
  const Error error = thrown_by([] { (void)parse_json(R"({"a":{"b":[1]}})", "the recipe", 2); });
  EXPECT_EQ(error.reason(), "MALFORMED_JSON");
  EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("the recipe"), HasSubstr("2")));
  EXPECT_EQ(parse_json("[[],[],[]]", "x", 2).size(), 3u);  // side by side is not deep
}

TEST(ParseJson, RefusesNumbersThatNoDoubleHolds) {
  for (const char* text : {"1e999", "[-1e999]", "NaN", "Infinity"})
    EXPECT_EQ(thrown_by([&] { (void)parse_json(text, "x"); }).reason(), "MALFORMED_JSON") << text;
}

TEST(Json, WritesTheSameTextWhateverTheOrderOfTheKeys) {
  EXPECT_EQ(parse_json(R"({"b": 1, "a": {"d": 2, "c": 3}})", "x").dump(), R"({"a":{"c":3,"d":2},"b":1})");
}

TEST(JsonAt, SetsTheFieldToTheKey) {
  const Json json{{"text", "s"}};
  for (const char* key : {"text", "absent"}) {
    const Error error = thrown_by([&] { (void)json_at<int>(json, key, "config.json"); });
    EXPECT_EQ(error.reason(), "BAD_MEMBER");
    EXPECT_EQ(error.field(), key);
  }
  EXPECT_EQ(thrown_by([&] { (void)json_or<int>(json, "text", 7, "config.json"); }).field(), "text");
  EXPECT_EQ(thrown_by([&] { (void)json_at<int>(Json(3), "n", "x"); }).field(), "n");
}

}  // namespace
}  // namespace wring
