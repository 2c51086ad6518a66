// Vocabularies inside GGUF files, from files that the tests write byte by byte.
#include <gmock/gmock.h>

#include <functional>

#include "common/error.h"
#include "common/files.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/gguf_tokenizer_json.h"
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

}  // namespace
}  // namespace wring
