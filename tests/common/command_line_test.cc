// Command lines that are wrong, and addresses in them.
#include "common/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/address.h"
#include "common/quantity.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::HasSubstr;

TEST(CommandLine, WhatIsWrongIsAUsageErrorThatSaysWhereHelpIs) {
  CLI::App app("", "wring-worker");
  std::uint64_t bytes = 0;
  app.add_option("--memory", bytes)->transform(bytes_value());
  const auto error = thrown_by([&] { parse_command_line(app, {"--memory", "4XB"}); });
  EXPECT_EQ(error.reason(), "USAGE");
  EXPECT_EQ(exit_status(error.code()), 2);
  EXPECT_THAT(error.message(), HasSubstr("4XB"));
  EXPECT_THAT(error.hint(), HasSubstr("wring-worker --help"));
  EXPECT_TRUE(parse_command_line(app, {"--memory", "4gb"}));
  EXPECT_EQ(bytes, 4'000'000'000u);
}

TEST(CommandLine, HelpEndsTheProgramWithoutAnError) {
  CLI::App app("what it does", "wring-worker");
  testing::internal::CaptureStdout();
  EXPECT_FALSE(parse_command_line(app, {"--help"}));
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("what it does"));
}

TEST(CommandLine, AMistypedVerbNamesTheNearest) {
  CLI::App app("", "wring-server");
  app.add_subcommand("backup", "");
  EXPECT_THAT(thrown_by([&] { parse_command_line(app, {"bakup"}); }).hint(),
              HasSubstr("wring-server backup"));
}

TEST(AddressText, IsAHostAndAPort) {
  EXPECT_EQ(parse_address("127.0.0.1:7433", "--server").port, 7433);
  EXPECT_EQ(parse_address("[::1]:80", "--server").host, "[::1]");
  for (const char* text : {"", "127.0.0.1", ":80", "host:", "host:x", "host:70000", "host:80x"}) {
    const auto error = thrown_by([&] { parse_address(text, "--server"); });
    EXPECT_EQ(error.reason(), "BAD_ADDRESS") << text;
    EXPECT_EQ(error.field(), "--server") << text;
  }
}

}  // namespace
}  // namespace wring
