// Errors: what people and programs read of them, and that any bytes in them can be passed on.
#include "common/error.h"

#include <gtest/gtest.h>

#include <functional>
#include <new>

#include "common/ids.h"
#include "common/log.h"

namespace wring {
namespace {

TEST(Error, IsToldWithFieldAndHint) {
  const Error error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "7 is not allowed", "stages[0].params.bits",
                    "bits is one of 2, 3, 4\nrecipe line 3");
  EXPECT_STREQ(error.what(), "stages[0].params.bits: 7 is not allowed");
  EXPECT_EQ(describe(error),
            "error: stages[0].params.bits: 7 is not allowed\n  bits is one of 2, 3, 4\n  recipe line 3\n");
  EXPECT_EQ(describe(Error(ErrorCode::kInternal, "X", "no field")), "error: no field\n");
}

TEST(Error, SurvivesJson) {
  const Error error(ErrorCode::kDataLoss, "BAD_GGUF", "m", "f", "h");
  const auto again = Error::from_json(error.to_json());
  EXPECT_EQ(again.code(), ErrorCode::kDataLoss);
  EXPECT_EQ(again.reason(), "BAD_GGUF");
  EXPECT_EQ(again.message(), "m");
  EXPECT_EQ(again.field(), "f");
  EXPECT_EQ(again.hint(), "h");
}

TEST(Error, OfBytesThatAreNoTextIsTextAllTheSame) {
  const Error error(ErrorCode::kNotFound, "X", "no \xff\xfe here", "a\x80");
  EXPECT_EQ(error.message(), "no \xef\xbf\xbd\xef\xbf\xbd here");
  EXPECT_NO_THROW((void)error.to_json().dump());
}

TEST(ErrorCode, HasANameAndAnExitStatus) {
  for (int code = 1; code <= 16; ++code) {
    const auto value = static_cast<ErrorCode>(code);
    EXPECT_EQ(error_code_from_string(to_string(value)), value);
    EXPECT_NE(exit_status(value), 0);
  }
  EXPECT_EQ(error_code_from_string("NO_SUCH"), ErrorCode::kUnknown);
  EXPECT_EQ(exit_status(ErrorCode::kInvalidArgument), 2);
  EXPECT_EQ(exit_status(ErrorCode::kNotFound), 3);
  EXPECT_EQ(exit_status(ErrorCode::kResourceExhausted), 4);
  EXPECT_EQ(exit_status(ErrorCode::kUnavailable), 5);
  EXPECT_EQ(exit_status(ErrorCode::kCancelled), 6);
  EXPECT_EQ(exit_status(ErrorCode::kInternal), 1);
}

Error seen_as(const std::function<void()>& action) {
  try {
    action();
  } catch (...) {
    return current_error();
  }
  return Error(ErrorCode::kUnknown, "NOTHING", "");
}

TEST(CurrentError, MakesEveryExceptionAnError) {
  EXPECT_EQ(seen_as([] { throw std::bad_alloc(); }).reason(), "OUT_OF_MEMORY");
  EXPECT_EQ(seen_as([] { throw std::bad_alloc(); }).code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(seen_as([] { throw std::runtime_error("oh"); }).message(), "oh");
  EXPECT_EQ(seen_as([] { throw Error(ErrorCode::kAborted, "R", "m"); }).reason(), "R");
  EXPECT_EQ(seen_as([] { throw 3; }).code(), ErrorCode::kInternal);
}

TEST(Logging, RefusesALevelThatIsNone) {
  EXPECT_THROW(init_logging("test", "loud"), Error);
  EXPECT_NO_THROW(init_logging("test", "off"));
}

TEST(Error, ReplacesWhatIsNoTextInEveryPart) {
  // A lone continuation byte, a sequence cut short, a surrogate and an overlong slash: none is UTF-8.
  for (const char* bad : {"\x80", "\xe2\x82", "\xed\xa0\x80", "\xc0\xaf"}) {
    const Error error(ErrorCode::kInternal, bad, bad, bad, bad);
    for (const std::string& part : {error.reason(), error.message(), error.field(), error.hint()}) {
      EXPECT_NE(part.find("\xef\xbf\xbd"), std::string::npos);
      EXPECT_EQ(part.find(bad), std::string::npos);
    }
    EXPECT_EQ(std::string(error.what()).find(bad), std::string::npos);
    EXPECT_EQ(Error::from_json(parse_json(error.to_json().dump(), "error")).hint(), error.hint());
  }
}

TEST(Error, KeepsTextThatIsUtf8AsItIs) {
  const std::string text = "gr\xc3\xb6\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x98\x80 \"quoted\" \\ \t\n";
  const Error error(ErrorCode::kInternal, "X", text, text, text);
  EXPECT_EQ(error.message(), text);
  EXPECT_EQ(error.field(), text);
  EXPECT_EQ(error.hint(), text);
}

TEST(Error, OfJsonThatLacksPartsIsUnknownWithWhatIsThere) {
  const Error error = Error::from_json(Json{{"code", "NO_SUCH_CODE"}, {"message", "m"}, {"hint", nullptr}});
  EXPECT_EQ(error.code(), ErrorCode::kUnknown);
  EXPECT_EQ(error.message(), "m");
  EXPECT_EQ(error.hint(), "");
  EXPECT_EQ(Error::from_json(Json(3)).code(), ErrorCode::kUnknown);
  EXPECT_THROW((void)Error::from_json(Json{{"message", 3}}), Error);
}

TEST(CurrentError, KeepsEveryPartOfAnErrorAndTellsTheWayOutOfMemory) {
  const Error kept = seen_as([] { throw Error(ErrorCode::kAborted, "R", "m", "f", "h"); });
  EXPECT_EQ(kept.code(), ErrorCode::kAborted);
  EXPECT_STREQ(kept.what(), "f: m");
  EXPECT_EQ(kept.hint(), "h");
  EXPECT_NE(seen_as([] { throw std::bad_alloc(); }).hint(), "");
  EXPECT_EQ(seen_as([] { throw std::runtime_error("\xff"); }).message(), "\xef\xbf\xbd");
}

}  // namespace
}  // namespace wring
