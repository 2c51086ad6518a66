// Byte-pair merging, WordPiece and added tokens, on cases small enough to work out by hand.
#include <gmock/gmock.h>

#include "common/error.h"
#include "engine/text/added_tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/wordpiece.h"

namespace wring {
namespace {

using testing::ElementsAre;
using Ids = std::vector<std::int32_t>;

Vocabulary vocabulary(const std::vector<std::string>& tokens) {
  Vocabulary made;
  for (std::size_t id = 0; id < tokens.size(); ++id)
    made.add(tokens[id], static_cast<std::int64_t>(id), "vocab");
  return made;
}

template <typename Model>
Ids ids_of(const Model& model, std::string_view word) {
  Ids ids;
  model.encode(word, ids);
  return ids;
}

// Ids:                                     0    1    2    3     4     5      6
const std::vector<std::string> kTokens{"a", "b", "c", "ab", "bc", "abc", "aa"};
const std::vector<Bpe::Merge> kMerges{{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"a", "a"}};

TEST(Bpe, MergesTheLowestRankFirst) {
  const Bpe bpe(vocabulary(kTokens), kMerges, {}, "merges");
  EXPECT_THAT(ids_of(bpe, "abc"), ElementsAre(5));  // b c, then a bc; not ab c
  EXPECT_THAT(ids_of(bpe, "abab"), ElementsAre(3, 3));
  EXPECT_THAT(ids_of(bpe, "aabc"), ElementsAre(0, 5));  // a bc (rank 2) before a a (rank 3)
}

TEST(Bpe, MergesTheLeftmostOfEquals) {
  const Bpe bpe(vocabulary(kTokens), kMerges, {}, "merges");
  EXPECT_THAT(ids_of(bpe, "aaa"), ElementsAre(6, 0));
  EXPECT_THAT(ids_of(bpe, "aaaaa"), ElementsAre(6, 6, 0));
}

TEST(Bpe, IgnoringMergesTakesAWholeWordThatIsAToken) {
  Bpe::Options options;
  options.ignore_merges = true;
  const Bpe with(vocabulary({"a", "b", "ab"}), {}, options, "merges"),
      without(vocabulary({"a", "b", "ab"}), {}, {}, "");
  EXPECT_THAT(ids_of(with, "ab"), ElementsAre(2));
  EXPECT_THAT(ids_of(with, "aba"), ElementsAre(0, 1, 0));
  EXPECT_THAT(ids_of(without, "ab"), ElementsAre(0, 1));
}

TEST(Bpe, AByteThatHasNoTokenVanishesOrIsUnknown) {
  Bpe::Options separate{.unknown = 2}, fused{.unknown = 2, .fuse_unknown = true};
  EXPECT_THAT(ids_of(Bpe(vocabulary(kTokens), kMerges, {}, ""), "axb"), ElementsAre(3));
  EXPECT_THAT(ids_of(Bpe(vocabulary(kTokens), {}, separate, ""), "axyb"), ElementsAre(0, 2, 2, 1));
  EXPECT_THAT(ids_of(Bpe(vocabulary(kTokens), {}, fused, ""), "axyb"), ElementsAre(0, 2, 1));
}

TEST(Bpe, AMergeOfWhatIsNoTokenIsNamed) {
  try {
    Bpe(vocabulary({"a", "b"}), {{"a", "b"}}, {}, "model.merges");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "BAD_TOKENIZER");
    EXPECT_EQ(error.field(), "model.merges[0]");
    EXPECT_THAT(error.message(), testing::HasSubstr("'ab'"));
  }
}

TEST(Bpe, AWordOfAMegabyteTakesNoQuadraticTime) {
  const Bpe bpe(vocabulary(kTokens), kMerges, {}, "merges");
  EXPECT_EQ(ids_of(bpe, std::string(1 << 20, 'a')), Ids(1 << 19, 6));
}

WordPiece wordpiece(std::size_t maximum_word = 100) {
  return {vocabulary({"[UNK]", "un", "##aff", "##able", "##a", "\u00e9", "##\u00e9"}),
          {"##", 0, maximum_word}};
}

TEST(WordPiece, TakesTheLongestTokenFromTheLeft) {
  EXPECT_THAT(ids_of(wordpiece(), "unaffable"), ElementsAre(1, 2, 3));
  EXPECT_THAT(ids_of(wordpiece(), "\u00e9\u00e9"), ElementsAre(5, 6));
}

TEST(WordPiece, AWordThatCannotBeCutIsUnknownAsAWhole) {
  EXPECT_THAT(ids_of(wordpiece(), "unaffx"), ElementsAre(0));
  EXPECT_THAT(ids_of(wordpiece(), "##aff"),
              ElementsAre(2));  // as the reference does: the prefix is no syntax
}

TEST(WordPiece, CountsCodePointsAgainstItsLongestWord) {
  EXPECT_THAT(ids_of(wordpiece(2), "\u00e9\u00e9"), ElementsAre(5, 6));
  EXPECT_THAT(ids_of(wordpiece(2), "\u00e9\u00e9\u00e9"), ElementsAre(0));
}

std::vector<std::string> split(const std::vector<AddedToken>& tokens, std::string_view text) {
  std::vector<std::string> sections;
  for (const auto& [section, id] : AddedTokens(tokens).split(text)) {
    sections.push_back(id ? "<" + std::to_string(*id) + ":" + std::string(section) + ">"
                          : std::string(section));
  }
  return sections;
}

TEST(AddedTokens, TheLongestOfThoseThatStartTogetherIsFound) {
  const std::vector<AddedToken> tokens{{"<in>", 0}, {"<in><inner>", 1}, {"<inner>", 2}};
  EXPECT_THAT(split(tokens, "a<in><inner>b<in><inn"),
              ElementsAre("a", "<1:<in><inner>>", "b", "<0:<in>>", "<inn"));
}

TEST(AddedTokens, StripTakesWhiteSpaceButNeverThatOfTheTokenBefore) {
  AddedToken token{"T", 7};
  token.lstrip = token.rstrip = true;
  EXPECT_THAT(split({token}, "a \u3000T \n T b"), ElementsAre("a", "<7: \u3000T \n >", "<7:T >", "b"));
}

TEST(AddedTokens, ASingleWordIsTouchedByNoWordCharacter) {
  AddedToken token{"word", 7};
  token.single_word = true;
  EXPECT_THAT(split({token}, "word word\u0301 _word (word)"),
              ElementsAre("<7:word>", " word\u0301 _word (", "<7:word>", ")"));
}

}  // namespace
}  // namespace wring
