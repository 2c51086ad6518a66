// Logging: to standard error only, with the program's name, from the level that was asked for.
#include "common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "common/error.h"
#include "common/json.h"

namespace wring {
namespace {

using testing::HasSubstr;
using testing::Not;

// Gives the process back the logger that it had.
class InitLogging : public testing::Test {
 protected:
  ~InitLogging() override {
    spdlog::set_default_logger(before_);
    spdlog::set_level(level_);
  }

  // What `action` writes to standard error.
  template <typename Action>
  static std::string standard_error_of(const Action& action) {
    testing::internal::CaptureStderr();
    action();
    spdlog::default_logger()->flush();
    return testing::internal::GetCapturedStderr();
  }

  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  const spdlog::level::level_enum level_ = spdlog::get_level();
};

TEST_F(InitLogging, WritesTimeNameAndLevelToStandardErrorAndNothingToStandardOutput) {
  testing::internal::CaptureStdout();
  const std::string text = standard_error_of([] {
    init_logging("wring-test");
    spdlog::info("lease {} renewed", 7);
  });
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_THAT(text, testing::ContainsRegex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}"
                                           "[+-][0-9]{2}:[0-9]{2} wring-test .*info.* lease 7 renewed\n$"));
}

TEST_F(InitLogging, LeavesOutWhatIsBelowTheLevel) {
  const std::string text = standard_error_of([] {
    init_logging("wring-test", "warn");
    spdlog::info("quiet one");
    spdlog::warn("loud one");
  });
  EXPECT_THAT(text, Not(HasSubstr("quiet one")));
  EXPECT_THAT(text, HasSubstr("loud one"));
  EXPECT_EQ(standard_error_of([] {
              init_logging("wring-test", "off");
              spdlog::critical("the loudest");
            }),
            "");
}

TEST_F(InitLogging, CanBeDoneAgainUnderTheSameNameAndThenWritesEachLineOnce) {
  const std::string text = standard_error_of([] {
    init_logging("wring-test", "off");
    init_logging("wring-test", "debug");
    spdlog::debug("once");
  });
  EXPECT_EQ(text.find("once"), text.rfind("once"));
  EXPECT_THAT(text, HasSubstr("once"));
}

TEST_F(InitLogging, OfAnUnknownLevelNamesTheOptionAndKeepsTheLogger) {
  init_logging("wring-test", "error");
  try {
    init_logging("wring-other", "loud");
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.reason(), "BAD_LOG_LEVEL");
    EXPECT_EQ(error.field(), "log-level");
    EXPECT_THAT(error.message(), HasSubstr("loud"));
    for (const char* level : {"trace", "debug", "info", "warn", "error", "off"})
      EXPECT_THAT(error.hint(), HasSubstr(level));
  }
  EXPECT_EQ(spdlog::default_logger()->name(), "wring-test");
  EXPECT_EQ(spdlog::get_level(), spdlog::level::err);
}

TEST_F(InitLogging, AsJsonIsOneObjectALineWithTheIdsAroundIt) {
  const std::string text = standard_error_of([] {
    init_logging("wring-test", "info", "json");
    const LogScope request("request", "r-1");
    {
      const LogScope job("job", "k3f9");
      spdlog::warn("two\nlines and a \"quote\"");
      EXPECT_EQ(LogScope::id_of("job"), "k3f9");
    }
    spdlog::info("after");
    EXPECT_EQ(LogScope::id_of("request"), "r-1");
    EXPECT_EQ(LogScope::id_of("job"), "");
  });
  std::istringstream lines(text);
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const auto first = Json::parse(line);
  EXPECT_EQ(first["message"], "two\nlines and a \"quote\"");
  EXPECT_EQ(first["level"], "warning");
  EXPECT_EQ(first["program"], "wring-test");
  EXPECT_EQ(first["request"], "r-1");
  EXPECT_EQ(first["job"], "k3f9");
  EXPECT_THAT(first["time"].get<std::string>(), testing::MatchesRegex("[0-9-]{10}T[0-9:]{8}\\.[0-9]{3}Z"));
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_FALSE(Json::parse(line).contains("job"));
}

TEST_F(InitLogging, OfAnUnknownFormatNamesTheOption) {
  try {
    init_logging("wring-test", "info", "xml");
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "BAD_LOG_FORMAT");
    EXPECT_EQ(error.field(), "log-format");
  }
}

}  // namespace
}  // namespace wring
