// CSV as Python's csv module reads it.
#include "formats/csv.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace wring {
namespace {

using Records = std::vector<std::vector<std::string>>;

TEST(Csv, IsReadAsRfc4180Says) {
  EXPECT_EQ(parse_csv("a,b\nc,d\n", "x"), (Records{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(parse_csv("a,b\r\nc,d", "x"), (Records{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(parse_csv("\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\r\n,\n", "x"),
            (Records{{"a,b", "say \"hi\"", "two\nlines"}, {"", ""}}));
  EXPECT_EQ(parse_csv("a \"quoted\" word,b\n", "x"), (Records{{"a \"quoted\" word", "b"}}));
  EXPECT_EQ(parse_csv("", "x"), Records{});
  EXPECT_EQ(parse_csv("a,", "x"), (Records{{"a", ""}}));
  EXPECT_EQ(parse_csv("a\rb,c\n", "x"), (Records{{"a\rb", "c"}}));
}

TEST(Csv, OfABrokenQuoteNamesFileAndLine) {
  for (const auto& [text, line] :
       {std::pair{"a,b\n\"never ends\nat all", "line 2"}, {"a\n\n\"b\"c\n", "line 3"}}) {
    try {
      parse_csv(text, "questions.csv");
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.reason(), "BAD_CSV");
      EXPECT_EQ(error.field(), "questions.csv");
      EXPECT_NE(error.message().find(line), std::string::npos) << error.message();
    }
  }
}

}  // namespace
}  // namespace wring
