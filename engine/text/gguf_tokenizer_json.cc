// Writes the vocabulary inside a GGUF (keys tokenizer.ggml.*) as the tokenizer.json that transformers makes
// of it.
#include "engine/text/gguf_tokenizer_json.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/text.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/unicode.h"

namespace wring {
namespace {

constexpr std::int64_t kControl = 3, kUserDefined = 4, kUnused = 5;  // llama.cpp's token types

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

Json added_token(std::size_t id, const std::string& text, bool special) {
  return {{"id", id},        {"content", text}, {"special", special}, {"single_word", false},
          {"lstrip", false}, {"rstrip", false}, {"normalized", false}};
}

std::vector<std::int64_t> token_types(const GgufFile& file, std::size_t count) {
  auto types = file.has_key("tokenizer.ggml.token_type") ? file.integers("tokenizer.ggml.token_type")
                                                         : std::vector<std::int64_t>();
  types.resize(count);
  return types;
}

// Control tokens are special; user-defined ones are found in the text but are no markup. Both only where the
// vocabulary spells them as the file does: other "control" tokens are mislabelled text.
Json added_tokens(const GgufFile& file, const std::vector<std::string>& tokens) {
  Json added = Json::array();
  std::vector<bool> listed(tokens.size());
  const auto add = [&](std::size_t id, bool special) {
    if (listed[id] || spelling(tokens[id]) != tokens[id]) return;
    listed[id] = true;
    added.push_back(added_token(id, tokens[id], special));
  };
  for (const char* name : {"bos", "eos", "unknown", "padding"}) {
    const auto id = token_key(file, "tokenizer.ggml." + std::string(name) + "_token_id", tokens.size());
    if (id) add(*id, true);
  }
  const auto types = token_types(file, tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id)
    if (types[id] == kControl || types[id] == kUserDefined) add(id, types[id] == kControl);
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

Json with_model(const Json& model, const Json& added) {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"model", model}};
}

Json byte_level_bpe(const GgufFile& file, const std::vector<std::string>& tokens) {
  Json json = with_model({{"type", "BPE"},
                          {"dropout", nullptr},
                          {"unk_token", nullptr},
                          {"continuing_subword_prefix", nullptr},
                          {"end_of_word_suffix", nullptr},
                          {"fuse_unk", false},
                          {"byte_fallback", false},
                          {"ignore_merges", false},
                          {"vocab", vocabulary(tokens)},
                          {"merges", merges(file.strings("tokenizer.ggml.merges"))}},
                         added_tokens(file, tokens));
  json.update({{"normalizer", nullptr},
               {"pre_tokenizer", pre_tokenizer(file)},
               {"post_processor", post_processor(file, tokens)},
               {"decoder", byte_level(true)}});
  return json;
}

// A word's first piece has a sign for the space before it, those that continue it have nothing, markup is
// spelt as it is; older converters do not mark it.
std::string word_piece(const std::string& token, std::int64_t type) {
  constexpr std::string_view kSpace = "\xe2\x96\x81";
  if (token.starts_with(kSpace)) return token.substr(kSpace.size());
  if (type == kControl || (token.starts_with('[') && token.ends_with(']'))) return token;
  return "##" + token;
}

// As llama.cpp takes every WordPiece: small letters without accents, [CLS] and [SEP] around the text. Where a
// key is absent, the id is that of BERT's own vocabulary.
Json uncased_word_piece(const GgufFile& file, const std::vector<std::string>& tokens) {
  const auto types = token_types(file, tokens.size());
  std::vector<std::string> pieces;
  Json ids = Json::object(), added = Json::array();
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    pieces.push_back(word_piece(tokens[id], types[id]));
    if (types[id] != kUnused) ids[pieces.back()] = id;  // a row of the embedding that has no token
  }
  const auto special = [&](const std::string& name, std::size_t usual) {
    const auto id = token_key(file, "tokenizer.ggml." + name + "_token_id", tokens.size()).value_or(usual);
    if (id >= tokens.size())
      throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                  "is absent, and the vocabulary has no token " + std::to_string(usual),
                  "tokenizer.ggml." + name + "_token_id");
    return id;
  };
  const auto cls = special(file.has_key("tokenizer.ggml.bos_token_id") ? "bos" : "cls", 101),
             sep = special("seperator", 102), unknown = special("unknown", 100);  // ggml's spelling
  std::set<std::size_t> markup{cls, sep, unknown};
  for (const char* name : {"padding", "mask"})
    if (const auto id = token_key(file, "tokenizer.ggml." + std::string(name) + "_token_id", tokens.size()))
      markup.insert(*id);
  for (std::size_t id = 0; id < tokens.size(); ++id)
    if (types[id] == kControl) markup.insert(id);
  for (const auto id : markup) added.push_back(added_token(id, pieces[id], true));
  const auto put = [&](std::size_t id, int type) {
    return Json{{"SpecialToken", {{"id", pieces[id]}, {"type_id", type}}}};
  };
  const auto text = [](const char* name, int type) {
    return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  const auto named = [&](std::size_t id) {
    return Json{{"id", pieces[id]}, {"ids", {id}}, {"tokens", {pieces[id]}}};
  };
  Json json = with_model({{"type", "WordPiece"},
                          {"unk_token", pieces[unknown]},
                          {"continuing_subword_prefix", "##"},
                          {"max_input_chars_per_word", 100},
                          {"vocab", ids}},
                         added);
  json.update({{"normalizer",
                {{"type", "BertNormalizer"},
                 {"clean_text", true},
                 {"handle_chinese_chars", true},
                 {"strip_accents", nullptr},
                 {"lowercase", true}}},
               {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
               {"post_processor",
                {{"type", "TemplateProcessing"},
                 {"single", {put(cls, 0), text("A", 0), put(sep, 0)}},
                 {"pair", {put(cls, 0), text("A", 0), put(sep, 0), text("B", 1), put(sep, 1)}},
                 {"special_tokens", {{pieces[cls], named(cls)}, {pieces[sep], named(sep)}}}}},
               {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}}});
  return json;
}

}  // namespace

bool cuts_alike(const std::string& pre, const std::string& other) {
  const auto words = [](const std::string& name) {
    const auto it = std::find_if(std::begin(kCuttings), std::end(kCuttings),
                                 [&](const Cutting& cutting) { return name == cutting.name; });
    return it == std::end(kCuttings) ? std::string_view() : it->words;
  };
  return !words(pre).empty() && words(pre) == words(other);
}

Json tokenizer_json_from_gguf(const GgufFile& file) {
  const auto& model = file.string("tokenizer.ggml.model");
  if (model != "gpt2" && model != "bert")
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_TOKENIZER",
                "the vocabulary '" + model +
                    "' is not supported; supported here: gpt2 (byte-level BPE), bert (WordPiece)",
                "tokenizer.ggml.model", "put the model's tokenizer.json beside the file");
  const auto& tokens = file.strings("tokenizer.ggml.tokens");
  return model == "bert" ? uncased_word_piece(file, tokens) : byte_level_bpe(file, tokens);
}

}  // namespace wring
