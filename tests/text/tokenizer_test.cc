// Whole tokenizers from tokenizer.json: the steps together, and what a broken or hostile file gets.
#include "engine/text/tokenizer.h"

#include <gmock/gmock.h>

#include <random>

#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "engine/text/byte_alphabet.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<std::int32_t>;

// A model folder with the given files.
class Folder {
 public:
  Folder& add(const std::string& name, const std::string& content) {
    write_file_atomic(folder_.path() / name, content);
    return *this;
  }
  std::unique_ptr<Tokenizer> load() const { return load_tokenizer(FileTree::on_disk(folder_.path())); }
  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  TempDir folder_;
};

Json added(int id, const std::string& content, bool special, bool normalized = false) {
  return {{"id", id}, {"content", content}, {"special", special}, {"normalized", normalized}};
}

// Ids 0 to 255 are the bytes; 256 "he", 257 "hel", 258 "Ġhe"; 300 <|end|>, special.
Json byte_level_json() {
  Json vocabulary;
  for (int byte = 0; byte < 256; ++byte)
    vocabulary[spell_bytes(std::string(1, static_cast<char>(byte)))] = byte;
  vocabulary["he"] = 256;
  vocabulary["hel"] = 257;
  vocabulary["\u0120he"] = 258;
  Json json;
  json["model"] = {{"type", "BPE"},
                   {"vocab", vocabulary},
                   {"merges", Json::array({"h e", Json::array({"\u0120", "he"}), "he l"})}};
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  json["added_tokens"] = Json::array({added(300, "<|end|>", true)});
  return json;
}

// [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, then words.
Json wordpiece_json() {
  const std::vector<std::string> tokens{"[PAD]", "[UNK]",  "[CLS]", "[SEP]", "cafe", "##s",
                                        ",",     "\u4e2d", "do",    "n",     "'",    "t"};
  Json vocabulary;
  for (std::size_t id = 0; id < tokens.size(); ++id) vocabulary[tokens[id]] = id;
  Json json;
  json["model"] = {{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"vocab", vocabulary}};
  json["normalizer"] = {{"type", "BertNormalizer"}};
  json["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  json["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  json["added_tokens"] =
      Json::array({added(1, "[UNK]", true), added(2, "[CLS]", true), added(3, "[SEP]", true)});
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", Json::array({{{"SpecialToken", {{"id", "[CLS]"}, {"type_id", 0}}}},
                                                    {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                                                    {{"SpecialToken", {{"id", "[SEP]"}, {"type_id", 0}}}}})},
                            {"special_tokens",
                             {{"[CLS]", {{"id", "[CLS]"}, {"ids", Json::array({2})}}},
                              {"[SEP]", {{"id", "[SEP]"}, {"ids", Json::array({3})}}}}}};
  return json;
}

std::unique_ptr<Tokenizer> load(const Json& json) {
  return Folder().add("tokenizer.json", json.dump()).load();
}

TEST(ByteLevelTokenizer, MergesWordsAndFindsSpecialTokensInTheText) {
  const auto tokenizer = load(byte_level_json());
  EXPECT_THAT(tokenizer->encode("hello he"), ElementsAre(257, 'l', 'o', 258));
  EXPECT_THAT(tokenizer->encode("he<|end|>he"), ElementsAre(256, 300, 256));
  EXPECT_THAT(tokenizer->encode(""), ElementsAre());
  EXPECT_EQ(tokenizer->vocabulary_size(), 301u);
  EXPECT_EQ(tokenizer->token_id("\u0120he"), 258);
  EXPECT_EQ(tokenizer->token_id("absent"), std::nullopt);
}

TEST(ByteLevelTokenizer, RepeatedWordsGetTheSameIds) {
  const auto tokenizer = load(byte_level_json());
  EXPECT_THAT(tokenizer->encode(" he hel he hel"), ElementsAre(258, 258, 'l', 258, 258, 'l'));
}

TEST(ByteLevelTokenizer, DecodesWhatItEncodedWhateverTheBytes) {
  const auto tokenizer = load(byte_level_json());
  const std::string text = std::string("a\0", 2) + "\n\t \u00e9\u4e2d\U0001F600<|end|>\u200b";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text), false), text);
  EXPECT_EQ(tokenizer->decode(Ids{256, 300, 256}), "hehe");
  EXPECT_EQ(tokenizer->decode(Ids{256, 300, 256}, false), "he<|end|>he");
  EXPECT_EQ(tokenizer->decode(Ids{0xF0, 0x9F, 0x98, 'a'}), "\uFFFDa");
  EXPECT_EQ(tokenizer->decode(Ids{280}), "");  // a hole in the vocabulary
}

TEST(ByteLevelTokenizer, IllFormedInputIsReadAsReplacementCharacters) {
  const auto tokenizer = load(byte_level_json());
  EXPECT_EQ(tokenizer->encode("a\xFFz"), tokenizer->encode("a\uFFFDz"));
}

TEST(ByteLevelTokenizer, DecodingAnIdOutsideTheVocabularyNamesItsPosition) {
  const auto tokenizer = load(byte_level_json());
  for (const std::int32_t bad : {-1, 301}) {
    try {
      tokenizer->decode(Ids{1, bad});
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kOutOfRange);
      EXPECT_EQ(error.reason(), "BAD_TOKEN_ID");
      EXPECT_THAT(error.message(), HasSubstr("position 1"));
    }
  }
}

TEST(ByteLevelTokenizer, AppliesTheNormaliserBetweenRawAddedTokens) {
  auto json = byte_level_json();
  json["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", Json::array({{{"type", "NFC"}}, {{"type", "Lowercase"}}})}};
  json["added_tokens"].push_back(added(301, "HE", false));
  json["added_tokens"].push_back(added(302, "LO", false, true));
  const auto tokenizer = load(json);
  EXPECT_THAT(tokenizer->encode("E\u0301"), ElementsAre(0xC3, 0xA9));
  EXPECT_THAT(tokenizer->encode("HELo"), ElementsAre(301, 302));
  EXPECT_THAT(tokenizer->encode("hElo"), ElementsAre(256, 302));
}

TEST(WordPieceTokenizer, CleansCutsAndFramesTheText) {
  const auto tokenizer = load(wordpiece_json());
  EXPECT_THAT(tokenizer->encode("Caf\u00e9s,\u4e2dCAFE\u0301\u200b xyz", true),
              ElementsAre(2, 4, 5, 6, 7, 4, 1, 3));
  EXPECT_THAT(tokenizer->encode("[SEP]cafe"), ElementsAre(3, 4));
  EXPECT_THAT(tokenizer->encode("", true), ElementsAre(2, 3));
}

TEST(WordPieceTokenizer, DecodingJoinsPiecesAndTidiesSpaces) {
  const auto tokenizer = load(wordpiece_json());
  EXPECT_EQ(tokenizer->decode(Ids{2, 4, 5, 6, 4, 3}), "cafes, cafe");
  EXPECT_EQ(tokenizer->decode(Ids{2, 4}, false), "[CLS] cafe");
}

TEST(EndOfText, ComesFromTheTokenizersConfigurationThenTheModels) {
  Folder folder;
  folder.add("tokenizer.json", byte_level_json().dump());
  EXPECT_EQ(folder.load()->end_of_text(), std::nullopt);
  folder.add("config.json", R"({"eos_token_id": [10, 11]})");
  EXPECT_EQ(folder.load()->end_of_text(), 10);
  folder.add("generation_config.json", R"({"eos_token_id": 12})");
  EXPECT_EQ(folder.load()->end_of_text(), 12);
  folder.add("tokenizer_config.json", R"({"eos_token": {"content": "<|end|>"}})");
  EXPECT_EQ(folder.load()->end_of_text(), 300);
}

Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kUnknown, "NONE", "no error"};
}

TEST(LoadTokenizer, WithoutAVocabularySaysWhatItLookedFor) {
  Folder folder;
  const auto error = error_of([&] { folder.add("config.json", "{}").load(); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(error.reason(), "NO_TOKENIZER");
  EXPECT_THAT(error.message(), HasSubstr("tokenizer.json"));
  EXPECT_THAT(error.message(), HasSubstr("gguf"));
}

TEST(LoadTokenizer, AFileThatIsTooLargeIsRefusedUnread) {
  Folder folder;
  folder.add("tokenizer.json", "{}");
  std::filesystem::resize_file(folder.path() / "tokenizer.json", (64u << 20) + 1);
  const auto error = error_of([&] { folder.load(); });
  EXPECT_EQ(error.reason(), "BAD_TOKENIZER");
  EXPECT_THAT(error.message(), HasSubstr("64 MiB"));
}

struct Damage {
  const char* pointer;  // JSON pointer into byte_level_json()
  Json value;
  const char* reason;
  const char* field;
  const char* message;
};

TEST(LoadTokenizer, NamesTheFieldOfWhatIsBrokenOrUnknown) {
  const std::vector<Damage> damages{
      {"/model", nullptr, "BAD_TOKENIZER", "tokenizer.json.model", "object"},
      {"/model/type", "Unigram", "UNSUPPORTED_TOKENIZER", "tokenizer.json.model.type", "BPE, WordPiece"},
      {"/model/vocab", nullptr, "BAD_TOKENIZER", "tokenizer.json.model.vocab", "object"},
      {"/model/vocab", Json::object(), "BAD_TOKENIZER", "tokenizer.json.model.vocab", "empty"},
      {"/model/vocab/he", -1, "BAD_TOKENIZER", "tokenizer.json.model.vocab['he']", "-1"},
      {"/model/vocab/he", 2000000000, "BAD_TOKENIZER", "tokenizer.json.model.vocab['he']", "2000000000"},
      {"/model/vocab/he", "x", "BAD_TOKENIZER", "tokenizer.json.model.vocab['he']", "integer"},
      {"/model/merges/1", "h  e", "BAD_TOKENIZER", "tokenizer.json.model.merges[1]", "two tokens"},
      {"/model/merges/1", "x y", "BAD_TOKENIZER", "tokenizer.json.model.merges[1]", "'xy'"},
      {"/model/merges", nullptr, "BAD_TOKENIZER", "tokenizer.json.model.merges", "list"},
      {"/model/byte_fallback", true, "UNSUPPORTED_TOKENIZER", "tokenizer.json.model.byte_fallback",
       "byte-level"},
      {"/pre_tokenizer", nullptr, "UNSUPPORTED_TOKENIZER", "tokenizer.json.pre_tokenizer", "byte-level"},
      {"/pre_tokenizer/type", "Metaspace", "UNSUPPORTED_TOKENIZER", "tokenizer.json.pre_tokenizer.type",
       "Digits"},
      {"/normalizer", {{"type", "Nmt"}}, "UNSUPPORTED_TOKENIZER", "tokenizer.json.normalizer.type", "NFC"},
      {"/decoder", {{"type", "CTC"}}, "UNSUPPORTED_TOKENIZER", "tokenizer.json.decoder.type", "ByteLevel"},
      {"/post_processor",
       {{"type", "X"}},
       "UNSUPPORTED_TOKENIZER",
       "tokenizer.json.post_processor.type",
       "Template"},
      {"/added_tokens/0/id", -5, "BAD_TOKENIZER", "tokenizer.json.added_tokens[0].id", "-5"},
      {"/added_tokens/0/content", 3, "BAD_TOKENIZER", "tokenizer.json.added_tokens[0].content", "type"}};
  for (const auto& damage : damages) {
    auto json = byte_level_json();
    json[Json::json_pointer(damage.pointer)] = damage.value;
    const auto error = error_of([&] { load(json); });
    EXPECT_EQ(error.reason(), damage.reason) << damage.pointer;
    EXPECT_EQ(error.field(), damage.field) << damage.pointer;
    EXPECT_THAT(error.message(), HasSubstr(damage.message)) << damage.pointer;
  }
}

TEST(LoadTokenizer, ATemplateMayNameOnlyTokensThatExist) {
  auto json = wordpiece_json();
  json["post_processor"]["special_tokens"]["[SEP]"]["ids"][0] = 99;
  EXPECT_EQ(error_of([&] { load(json); }).field(),
            "tokenizer.json.post_processor.special_tokens.[SEP].ids[0]");
}

TEST(LoadTokenizer, SequencesNestedTooDeeplyAreRefused) {
  Json nested = {{"type", "NFC"}};
  for (int i = 0; i < 20; ++i) nested = {{"type", "Sequence"}, {"normalizers", Json::array({nested})}};
  auto json = byte_level_json();
  json["normalizer"] = nested;
  EXPECT_THAT(error_of([&] { load(json); }).message(), HasSubstr("nested"));
}

TEST(LoadTokenizer, AMutilatedFileGivesATokenizerOrAnErrorNeverACrash) {
  std::mt19937 random(7);
  const std::string whole = wordpiece_json().dump();
  int loaded = 0, refused = 0;
  for (int i = 0; i < 150; ++i) {
    auto text = whole;
    text[random() % text.size()] = static_cast<char>(i % 2 == 0 ? random() % 256 : 'a' + random() % 26);
    if (i % 7 == 0) text.resize(random() % text.size());
    Folder folder;
    folder.add("tokenizer.json", text);
    try {
      const auto tokenizer = folder.load();
      tokenizer->decode(tokenizer->encode("caf\u00e9s, \u4e2d don't [SEP]", true));
      ++loaded;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_EQ(loaded + refused, 150);
  EXPECT_GT(loaded, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace wring
