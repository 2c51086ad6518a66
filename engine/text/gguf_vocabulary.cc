// Tokens in the order of their ids, merges as lines, and the pre-tokeniser by the name that llama.cpp knows
// it under.
#include "engine/text/gguf_vocabulary.h"

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
      "GGUF takes byte-level BPE as GPT-2, SmolLM, Llama 3, Qwen2, Tekken and GPT-4o cut text. Export to "
      "huggingface or compressed-tensors instead.");
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

}  // namespace

std::vector<GgufKeyToWrite> gguf_vocabulary(const Json& tokenizer, const Json& config,
                                            std::int64_t vocabulary_size) {
  const Json model = json_at<Json>(tokenizer, "model", "tokenizer.json");
  if (json_or<std::string>(model, "type", "") != "BPE") throw_unsupported("it is no BPE", ".model.type");
  if (model.value("byte_fallback", false))
    throw_unsupported("it falls back to bytes as SentencePiece does", ".model");
  check_normalizer(json_or<Json>(tokenizer, "normalizer", nullptr));
  Tokens tokens(vocabulary_size);
  const Json vocabulary = json_at<Json>(model, "vocab", "tokenizer.json.model");
  for (const auto& [text, id] : vocabulary.items()) tokens.set(id.get<std::int64_t>(), text, kNormal);
  for (const auto& added : json_or<Json>(tokenizer, "added_tokens", Json::array()))
    tokens.set(json_at<std::int64_t>(added, "id", "tokenizer.json.added_tokens"),
               json_at<std::string>(added, "content", "tokenizer.json.added_tokens"),
               added.value("special", false) ? kControl : kUserDefined);
  std::vector<GgufKeyToWrite> keys{
      {"tokenizer.ggml.model", std::string("gpt2")},
      {"tokenizer.ggml.pre", pre_tokenizer_name(json_or<Json>(tokenizer, "pre_tokenizer", nullptr))},
      {"tokenizer.ggml.tokens", std::move(tokens.texts_)},
      {"tokenizer.ggml.token_type", std::move(tokens.types_)},
      {"tokenizer.ggml.merges", merge_lines(json_at<Json>(model, "merges", "tokenizer.json.model"))}};
  for (const char* name : {"bos", "eos", "pad"}) {
    Json id = json_or<Json>(config, (std::string(name) + "_token_id").c_str(), nullptr);
    if (id.is_array() && !id.empty()) id = id.front();
    if (id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < vocabulary_size)
      keys.push_back(
          {"tokenizer.ggml." + std::string(name == std::string_view("pad") ? "padding" : name) + "_token_id",
           static_cast<std::uint32_t>(id.get<std::int64_t>())});
  }
  keys.push_back({"tokenizer.ggml.add_bos_token", adds_special(tokenizer, true)});
  keys.push_back({"tokenizer.ggml.add_eos_token", adds_special(tokenizer, false)});
  return keys;
}

}  // namespace wring
