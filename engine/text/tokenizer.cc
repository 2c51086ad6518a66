// Finds a model's vocabulary among its files.
#include "engine/text/tokenizer.h"

#include "common/error.h"
#include "common/json.h"
#include "engine/text/gguf_tokenizer_json.h"
#include "engine/text/pipeline.h"
#include "formats/gguf.h"

namespace wring {
namespace {

constexpr std::uint64_t kLargestFile = 64 << 20;

std::optional<Json> read_json(const FileTree& model, const std::string& path) {
  if (!model.has(path)) return std::nullopt;
  const auto file = model.open(path);
  if (file.size() > kLargestFile) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                "has " + std::to_string(file.size()) + " bytes; at most 64 MiB are read", path);
  }
  return parse_json(file.read_all().text(), model.origin() + "/" + path);
}

// A token that is written as its content or as an object that has it.
std::string content_of(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  return json_or<std::string>(token, "content", "");
}

// The token that ends a text, as content: where transformers looks, in its order; "" where no file names one.
std::string end_of_text_content(const FileTree& model) {
  for (const char* path : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const auto config = read_json(model, path);
    if (!config || !config->is_object() || !config->contains("eos_token")) continue;
    if (auto content = content_of((*config)["eos_token"]); !content.empty()) return content;
  }
  return {};
}

// The same as an id, from the model's own configuration.
std::optional<std::int32_t> configured_end_of_text(const FileTree& model, std::size_t vocabulary) {
  for (const char* path : {"generation_config.json", "config.json"}) {
    const auto config = read_json(model, path);
    if (!config || !config->is_object() || !config->contains("eos_token_id")) continue;
    const auto& value = (*config)["eos_token_id"];
    const auto& first = value.is_array() && !value.empty() ? value[0] : value;
    if (!first.is_number_integer()) continue;
    const auto id = first.get<std::int64_t>();
    if (id >= 0 && static_cast<std::size_t>(id) < vocabulary) return static_cast<std::int32_t>(id);
  }
  return std::nullopt;
}

std::unique_ptr<Tokenizer> from_json(const FileTree& model) {
  const auto json = read_json(model, "tokenizer.json");
  if (!json) return nullptr;
  auto parts = parse_tokenizer_json(*json, "tokenizer.json", end_of_text_content(model));
  if (!parts.end_of_text) parts.end_of_text = configured_end_of_text(model, parts.vocabulary.size());
  return make_tokenizer(std::move(parts));
}

std::unique_ptr<Tokenizer> from_gguf(const FileTree& model) {
  constexpr const char* kEndOfText = "tokenizer.ggml.eos_token_id";
  for (const auto& path : model.paths()) {
    if (!path.ends_with(".gguf")) continue;
    const GgufFile gguf(model.open(path));
    if (!gguf.has_key("tokenizer.ggml.model")) continue;
    auto parts = parse_tokenizer_json(tokenizer_json_from_gguf(gguf), "tokenizer.ggml", {});
    if (gguf.has_key(kEndOfText)) parts.end_of_text = static_cast<std::int32_t>(gguf.integer(kEndOfText));
    return make_tokenizer(std::move(parts));
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const FileTree& model) {
  if (auto tokenizer = from_json(model)) return tokenizer;
  if (auto tokenizer = from_gguf(model)) return tokenizer;
  throw Error(ErrorCode::kNotFound, "NO_TOKENIZER",
              model.origin() + " has no tokenizer: neither tokenizer.json nor a *.gguf with a vocabulary", {},
              "put the model's tokenizer.json beside its weights (transformers: tokenizer.save_pretrained)");
}

}  // namespace wring
