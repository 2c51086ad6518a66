// Regular expressions of tokenizers: how published ones cut text, and what happens to bad ones.
#include "engine/text/pattern.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "engine/text/pre_tokenizer.h"

namespace wring {
namespace {

using testing::ElementsAre;
using Pieces = std::vector<std::string_view>;

Pieces cut(std::string_view expression, std::string_view text,
           SplitBehavior behavior = SplitBehavior::kIsolated, bool invert = false) {
  Pieces out;
  Pattern::regex(expression, "pattern").split({text}, behavior, invert, out);
  return out;
}

TEST(Gpt2Words, KeepASpaceWithTheNextWordAndTheRestOfARunBefore) {
  EXPECT_THAT(cut(kGpt2Words, "Hello  world's 1234!?\n\n x"),
              ElementsAre("Hello", " ", " world", "'s", " 1234", "!?", "\n\n", " x"));
  EXPECT_THAT(cut(kGpt2Words, "IT'S   "), ElementsAre("IT", "'", "S", "   "));
}

TEST(Llama3Words, CutNumbersByThreeAndContractionsInAnyCase) {
  EXPECT_THAT(cut(kLlama3Words, "IT'S 12345 (a)\n\n  b"),
              ElementsAre("IT", "'S", " ", "123", "45", " (", "a", ")\n\n", " ", " b"));
}

TEST(Qwen2Words, CutEveryDigit) {
  EXPECT_THAT(cut(kQwen2Words, "x 42"), ElementsAre("x", " ", "4", "2"));
}

TEST(Pattern, SpaceMeansThePropertyWhiteSpace) {
  EXPECT_THAT(cut(R"(\s)", "a\u0085\u00a0\u3000b", SplitBehavior::kRemoved), ElementsAre("a", "b"));
  EXPECT_THAT(cut(R"([^\s]+)", "a\u180eb c", SplitBehavior::kIsolated), ElementsAre("a\u180eb", " ", "c"));
}

TEST(Pattern, WordKnowsMarksAndConnectors) {
  EXPECT_THAT(cut(R"(\w+\b)", "e\u0301_x-y", SplitBehavior::kIsolated), ElementsAre("e\u0301_x", "-", "y"));
}

TEST(Pattern, FractionsAreWordCharactersOnlyOutsideSets) {
  EXPECT_THAT(cut(R"(\w+\b)", "x\u00bd-", SplitBehavior::kRemoved), ElementsAre("-"));
  EXPECT_THAT(cut(R"([\w]+)", "x\u00bd-", SplitBehavior::kRemoved), ElementsAre("\u00bd-"));
}

// The example of the reference's documentation.
TEST(Split, GivesEachBehaviourItsPieces) {
  const std::string_view text = "the-final--countdown";
  EXPECT_THAT(cut("-", text, SplitBehavior::kRemoved), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(cut("-", text, SplitBehavior::kIsolated),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(cut("-", text, SplitBehavior::kMergedWithPrevious),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(cut("-", text, SplitBehavior::kMergedWithNext),
              ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(cut("-", text, SplitBehavior::kContiguous),
              ElementsAre("the", "-", "final", "--", "countdown"));
  EXPECT_THAT(cut("-", text, SplitBehavior::kRemoved, true), ElementsAre("-", "-", "-"));
}

TEST(Pattern, EmptyMatchesCutWithoutLosingText) {
  EXPECT_THAT(cut("x*", "a\u00e9xb"), ElementsAre("a", "\u00e9", "x", "b"));
}

TEST(Pattern, ALiteralIsNoExpression) {
  Pieces out;
  Pattern::literal(".", "pattern").split({"a.b"}, SplitBehavior::kRemoved, false, out);
  EXPECT_THAT(out, ElementsAre("a", "b"));
}

std::string reason_of(std::string_view expression, std::string_view text = "") {
  try {
    cut(expression, text);
  } catch (const Error& error) {
    EXPECT_EQ(error.field(), "pattern");
    return error.reason();
  }
  return "none";
}

TEST(Pattern, ABadExpressionIsNamed) {
  EXPECT_EQ(reason_of("(a"), "BAD_TOKENIZER");
  EXPECT_EQ(reason_of(std::string(70000, 'a')), "BAD_TOKENIZER");
  EXPECT_EQ(reason_of(R"(\C)"), "BAD_TOKENIZER");
  EXPECT_EQ(reason_of(R"([\S])"), "UNSUPPORTED_TOKENIZER");
  EXPECT_EQ(reason_of(R"(\h)"), "UNSUPPORTED_TOKENIZER");
}

TEST(Pattern, OneThatNeverEndsGivesUp) {
  EXPECT_EQ(reason_of("(a|aa|a)+$", std::string(200, 'a') + "b"), "PATTERN_TOO_COSTLY");
}

TEST(Pattern, LongRunsAreNoTrouble) {
  const std::string spaces(1 << 20, ' '), letters(1 << 20, 'a');
  EXPECT_THAT(cut(kGpt2Words, spaces), ElementsAre(spaces));
  EXPECT_THAT(cut(kLlama3Words, letters), ElementsAre(letters));
}

}  // namespace
}  // namespace wring
