// Writes the vocabulary inside a GGUF (keys tokenizer.ggml.*) as the tokenizer.json that transformers makes
// of it.
#include "engine/text/gguf_tokenizer_json.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/text.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/unicode.h"

namespace wring {
namespace {

constexpr std::int64_t kControl = 3, kUserDefined = 4;  // llama.cpp's token types

// tokenizer.ggml.pre names how text is cut. The ids must be those of transformers on the same file, so its
// table holds, also where the original tokenizer cuts a little differently ("smollm" sets digits apart from
// the spaces before them).
struct Cutting {
  const char* name;
  const std::string_view& words;
};
const Cutting kCuttings[] = {{"default", kGpt2Words},    {"gpt-2", kGpt2Words},
                             {"smollm", kGpt2Words},     {"phi-2", kGpt2Words},
                             {"olmo", kGpt2Words},       {"llama-bpe", kLlama3Words},
                             {"llama3", kLlama3Words},   {"llama-v3", kLlama3Words},
                             {"falcon3", kLlama3Words},  {"falcon-h1", kLlama3Words},
                             {"pixtral", kLlama3Words},  {"lfm2", kLlama3Words},
                             {"dbrx", kLlama3Words},     {"smaug-bpe", kLlama3Words},
                             {"qwen2", kQwen2Words},     {"deepseek-r1-qwen", kQwen2Words},
                             {"megrez", kQwen2Words},    {"tekken", kTekkenWords},
                             {"gpt-4o", kGpt4oWords},    {"llama4", kGpt4oWords},
                             {"minimax-m2", kGpt4oWords}};

Json byte_level(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json pre_tokenizer(const GgufFile& file) {
  constexpr const char* kKey = "tokenizer.ggml.pre";
  const std::string name = file.has_key(kKey) ? file.string(kKey) : "default";
  std::vector<std::string> names;
  for (const auto& cutting : kCuttings) {
    names.emplace_back(cutting.name);
    if (cutting.name != name) continue;
    if (cutting.words == kGpt2Words) return byte_level(true);
    const Json split{{"type", "Split"},
                     {"pattern", {{"Regex", cutting.words}}},
                     {"behavior", "Isolated"},
                     {"invert", false}};
    return {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level(false)})}};
  }
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_TOKENIZER",
              "the pre-tokenizer '" + name + "' is not supported; supported here: " + join(names, ", "),
              kKey);
}

// A token as the vocabulary spells it: as the file does where that is the byte alphabet, else byte by byte.
std::string spelling(const std::string& token) {
  std::string repaired;
  const bool well_formed = well_formed_utf8(token, repaired).data() == token.data();
  return well_formed && spelt_bytes(token) ? token : spell_bytes(token);
}

Json vocabulary(const std::vector<std::string>& tokens) {
  Json ids = Json::object();
  for (std::size_t id = 0; id < tokens.size(); ++id) ids[spelling(tokens[id])] = id;
  return ids;
}

Json merges(const std::vector<std::string>& lines) {
  Json pairs = Json::array();
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (std::ranges::count(lines[i], ' ') != 1) {
      throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                  "a merge should be two tokens with a space between, not '" + lines[i] + "'",
                  "tokenizer.ggml.merges[" + std::to_string(i) + "]");
    }
    const auto space = lines[i].find(' ');
    pairs.push_back({spelling(lines[i].substr(0, space)), spelling(lines[i].substr(space + 1))});
  }
  return pairs;
}

// The token that an optional key names.
std::optional<std::size_t> token_key(const GgufFile& file, const std::string& key, std::size_t vocabulary) {
  if (!file.has_key(key)) return std::nullopt;
  const auto id = file.integer(key);
  if (id >= 0 && static_cast<std::size_t>(id) < vocabulary) return static_cast<std::size_t>(id);
  throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
              "the id " + std::to_string(id) + " is outside [0, " + std::to_string(vocabulary) + ")", key);
}

// Control tokens are special; user-defined ones are found in the text but are no markup. Both only where the
// vocabulary spells them as the file does: other "control" tokens are mislabelled text.
Json added_tokens(const GgufFile& file, const std::vector<std::string>& tokens) {
  Json added = Json::array();
  std::vector<bool> listed(tokens.size());
  const auto add = [&](std::size_t id, bool special) {
    if (listed[id] || spelling(tokens[id]) != tokens[id]) return;
    listed[id] = true;
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"special", special},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false}});
  };
  for (const char* name : {"bos", "eos", "unknown", "padding"}) {
    const auto id = token_key(file, "tokenizer.ggml." + std::string(name) + "_token_id", tokens.size());
    if (id) add(*id, true);
  }
  if (!file.has_key("tokenizer.ggml.token_type")) return added;
  const auto types = file.integers("tokenizer.ggml.token_type");
  for (std::size_t id = 0; id < std::min(types.size(), tokens.size()); ++id) {
    if (types[id] == kControl || types[id] == kUserDefined) add(id, types[id] == kControl);
  }
  return added;
}

// The template of add_special_tokens: a BOS and an EOS where the file asks for them.
Json post_processor(const GgufFile& file, const std::vector<std::string>& tokens) {
  Json sequence = Json::array(), special = Json::object();
  const auto add = [&](const std::string& name) {
    const auto id = token_key(file, "tokenizer.ggml." + name + "_token_id", tokens.size());
    if (!id || !file.boolean_or("tokenizer.ggml.add_" + name + "_token", false)) return;
    const auto token = spelling(tokens[*id]);
    sequence.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    special[token] = {{"id", token}, {"ids", {*id}}, {"tokens", {token}}};
  };
  add("bos");
  sequence.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add("eos");
  auto pair = sequence;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", sequence}, {"pair", pair}, {"special_tokens", special}};
}

}  // namespace

Json tokenizer_json_from_gguf(const GgufFile& file) {
  const auto& model = file.string("tokenizer.ggml.model");
  if (model != "gpt2") {
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_TOKENIZER",
                "the vocabulary '" + model + "' is not supported; supported here: gpt2 (byte-level BPE)",
                "tokenizer.ggml.model", "put the model's tokenizer.json beside the file");
  }
  const auto& tokens = file.strings("tokenizer.ggml.tokens");
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(file, tokens)},
          {"normalizer", nullptr},
          {"pre_tokenizer", pre_tokenizer(file)},
          {"post_processor", post_processor(file, tokens)},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary(tokens)},
            {"merges", merges(file.strings("tokenizer.ggml.merges"))}}}};
}

}  // namespace wring
