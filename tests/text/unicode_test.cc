// UTF-8 repair, the byte alphabet, normal forms and BERT's character classes.
#include "engine/text/unicode.h"

#include <gmock/gmock.h>

#include "engine/text/bert_unicode.h"
#include "engine/text/byte_alphabet.h"

namespace wring {
namespace {

std::string repaired(std::string_view bytes) {
  std::string storage;
  return std::string(well_formed_utf8(bytes, storage));
}

TEST(Utf8, WellFormedTextIsReturnedWithoutACopy) {
  const std::string text = "a\u00e9\u4e2d\U0001F600";
  std::string storage;
  EXPECT_EQ(well_formed_utf8(text, storage).data(), text.data());
}

// Unicode 15, section 3.9, tables 3-8 to 3-11.
TEST(Utf8, EachMaximalIllFormedPieceBecomesOneReplacementCharacter) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(repaired("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(repaired("\xF0\x9F\x98"), r);
}

TEST(ByteAlphabet, SpellsEveryByteAndReadsItBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(spelt_bytes(spell_bytes(all)), all);
  EXPECT_EQ(spell_bytes(" the\n\t\xAD\x7F"), "\u0120the\u010a\u0109\u0143\u0121");
}

TEST(ByteAlphabet, ALetterOutsideItSpellsNothing) {
  EXPECT_EQ(spelt_bytes("a b"), std::nullopt);
  EXPECT_EQ(spelt_bytes("\u4e2d"), std::nullopt);
}

TEST(NormalForm, ComposesAndDecomposesAsUnicodeSays) {
  EXPECT_EQ(normalized("e\u0301 s\u0323\u0307 \u212b", NormalForm::kNfc), "\u00e9 \u1e69 \u00c5");
  EXPECT_EQ(normalized("\u1e69\uac01", NormalForm::kNfd), "s\u0323\u0307\u1100\u1161\u11a8");
  EXPECT_EQ(normalized("\ufb01\u00bd", NormalForm::kNfkc), "fi1\u20442");
  EXPECT_EQ(normalized("\uff76\uff9e", NormalForm::kNfkd), "\u30ab\u3099");
}

TEST(Lowercase, WorksCodePointByCodePoint) {
  EXPECT_EQ(lowercased("\u03a3\u03a3 \u00c9\u0130"), "\u03c3\u03c3 \u00e9i\u0307");
}

TEST(BertClasses, AreThoseOfTheReference) {
  for (const char c : std::string_view("!$+<=>^`|~_-'"))
    EXPECT_TRUE(is_bert_punctuation(static_cast<unsigned char>(c))) << c;
  EXPECT_TRUE(is_bert_punctuation(0x3002));
  EXPECT_FALSE(is_bert_punctuation(0x20AC));  // a currency sign is no punctuation outside ASCII
  EXPECT_FALSE(is_bert_punctuation(0x2E52));  // Unicode 14
  EXPECT_TRUE(is_bert_control(0x200D));
  EXPECT_FALSE(is_bert_control(0x0378));  // unassigned
  EXPECT_TRUE(is_bert_accent(0x0301));
  EXPECT_FALSE(is_bert_accent(0x093F));  // a spacing mark
}

}  // namespace
}  // namespace wring
