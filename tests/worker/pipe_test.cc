// What an engine may say, and what it may not.
#include "worker/pipe.h"

#include <gtest/gtest.h>

#include <cmath>

namespace wring {
namespace {

std::string reason_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.reason();
  }
  return "";
}

TEST(LineBuffer, GivesWholeLinesHoweverTheyAreCut) {
  LineBuffer lines;
  lines.append("on");
  EXPECT_EQ(lines.next(), std::nullopt);
  lines.append("e\ntwo\n\nfo");
  EXPECT_EQ(lines.next(), "one");
  EXPECT_EQ(lines.next(), "two");
  EXPECT_EQ(lines.next(), "");
  EXPECT_EQ(lines.next(), std::nullopt);
  lines.append("ur\n");
  EXPECT_EQ(lines.next(), "four");
  EXPECT_EQ(lines.next(), std::nullopt);
}

TEST(LineBuffer, TakesALineOfExactlyTheLimitAndNoneLonger) {
  LineBuffer lines;
  lines.append(std::string(kMaxPipeLine, 'x') + "\n");
  EXPECT_EQ(lines.next()->size(), kMaxPipeLine);
  EXPECT_EQ(reason_of([&] { lines.append(std::string(kMaxPipeLine + 1, 'x')); }), "ENGINE_PROTOCOL");
}

TEST(LineBuffer, RefusesALongLineThatComesInSmallPiecesBeforeItEnds) {
  LineBuffer lines;
  const std::string piece(1 << 20, 'x');
  EXPECT_EQ(reason_of([&] {
              for (int i = 0; i < 18; ++i) lines.append(piece);
            }),
            "ENGINE_PROTOCOL");
}

TEST(EngineLine, OfEachTypeIsReadWithItsMembers) {
  const auto hello = std::get<HelloLine>(parse_engine_line(
      R"({"type":"hello","v":1,"version":"0.1","devices":[{"kind":"cpu","index":0,"name":"x","memory_bytes":5,"threads":2}],"catalogue":"ab"})"));
  EXPECT_EQ(hello.devices.at(0).memory_bytes(), 5u);
  const auto plan = std::get<PlanLine>(
      parse_engine_line(R"({"type":"plan","steps":[{"index":0,"name":"gptq","key":"","kind":"stage"}]})"));
  EXPECT_EQ(plan.steps.at(0).name, "gptq");
  const auto progress = std::get<ProgressLine>(parse_engine_line(
      R"({"type":"progress","index":1,"done":3,"total":30,"unit":"blocks","metric":"error","value":null,"eta_seconds":2.5,"more":[]})"));
  EXPECT_EQ(progress.progress.done(), 3u);
  EXPECT_TRUE(std::isnan(progress.progress.value()));
  const auto rows = std::get<RowsLine>(parse_engine_line(
      R"({"type":"evaluation","rows":[{"suite":"perplexity","metric":"ppl","value":23.9,"n":32,"stderr":0.4,"when":"after"}]})"));
  EXPECT_DOUBLE_EQ(rows.rows.at(0).stderr(), 0.4);
  EXPECT_FALSE(rows.rows.at(0).has_baseline_value());
  const auto error = std::get<ErrorLine>(parse_engine_line(
      R"({"type":"error","error":{"code":"INVALID_ARGUMENT","reason":"NAN","message":"m","field":"f","hint":"h"},"index":2})"));
  EXPECT_EQ(error.error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.index, 2);
}

class BadLine : public testing::TestWithParam<const char*> {};

TEST_P(BadLine, IsAProtocolError) {
  EXPECT_EQ(reason_of([] { parse_engine_line(GetParam()); }), "ENGINE_PROTOCOL");
}

INSTANTIATE_TEST_SUITE_P(All, BadLine,
                         testing::Values("", "not json", "[]", "3", "{}", R"({"type":7})",
                                         R"({"type":"gossip"})", R"({"type":"hello","v":2,"devices":[]})",
                                         R"({"type":"hello","v":1})",
                                         R"({"type":"lookup","index":0,"key":"../../etc"})",
                                         R"({"type":"lookup","index":-1,"key":""})",
                                         R"({"type":"step_started","index":4294967296})",
                                         R"({"type":"progress","index":0,"done":"many"})",
                                         R"({"type":"plan","steps":[{"index":1,"name":"a"}]})",
                                         R"({"type":"evaluation","rows":{}})",
                                         R"({"type":"evaluation","rows":[{"suite":"s"}]})",
                                         "{\"type\":\"hello\xff\"}", R"({"type":"error","error":3})"));

}  // namespace
}  // namespace wring
