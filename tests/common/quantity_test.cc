// Quantities as people write them.
#include "common/quantity.h"

#include <gtest/gtest.h>

#include "tests/common/thrown_by.h"

namespace wring {
namespace {

TEST(Quantities, TakeTheUnitsThatPeopleWrite) {
  EXPECT_EQ(parse_bytes("512MiB", "--memory"), 512u << 20);
  EXPECT_EQ(parse_bytes("4GB", "--memory"), 4'000'000'000u);
  EXPECT_EQ(parse_bytes("1.5TB", "--memory"), 1'500'000'000'000u);
  EXPECT_EQ(parse_bytes("1000", "--memory"), 1000u);
  EXPECT_EQ(parse_seconds("10m", "--max-runtime"), 600);
  EXPECT_EQ(parse_seconds("1.5h", "--max-runtime"), 5400);
}

TEST(Quantities, TakeUnitsInAnyLetterCase) {
  EXPECT_EQ(parse_bytes("512mb", "--memory"), 512'000'000u);
  EXPECT_EQ(parse_bytes("2gib", "--memory"), 2ull << 30);
  EXPECT_EQ(parse_bytes("7K", "--memory"), 7000u);
}

TEST(Quantities, WhatIsNoneIsRefusedWithTheFlagsName) {
  for (const char* text : {"", "abc", "-3", "4 parsecs", "nan", "1e300GB", "4XB"}) {
    const auto error = thrown_by([&] { parse_bytes(text, "--memory"); });
    EXPECT_EQ(error.field(), "--memory") << text;
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << text;
  }
}

TEST(Quantities, AnOptionOfBytesHoldsDigits) {
  std::string text = "4GB";
  EXPECT_EQ(bytes_value()(text), "");
  EXPECT_EQ(text, "4000000000");
  text = "4XB";
  EXPECT_NE(bytes_value()(text), "");
}

TEST(Quantities, AWholeNumberIsNotWrappedAround) {
  for (std::string text : {"0", "18446744073709551615"}) EXPECT_EQ(whole_number()(text), "") << text;
  for (std::string text : {"-1", "1.5", "18446744073709551616", "", "x"})
    EXPECT_NE(whole_number()(text), "") << text;
}

}  // namespace
}  // namespace wring
