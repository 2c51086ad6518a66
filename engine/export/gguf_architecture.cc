// config.json in GGUF's keys.
#include "engine/export/gguf_architecture.h"

#include <optional>
#include <utility>

#include "common/error.h"
#include "engine/model/block_sizes.h"
#include "engine/model/gguf_names.h"
#include "formats/gguf.h"

namespace wring {

void refuse_gguf(const std::string& what, const std::string& field) {
  throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE", "gguf " + what, field,
              "Export to huggingface, compressed-tensors or onnx instead.");
}

namespace {

bool is_pooler(const std::string& parameter) {
  return encoder_name(parameter).starts_with("pooler.");
}

// As sentence-transformers' modules.json says it; ggml's numbers.
std::optional<std::uint32_t> pooling_of(const FileTree& source) {
  if (!source.has("modules.json")) return std::nullopt;
  const auto read = [&](const std::string& path) {
    return parse_json(source.open(path).read_all().text(), path);
  };
  for (const Json& module : read("modules.json")) {
    if (!json_or<std::string>(module, "type", "").ends_with(".Pooling")) continue;
    const auto path = json_or<std::string>(module, "path", "") + "/config.json";
    if (!source.has(path)) return std::nullopt;
    const Json config = read(path);
    for (const auto& [key, number] :
         {std::pair{"pooling_mode_mean_tokens", 1U}, std::pair{"pooling_mode_cls_token", 2U},
          std::pair{"pooling_mode_lasttoken", 3U}})
      if (json_or<bool>(config, key, false)) return number;
  }
  return std::nullopt;
}

}  // namespace

GgufArchitecture::GgufArchitecture(const Model& model) : model_(model), config_(model.config()) {
  const auto type = text("model_type");
  if (type != "llama" && type != "mistral" && type != "qwen2" && type != "bert")
    refuse_gguf("is not written for models of type " + type, "config.json.model_type");
  check_equal_blocks(config_, "gguf");
  for (const auto& parameter : model.parameters())
    if (!holds(parameter.name) && !is_pooler(parameter.name))
      refuse_gguf("has no place for this part of the model, which would be lost", parameter.name);
  name_ = type == "mistral" ? "llama" : type;
  heads_ = integer("num_attention_heads");
  kv_heads_ = json_or<std::int64_t>(config_, "num_key_value_heads", heads_, "config.json");
  if (type == "bert")
    check_encoder();
  else
    head_dim_ = json_or<std::int64_t>(config_, "head_dim", integer("hidden_size") / heads_, "config.json");
}

void GgufArchitecture::check_encoder() const {
  if (config_.contains("head_dim"))
    refuse_gguf("holds a bert's heads only where they make up its hidden size",
                "config.json.num_attention_heads");
  if (const auto activation = json_or<std::string>(config_, "hidden_act", "gelu", "config.json");
      activation != "gelu")
    refuse_gguf("has no word for a bert's activation, and readers take it for gelu",
                "config.json.hidden_act");
}

std::string GgufArchitecture::text(const char* key) const {
  return json_at<std::string>(config_, key, "config.json");
}

std::int64_t GgufArchitecture::integer(const char* key) const {
  return json_at<std::int64_t>(config_, key, "config.json");
}

std::int64_t GgufArchitecture::heads_of(const std::string& tensor) const {
  return tensor.find(".q_proj.") != std::string::npos ? heads_ : kv_heads_;
}

GgufModelFacts GgufArchitecture::facts() const {
  return {name_, static_cast<int>(integer("num_hidden_layers")), static_cast<int>(heads_),
          static_cast<int>(kv_heads_), 0};
}

bool GgufArchitecture::holds(const std::string& parameter) const {
  return gguf_name(parameter) != parameter;
}

std::vector<GgufKeyToWrite> GgufArchitecture::keys(const FileTree& source) const {
  Keys keys;
  add(keys, "context_length",
      name_ == "bert" ? rows_of("position_embd.weight") : count("max_position_embeddings"));
  add(keys, "embedding_length", count("hidden_size"));
  add(keys, "block_count", count("num_hidden_layers"));
  add(keys, "feed_forward_length", count("intermediate_size"));
  add(keys, "vocab_size", count("vocab_size"));
  add(keys, "attention.head_count", static_cast<std::uint32_t>(heads_));
  name_ == "bert" ? add_encoder(keys, source) : add_decoder(keys);
  return keys;
}

void GgufArchitecture::add(Keys& keys, const char* key, GgufStored value) const {
  keys.push_back({name_ + "." + key, std::move(value)});
}

void GgufArchitecture::add_decoder(Keys& keys) const {
  add(keys, "attention.head_count_kv", static_cast<std::uint32_t>(kv_heads_));
  add(keys, "attention.layer_norm_rms_epsilon",
      static_cast<float>(json_at<double>(config_, "rms_norm_eps", "config.json")));
  add(keys, "rope.dimension_count", static_cast<std::uint32_t>(head_dim_));
  if (head_dim_ * heads_ != integer("hidden_size")) {
    add(keys, "attention.key_length", static_cast<std::uint32_t>(head_dim_));
    add(keys, "attention.value_length", static_cast<std::uint32_t>(head_dim_));
  }
  add_rope(keys);
}

std::uint32_t GgufArchitecture::rows_of(const std::string& table) const {
  for (const auto& parameter : model_.parameters())
    if (gguf_name(parameter.name) == table) return static_cast<std::uint32_t>(parameter.value.size(0));
  return 0;
}

void GgufArchitecture::add_encoder(Keys& keys, const FileTree& source) const {
  keys.push_back({"tokenizer.ggml.token_type_count", rows_of("token_types.weight")});
  add(keys, "attention.layer_norm_epsilon",
      static_cast<float>(json_or<double>(config_, "layer_norm_eps", 1e-12, "config.json")));
  add(keys, "attention.causal", false);
  if (const auto pooling = pooling_of(source)) add(keys, "pooling_type", *pooling);
}

// rope_parameters (transformers 5), or rope_theta and rope_scaling.
void GgufArchitecture::add_rope(Keys& keys) const {
  const Json rope =
      json_or<Json>(config_, "rope_parameters",
                    json_or<Json>(config_, "rope_scaling", Json::object(), "config.json"), "config.json");
  const double base = json_or<double>(
      rope, "rope_theta", json_or<double>(config_, "rope_theta", 10000.0, "config.json"), "config.json");
  add(keys, "rope.freq_base", static_cast<float>(base));
  const auto type =
      json_or<std::string>(rope, "rope_type", json_or<std::string>(rope, "type", "default"), "config.json");
  if (type == "default" || type == "llama3") return;  // the second is a table: rope_factors()
  if (type != "linear" && type != "yarn")
    refuse_gguf("is not written with rope scaling '" + type + "'", "config.json.rope_scaling");
  for (const char* key :
       {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"})
    if (rope.contains(key) && !rope.at(key).is_null())
      refuse_gguf("is not written with the rope setting " + std::string(key),
                  "config.json.rope_scaling." + std::string(key));
  add(keys, "rope.scaling.type", type);
  add(keys, "rope.scaling.factor",
      static_cast<float>(json_at<double>(rope, "factor", "config.json.rope_scaling")));
  if (rope.contains("original_max_position_embeddings"))
    add(keys, "rope.scaling.original_context_length",
        json_at<std::uint32_t>(rope, "original_max_position_embeddings", "config.json.rope_scaling"));
}

}  // namespace wring
