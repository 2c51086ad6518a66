// Vocabularies inside GGUF files, from files that the tests write byte by byte.
#include <gmock/gmock.h>

#include <algorithm>
#include <functional>

#include "common/error.h"
#include "common/files.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/gguf_tokenizer_json.h"
#include "engine/text/gguf_vocabulary.h"
#include "engine/text/tokenizer.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Writes keys of a GGUF v3 file without tensors, in the types that llama.cpp uses.
class GgufWriter {
 public:
  GgufWriter& text(const std::string& key, const std::string& value) { return begin(key, 8).bytes(value); }
  GgufWriter& number(const std::string& key, std::uint32_t value) { return begin(key, 4).put(value); }
  GgufWriter& flag(const std::string& key, bool value) {
    return begin(key, 7).put(static_cast<std::uint8_t>(value));
  }
  GgufWriter& texts(const std::string& key, const std::vector<std::string>& values) {
    begin(key, 9).put(std::uint32_t{8}).put(std::uint64_t{values.size()});
    for (const auto& value : values) bytes(value);
    return *this;
  }
  GgufWriter& numbers(const std::string& key, const std::vector<std::int32_t>& values) {
    begin(key, 9).put(std::uint32_t{5}).put(std::uint64_t{values.size()});
    for (const auto value : values) put(value);
    return *this;
  }
  std::string file() const {
    GgufWriter header;
    header.put(std::uint32_t{3}).put(std::uint64_t{0}).put(keys_);
    return "GGUF" + header.body_ + body_;
  }

 private:
  template <typename T>
  GgufWriter& put(T value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufWriter& bytes(const std::string& value) {
    put(std::uint64_t{value.size()});
    body_ += value;
    return *this;
  }
  GgufWriter& begin(const std::string& key, std::uint32_t type) {
    ++keys_;
    return bytes(key).put(type);
  }

  std::uint64_t keys_ = 0;
  std::string body_;
};

// What a test changes of a good vocabulary: ids 0 to 255 bytes, 256 "ab", 257 <|end|> control, 258 <think>
// user-defined, 259 "two words" user-defined but not in the byte alphabet.
struct Vocabulary {
  std::string model = "gpt2", pre = "gpt-2";
  std::vector<std::string> merges{"a b"};
  std::uint32_t eos = 257;
  bool add_bos = false, add_eos = false;

  std::string file() const {
    std::vector<std::string> tokens;
    std::vector<std::int32_t> types(260, 1);
    for (int byte = 0; byte < 256; ++byte)
      tokens.push_back(spell_bytes(std::string(1, static_cast<char>(byte))));
    tokens.insert(tokens.end(), {"ab", "<|end|>", "<think>", "two words"});
    types[257] = 3;
    types[258] = types[259] = 4;
    return GgufWriter()
        .text("general.architecture", "llama")
        .text("tokenizer.ggml.model", model)
        .text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", tokens)
        .numbers("tokenizer.ggml.token_type", types)
        .texts("tokenizer.ggml.merges", merges)
        .number("tokenizer.ggml.bos_token_id", 257)
        .number("tokenizer.ggml.eos_token_id", eos)
        .flag("tokenizer.ggml.add_bos_token", add_bos)
        .flag("tokenizer.ggml.add_eos_token", add_eos)
        .file();
  }
};

std::unique_ptr<Tokenizer> load(const Vocabulary& vocabulary) {
  const TempDir folder;
  write_file_atomic(folder.path() / "model.gguf", vocabulary.file());
  return load_tokenizer(FileTree::on_disk(folder.path()));
}

TEST(GgufTokenizer, MergesAndFindsControlAndUserDefinedTokens) {
  const auto tokenizer = load({});
  EXPECT_THAT(tokenizer->encode("ab<|end|>b<think>"), ElementsAre(256, 257, 'b', 258));
  EXPECT_EQ(tokenizer->encode("two words").size(), 9u);  // not spelt in the byte alphabet: no added token
  EXPECT_EQ(tokenizer->end_of_text(), 257);
  EXPECT_EQ(tokenizer->vocabulary_size(), 260u);
}

TEST(GgufTokenizer, OnlyControlTokensAreLeftOutOfText) {
  EXPECT_EQ(load({})->decode(std::vector<std::int32_t>{256, 257, 258, 259}), "ab<think>two words");
}

TEST(GgufTokenizer, AddsBosAndEosWhereTheFileSaysSo) {
  EXPECT_THAT(load({})->encode("ab", true), ElementsAre(256));
  EXPECT_THAT(load({.eos = 258, .add_bos = true, .add_eos = true})->encode("ab", true),
              ElementsAre(257, 256, 258));
}

TEST(GgufTokenizer, CutsAsItsPreTokenizerSays) {
  const auto pre_tokenizer = [](const std::string& pre) {
    const TempDir folder;
    write_file_atomic(folder.path() / "model.gguf", Vocabulary{.pre = pre}.file());
    return tokenizer_json_from_gguf(
        GgufFile(FileTree::on_disk(folder.path()).open("model.gguf")))["pre_tokenizer"];
  };
  const auto words = [&](const std::string& pre) {
    return pre_tokenizer(pre)["pretokenizers"][0]["pattern"]["Regex"].get<std::string>();
  };
  EXPECT_EQ(pre_tokenizer("smollm")["type"], "ByteLevel");
  EXPECT_THAT(words("llama-bpe"), HasSubstr("|\\p{N}{1,3}|"));
  EXPECT_THAT(words("qwen2"), HasSubstr("|\\p{N}|"));
}

Error error_of(const Vocabulary& vocabulary) {
  try {
    load(vocabulary);
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kUnknown, "NONE", "no error"};
}

TEST(GgufTokenizer, NamesTheKeyOfWhatIsBrokenOrUnknown) {
  EXPECT_EQ(error_of({.model = "llama"}).field(), "tokenizer.ggml.model");
  EXPECT_EQ(error_of({.model = "llama"}).reason(), "UNSUPPORTED_TOKENIZER");
  EXPECT_EQ(error_of({.pre = "odd"}).field(), "tokenizer.ggml.pre");
  EXPECT_THAT(error_of({.pre = "odd"}).message(), HasSubstr("smollm"));
  EXPECT_EQ(error_of({.merges = {"a b", "a  b"}}).field(), "tokenizer.ggml.merges[1]");
  EXPECT_THAT(error_of({.merges = {"x y"}}).field(), HasSubstr("merges[0]"));
  EXPECT_EQ(error_of({.eos = 260}).field(), "tokenizer.ggml.eos_token_id");
}

// "unable" is two pieces; 9 and 10 are rows without tokens.
Json word_pieces() {
  return parse_json(R"({
    "added_tokens": [{"id": 0, "content": "[PAD]", "special": true}, {"id": 1, "content": "[UNK]", "special": true},
                     {"id": 2, "content": "[CLS]", "special": true}, {"id": 3, "content": "[SEP]", "special": true}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                   "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "un": 4, "##able": 5, "able": 6, "#": 7, "##": 8}}})",
                    "test");
}

constexpr std::int64_t kWordPieceRows = 11;

const GgufStored& value_of(const std::vector<GgufKeyToWrite>& keys, const std::string& name) {
  return std::find_if(keys.begin(), keys.end(), [&](const auto& key) { return key.name == name; })->value;
}

TEST(GgufTokenizer, WordPiecesAreSpeltAsLlamaCppWantsThem) {
  const auto keys = gguf_vocabulary(word_pieces(), Json::object(), kWordPieceRows);
  const std::string space = "\u2581";
  EXPECT_THAT(std::get<std::vector<std::string>>(value_of(keys, "tokenizer.ggml.tokens")),
              ElementsAre("[PAD]", "[UNK]", "[CLS]", "[SEP]", space + "un", "able", space + "able",
                          space + "#", space + "##", space + "[PAD9]", space + "[PAD10]"));
  EXPECT_THAT(std::get<std::vector<std::int32_t>>(value_of(keys, "tokenizer.ggml.token_type")),
              ElementsAre(3, 3, 3, 3, 1, 1, 1, 1, 1, 5, 5));
  EXPECT_EQ(std::get<std::string>(value_of(keys, "tokenizer.ggml.model")), "bert");
  EXPECT_EQ(std::get<std::uint32_t>(value_of(keys, "tokenizer.ggml.seperator_token_id")), 3u);
  EXPECT_EQ(std::get<std::uint32_t>(value_of(keys, "tokenizer.ggml.unknown_token_id")), 1u);
}

TEST(GgufTokenizer, WordPiecesComeBackAsTheyWentOut) {
  const TempDir folder;
  write_gguf(folder.path() / "model.gguf", gguf_vocabulary(word_pieces(), Json::object(), kWordPieceRows),
             {});
  const FileTree files = FileTree::on_disk(folder.path());
  EXPECT_EQ(tokenizer_json_from_gguf(GgufFile(files.open("model.gguf")))["model"]["vocab"],
            word_pieces()["model"]["vocab"]);
  EXPECT_THAT(load_tokenizer(files)->encode("UNABLE \u00e4ble # x[SEP]", true),
              ElementsAre(2, 4, 5, 6, 7, 1, 3, 3));
}

TEST(GgufTokenizer, NamesWhatLlamaCppDoesToEveryWordPieceAndATokenizerDoesNot) {
  const auto field = [](const char* part, const Json& change) {
    Json changed = word_pieces();
    changed[part].update(change);
    try {
      (void)gguf_vocabulary(changed, Json::object(), kWordPieceRows);
    } catch (const Error& error) {
      return error.field();
    }
    return std::string("none");
  };
  EXPECT_EQ(field("normalizer", {{"lowercase", false}}), "tokenizer.json.normalizer");
  EXPECT_EQ(field("normalizer", {{"strip_accents", false}}), "tokenizer.json.normalizer");
  EXPECT_EQ(field("pre_tokenizer", {{"type", "Digits"}}), "tokenizer.json.pre_tokenizer");
  EXPECT_EQ(field("post_processor", {{"type", "ByteLevel"}}), "tokenizer.json.post_processor");
  EXPECT_EQ(field("model", {{"continuing_subword_prefix", "@@"}}),
            "tokenizer.json.model.continuing_subword_prefix");
  EXPECT_EQ(field("model", {{"type", "Unigram"}}), "tokenizer.json.model.type");
  EXPECT_EQ(field("model", {{"type", "WordPiece"}}), "none");
}

}  // namespace
}  // namespace wring
