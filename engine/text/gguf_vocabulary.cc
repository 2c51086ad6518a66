// Tokens in the order of their ids, merges as lines, and the pre-tokeniser by the name that llama.cpp knows
// it under.
#include "engine/text/gguf_vocabulary.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "common/error.h"
#include "engine/text/pre_tokenizer.h"

namespace wring {
namespace {

constexpr std::int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;  // llama.cpp's token types

[[noreturn]] void throw_unsupported(const std::string& what, const std::string& field) {
  throw Error(
      ErrorCode::kUnimplemented, "UNSUPPORTED_TOKENIZER", what, "tokenizer.json" + field,
      "GGUF takes byte-level BPE as GPT-2, SmolLM, Llama 3, Qwen2, Tekken and GPT-4o cut text, and uncased "
      "WordPiece. Export to huggingface or compressed-tensors instead.");
}

// How text is cut, by the regular expression before the byte-level step.
std::string name_of_pattern(std::string_view pattern) {
  if (pattern == kLlama3Words) return "llama-bpe";
  if (pattern == kQwen2Words) return "qwen2";
  if (pattern == kTekkenWords) return "tekken";
  if (pattern == kGpt4oWords) return "gpt-4o";
  throw_unsupported("its pre-tokeniser cuts text by a pattern that llama.cpp has no name for",
                    ".pre_tokenizer");
}

std::string pre_tokenizer_name(const Json& json) {
  const auto type = [](const Json& step) { return json_or<std::string>(step, "type", ""); };
  const auto byte_level = [&](const Json& step) {
    return type(step) == "ByteLevel" && !step.value("add_prefix_space", false);
  };
  if (json.is_object() && byte_level(json)) return "gpt-2";
  if (!json.is_object() || type(json) != "Sequence")
    throw_unsupported("its pre-tokeniser is no byte-level one", ".pre_tokenizer");
  const Json steps = json_or<Json>(json, "pretokenizers", Json::array());
  if (steps.size() != 2 || !byte_level(steps[1]))
    throw_unsupported("its pre-tokeniser has other steps", ".pre_tokenizer");
  if (type(steps[0]) == "Digits" && steps[0].value("individual_digits", false)) return "smollm";
  if (type(steps[0]) == "Split" && steps[0].contains("pattern") && steps[0].at("pattern").contains("Regex"))
    return name_of_pattern(steps[0].at("pattern").at("Regex").get<std::string>());
  throw_unsupported("its pre-tokeniser has other steps", ".pre_tokenizer");
}

// llama.cpp normalises no text for these; NFC, as Qwen2 has it, is what its converter lets pass too.
void check_normalizer(const Json& json) {
  const auto type = json.is_object() ? json_or<std::string>(json, "type", "") : "";
  if (!json.is_null() && type != "NFC")
    throw_unsupported("its normalizer changes text in ways that llama.cpp does not", ".normalizer");
}

class Tokens {
 public:
  explicit Tokens(std::int64_t size)
      : texts_(static_cast<std::size_t>(size)), types_(texts_.size(), kUnused) {
    for (std::size_t i = 0; i < texts_.size(); ++i) texts_[i] = "[PAD" + std::to_string(i) + "]";
  }

  void set(std::int64_t id, const std::string& text, std::int32_t type) {
    if (id < 0 || id >= static_cast<std::int64_t>(texts_.size()))
      throw Error(ErrorCode::kInvalidArgument, "VOCABULARY_MISMATCH",
                  "the token '" + text + "' has the id " + std::to_string(id) + ", the embedding " +
                      std::to_string(texts_.size()) + " rows",
                  "tokenizer.json", "Model and tokenizer do not belong together.");
    texts_[static_cast<std::size_t>(id)] = text;
    types_[static_cast<std::size_t>(id)] = type;
  }

  std::vector<std::string> texts_;
  std::vector<std::int32_t> types_;
};

std::vector<std::string> merge_lines(const Json& merges) {
  std::vector<std::string> lines;
  for (const auto& merge : merges)
    lines.push_back(merge.is_string()
                        ? merge.get<std::string>()
                        : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
  return lines;
}

// Whether add_special_tokens puts one in front (behind).
bool adds_special(const Json& tokenizer, bool in_front) {
  const Json processor = json_or<Json>(tokenizer, "post_processor", nullptr);
  if (!processor.is_object() || json_or<std::string>(processor, "type", "") != "TemplateProcessing")
    return false;
  const Json single = json_or<Json>(processor, "single", Json::array());
  return !single.empty() && (in_front ? single.front() : single.back()).contains("SpecialToken");
}

// The tokens that `tokenizer` has, and types of them all.
Tokens all_tokens(const Json& tokenizer, const Json& model, std::int64_t size) {
  Tokens tokens(size);
  const Json vocabulary = json_at<Json>(model, "vocab", "tokenizer.json.model");
  for (const auto& [text, id] : vocabulary.items()) tokens.set(id.get<std::int64_t>(), text, kNormal);
  for (const auto& added : json_or<Json>(tokenizer, "added_tokens", Json::array()))
    tokens.set(json_at<std::int64_t>(added, "id", "tokenizer.json.added_tokens"),
               json_at<std::string>(added, "content", "tokenizer.json.added_tokens"),
               added.value("special", false) ? kControl : kUserDefined);
  return tokens;
}

std::vector<GgufKeyToWrite> byte_level_vocabulary(const Json& tokenizer, const Json& model,
                                                  const Json& config, std::int64_t size) {
  if (model.value("byte_fallback", false))
    throw_unsupported("it falls back to bytes as SentencePiece does", ".model");
  check_normalizer(json_or<Json>(tokenizer, "normalizer", nullptr));
  Tokens tokens = all_tokens(tokenizer, model, size);
  std::vector<GgufKeyToWrite> keys{
      {"tokenizer.ggml.model", std::string("gpt2")},
      {"tokenizer.ggml.pre", pre_tokenizer_name(json_or<Json>(tokenizer, "pre_tokenizer", nullptr))},
      {"tokenizer.ggml.tokens", std::move(tokens.texts_)},
      {"tokenizer.ggml.token_type", std::move(tokens.types_)},
      {"tokenizer.ggml.merges", merge_lines(json_at<Json>(model, "merges", "tokenizer.json.model"))}};
  for (const char* name : {"bos", "eos", "pad"}) {
    Json id = json_or<Json>(config, (std::string(name) + "_token_id").c_str(), nullptr);
    if (id.is_array() && !id.empty()) id = id.front();
    if (id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < size)
      keys.push_back(
          {"tokenizer.ggml." + std::string(name == std::string_view("pad") ? "padding" : name) + "_token_id",
           static_cast<std::uint32_t>(id.get<std::int64_t>())});
  }
  keys.push_back({"tokenizer.ggml.add_bos_token", adds_special(tokenizer, true)});
  keys.push_back({"tokenizer.ggml.add_eos_token", adds_special(tokenizer, false)});
  return keys;
}

// What llama.cpp does with every text before WordPiece, whatever the file says.
void check_bert_steps(const Json& tokenizer) {
  const Json normalizer = json_or<Json>(tokenizer, "normalizer", nullptr),
             pre_tokenizer = json_or<Json>(tokenizer, "pre_tokenizer", nullptr);
  const auto is = [](const Json& step, const char* type) {
    return step.is_object() && json_or<std::string>(step, "type", "") == type;
  };
  if (!is(normalizer, "BertNormalizer") || !normalizer.value("lowercase", true) ||
      json_or<Json>(normalizer, "strip_accents", nullptr) == Json(false) ||
      !normalizer.value("handle_chinese_chars", true))
    throw_unsupported("llama.cpp makes small letters without accents of all text, which it does not",
                      ".normalizer");
  if (!is(pre_tokenizer, "BertPreTokenizer"))
    throw_unsupported("its pre-tokeniser is not BERT's", ".pre_tokenizer");
}

// The ids of [CLS] and [SEP], which llama.cpp puts around every text.
std::pair<std::uint32_t, std::uint32_t> around_text(const Json& tokenizer) {
  const Json processor = json_or<Json>(tokenizer, "post_processor", nullptr);
  const auto type = processor.is_object() ? json_or<std::string>(processor, "type", "") : "";
  if (type == "BertProcessing")
    return {processor.at("cls").at(1).get<std::uint32_t>(), processor.at("sep").at(1).get<std::uint32_t>()};
  const Json single =
      type == "TemplateProcessing" ? json_or<Json>(processor, "single", Json::array()) : Json();
  if (single.size() != 3 || !single[0].contains("SpecialToken") || !single[1].contains("Sequence") ||
      !single[2].contains("SpecialToken"))
    throw_unsupported("it does not put one token before a text and one behind it, as llama.cpp does",
                      ".post_processor");
  const auto id = [&](const Json& token) {
    return processor.at("special_tokens")
        .at(token.at("SpecialToken").at("id").get<std::string>())
        .at("ids")
        .at(0)
        .get<std::uint32_t>();
  };
  return {id(single[0]), id(single[2])};
}

// "##ing" is spelt "ing", and what begins a word has a sign for the space before it.
std::string word_piece(const std::string& token, std::int32_t type) {
  constexpr std::string_view kContinues = "##", kSpace = "\xe2\x96\x81";
  if (type == kControl) return token;
  if (token.size() > kContinues.size() && token.starts_with(kContinues))
    return token.substr(kContinues.size());
  return std::string(kSpace) + token;
}

std::vector<GgufKeyToWrite> word_piece_vocabulary(const Json& tokenizer, const Json& model,
                                                  std::int64_t size) {
  if (model.value("continuing_subword_prefix", "##") != "##")
    throw_unsupported("what continues its words is not marked by ##", ".model.continuing_subword_prefix");
  check_bert_steps(tokenizer);
  const auto [first, last] = around_text(tokenizer);
  Tokens tokens = all_tokens(tokenizer, model, size);
  const auto id_of = [&](const std::string& text) -> std::optional<std::uint32_t> {
    const auto it = std::find(tokens.texts_.begin(), tokens.texts_.end(), text);
    if (it == tokens.texts_.end()) return std::nullopt;
    return static_cast<std::uint32_t>(it - tokens.texts_.begin());
  };
  std::vector<GgufKeyToWrite> keys{{"tokenizer.ggml.model", std::string("bert")},
                                   {"tokenizer.ggml.pre", std::string("default")},
                                   {"tokenizer.ggml.bos_token_id", first},
                                   {"tokenizer.ggml.cls_token_id", first},
                                   {"tokenizer.ggml.seperator_token_id", last}};  // ggml's spelling
  const auto unknown = json_at<std::string>(model, "unk_token", "tokenizer.json.model");
  for (const auto& [key, text] :
       {std::pair<const char*, std::string>{"unknown", unknown}, {"padding", "[PAD]"}, {"mask", "[MASK]"}})
    if (const auto id = id_of(text))
      keys.push_back({"tokenizer.ggml." + std::string(key) + "_token_id", *id});
  for (std::size_t i = 0; i < tokens.texts_.size(); ++i)
    tokens.texts_[i] = word_piece(tokens.texts_[i], tokens.types_[i]);
  keys.push_back({"tokenizer.ggml.tokens", std::move(tokens.texts_)});
  keys.push_back({"tokenizer.ggml.token_type", std::move(tokens.types_)});
  return keys;
}

}  // namespace

std::vector<GgufKeyToWrite> gguf_vocabulary(const Json& tokenizer, const Json& config,
                                            std::int64_t vocabulary_size) {
  const Json model = json_at<Json>(tokenizer, "model", "tokenizer.json");
  const auto type = json_or<std::string>(model, "type", "");
  try {
    if (type == "WordPiece") return word_piece_vocabulary(tokenizer, model, vocabulary_size);
    if (type == "BPE") return byte_level_vocabulary(tokenizer, model, config, vocabulary_size);
  } catch (const Json::exception& e) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                std::string("a member is of another type: ") + e.what(), "tokenizer.json",
                "Hand in the tokenizer.json that transformers saves.");
  }
  throw_unsupported("it is neither BPE nor WordPiece", ".model.type");
}

}  // namespace wring
