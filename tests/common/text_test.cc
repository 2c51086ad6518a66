// Small text: sizes and times as people read them, the nearest name, tables.
#include "common/text.h"

#include <gtest/gtest.h>

namespace wring {
namespace {

TEST(HumanBytes, ChangesUnitWhereTheNumberWouldBeAThousand) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.0 kB");
  EXPECT_EQ(human_bytes(999'949), "999.9 kB");
  EXPECT_EQ(human_bytes(999'950), "1.0 MB");
  EXPECT_EQ(human_bytes(98'362'432), "98.4 MB");
  EXPECT_EQ(human_bytes(5'000'000'000'000'000), "5000.0 TB");
}

TEST(HumanDuration, HasHoursOnlyWhereThereAreAny) {
  EXPECT_EQ(human_duration(-1), "0:00");
  EXPECT_EQ(human_duration(40.6), "0:41");
  EXPECT_EQ(human_duration(3599), "59:59");
  EXPECT_EQ(human_duration(3727), "1:02:07");
}

TEST(NearestName, IsTheOneWithTheFewestEditsOrNone) {
  const std::vector<std::string> names{"bits", "group_size", "symmetric", "data"};
  EXPECT_EQ(nearest_name("groupsize", names), "group_size");
  EXPECT_EQ(nearest_name("bitz", names), "bits");
  EXPECT_EQ(nearest_name("simmetrik", names), "symmetric");
  EXPECT_EQ(nearest_name("temperature", names), "");
  EXPECT_EQ(nearest_name(std::string(1000, 'b'), names), "");
  EXPECT_EQ(nearest_name("bits", {}), "");
}

TEST(Join, PutsTheSeparatorBetweenOnly) {
  EXPECT_EQ(join({}, ", "), "");
  EXPECT_EQ(join(std::vector<std::string>{"a"}, ", "), "a");
  EXPECT_EQ(join(std::vector<std::string>{"a", "", "c"}, ", "), "a, , c");
}

TEST(Table, AlignsColumnsByCharactersNotBytes) {
  EXPECT_EQ(table({{"name", "x"}, {"\xc3\xa4\xc3\xb6", "12"}, {"only"}}),
            "name  x\n"
            "\xc3\xa4\xc3\xb6    12\n"
            "only\n");
  EXPECT_EQ(table({}), "");
}

TEST(FormatNumber, RoundsToTheDigitsAskedFor) {
  EXPECT_EQ(format_number(2.0 / 3, 3), "0.667");
  EXPECT_EQ(format_number(-1.5, 1), "-1.5");
  EXPECT_EQ(format_number(41.9, 0), "42");
}

TEST(NearestName, IsTheFirstOfThoseEquallyNear) {
  EXPECT_EQ(nearest_name("bit", std::vector<std::string>{"bite", "bits"}), "bite");
  EXPECT_EQ(nearest_name("bits", std::vector<std::string>{"bite", "bits"}), "bits");
}

TEST(NearestName, OfALongNameMayBeAThirdOff) {
  const std::vector<std::string> names{"abcdefghi"};
  EXPECT_EQ(nearest_name("abcdefxyz", names), "abcdefghi");
  EXPECT_EQ(nearest_name("abcdewxyz", names), "");
}

}  // namespace
}  // namespace wring
