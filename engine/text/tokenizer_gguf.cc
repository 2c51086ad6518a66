// Reads the vocabulary inside a GGUF file (keys tokenizer.ggml.*), for byte-level BPE.
#include <array>
#include <limits>

#include "common/error.h"
#include "common/text.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/pipeline.h"

namespace wring {
namespace {

constexpr std::int64_t kControl = 3, kUserDefined = 4;  // llama.cpp's token types

// tokenizer.ggml.pre names how text is cut. The ids must be those of transformers on the same file, so its
// table holds, also where the original tokenizer cuts a little differently ("smollm" separates digits from
// the spaces before them).
struct Cutting {
  std::string_view name;
  const std::string_view& words;
};
const std::array<Cutting, 21> kCuttings{{{"default", kGpt2Words},    {"gpt-2", kGpt2Words},
                                         {"smollm", kGpt2Words},     {"phi-2", kGpt2Words},
                                         {"olmo", kGpt2Words},       {"llama-bpe", kLlama3Words},
                                         {"llama3", kLlama3Words},   {"llama-v3", kLlama3Words},
                                         {"falcon3", kLlama3Words},  {"falcon-h1", kLlama3Words},
                                         {"pixtral", kLlama3Words},  {"lfm2", kLlama3Words},
                                         {"dbrx", kLlama3Words},     {"smaug-bpe", kLlama3Words},
                                         {"qwen2", kQwen2Words},     {"deepseek-r1-qwen", kQwen2Words},
                                         {"megrez", kQwen2Words},    {"tekken", kTekkenWords},
                                         {"gpt-4o", kGpt4oWords},    {"llama4", kGpt4oWords},
                                         {"minimax-m2", kGpt4oWords}}};

PreTokenizer pre_tokenizer(const GgufFile& gguf) {
  constexpr const char* kKey = "tokenizer.ggml.pre";
  const std::string name = gguf.has_key(kKey) ? gguf.string(kKey) : "default";
  std::vector<std::string> names;
  for (const auto& cutting : kCuttings) {
    names.emplace_back(cutting.name);
    if (cutting.name == name) return PreTokenizer({SplitStep{Pattern::regex(cutting.words, kKey)}});
  }
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_TOKENIZER",
              "the pre-tokenizer '" + name + "' is not supported; supported here: " + join(names, ", "),
              kKey);
}

Bpe::Merge merge(const std::string& text, std::size_t index) {
  const auto space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                "a merge should be two tokens with a space between, not '" + text + "'",
                "tokenizer.ggml.merges[" + std::to_string(index) + "]");
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

// Tokens that are not spelt in the byte alphabet are kept as the bytes they stand for.
Vocabulary vocabulary(const std::vector<std::string>& tokens) {
  Vocabulary vocabulary;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const auto field = "tokenizer.ggml.tokens[" + std::to_string(id) + "]";
    std::string repaired;
    const bool well_formed = well_formed_utf8(tokens[id], repaired).data() == tokens[id].data();
    const bool spelt = well_formed && spelt_bytes(tokens[id]).has_value();
    vocabulary.add(spelt ? tokens[id] : spell_bytes(tokens[id]), static_cast<std::int64_t>(id), field);
  }
  return vocabulary;
}

// The value of an optional key that names a token.
std::optional<std::int32_t> token_key(const GgufFile& gguf, const std::string& key,
                                      const Vocabulary& vocabulary) {
  if (!gguf.has_key(key)) return std::nullopt;
  const auto id = gguf.integer(key);
  if (id < 0 || static_cast<std::size_t>(id) >= vocabulary.size()) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                "the id " + std::to_string(id) + " is outside [0, " + std::to_string(vocabulary.size()) + ")",
                key);
  }
  return static_cast<std::int32_t>(id);
}

// Control tokens are special, user-defined ones are found in the text but are no markup; both only where the
// vocabulary spells them as the file does.
std::vector<AddedToken> added_tokens(const GgufFile& gguf, const std::vector<std::string>& tokens,
                                     const Vocabulary& vocabulary) {
  std::vector<AddedToken> added;
  const auto add = [&](const std::string& content, bool special) {
    if (const auto id = vocabulary.id(content)) added.push_back({content, *id, special});
  };
  if (gguf.has_key("tokenizer.ggml.token_type")) {
    const auto types = gguf.integers("tokenizer.ggml.token_type");
    for (std::size_t id = 0; id < std::min(types.size(), tokens.size()); ++id) {
      if (types[id] == kControl || types[id] == kUserDefined) add(tokens[id], types[id] == kControl);
    }
  }
  for (const char* key : {"bos", "eos", "unknown", "padding"}) {
    const auto id = token_key(gguf, "tokenizer.ggml." + std::string(key) + "_token_id", vocabulary);
    if (id) add(tokens[static_cast<std::size_t>(*id)], true);
  }
  return added;
}

}  // namespace

TokenizerParts read_gguf_tokenizer(const GgufFile& gguf) {
  const auto& model = gguf.string("tokenizer.ggml.model");
  if (model != "gpt2") {
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_TOKENIZER",
                "the vocabulary '" + model + "' is not supported; supported here: gpt2 (byte-level BPE)",
                "tokenizer.ggml.model", "put the model's tokenizer.json beside the file");
  }
  const auto& tokens = gguf.strings("tokenizer.ggml.tokens");
  const auto& lines = gguf.strings("tokenizer.ggml.merges");
  TokenizerParts parts;
  parts.vocabulary = vocabulary(tokens);
  std::vector<Bpe::Merge> merges;
  for (std::size_t i = 0; i < lines.size(); ++i) merges.push_back(merge(lines[i], i));
  parts.model.emplace(Bpe(parts.vocabulary, merges, {}, "tokenizer.ggml.merges"));
  parts.added = added_tokens(gguf, tokens, parts.vocabulary);
  parts.pre_tokenizer = pre_tokenizer(gguf);
  parts.end_of_text = token_key(gguf, "tokenizer.ggml.eos_token_id", parts.vocabulary);
  const auto bos = token_key(gguf, "tokenizer.ggml.bos_token_id", parts.vocabulary);
  if (bos && gguf.boolean_or("tokenizer.ggml.add_bos_token", false)) parts.before = {*bos};
  if (parts.end_of_text && gguf.boolean_or("tokenizer.ggml.add_eos_token", false))
    parts.after = {*parts.end_of_text};
  return parts;
}

}  // namespace wring
