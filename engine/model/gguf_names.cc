// One table for reading and writing.
#include "engine/model/gguf_names.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>

namespace wring {

namespace {

using Names = std::pair<std::string_view, std::string_view>;  // Hugging Face's, GGUF's

constexpr std::array<Names, 7> kWhole{{
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.position_embeddings", "position_embd"},
    {"embeddings.token_type_embeddings", "token_types"},
    {"embeddings.LayerNorm", "token_embd_norm"},
}};
constexpr std::array<Names, 9> kDecoderParts{{
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
}};
constexpr std::array<Names, 8> kEncoderParts{{
    {"attention.self.query", "attn_q"},
    {"attention.self.key", "attn_k"},
    {"attention.self.value", "attn_v"},
    {"attention.output.dense", "attn_output"},
    {"attention.output.LayerNorm", "attn_output_norm"},
    {"intermediate.dense", "ffn_up"},
    {"output.dense", "ffn_down"},
    {"output.LayerNorm", "layer_output_norm"},
}};

std::string_view find_name(std::span<const Names> names, std::string_view module) {
  const auto it =
      std::find_if(names.begin(), names.end(), [&](const Names& pair) { return pair.first == module; });
  return it == names.end() ? std::string_view() : it->second;
}

}  // namespace

std::string encoder_name(const std::string& name) {
  constexpr std::string_view kPrefix = "bert.";
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

std::string gguf_name(const std::string& full) {
  const std::string name = encoder_name(full);
  const auto kind = name.rfind('.');
  if (kind == std::string::npos) return full;
  const std::string module = name.substr(0, kind), suffix = name.substr(kind);
  if (const auto whole = find_name(kWhole, module); !whole.empty()) return std::string(whole) + suffix;
  for (const auto& [prefix, parts] :
       {std::pair<std::string_view, std::span<const Names>>{"model.layers.", kDecoderParts},
        {"encoder.layer.", kEncoderParts}}) {
    const auto dot = module.find('.', prefix.size());
    if (!module.starts_with(prefix) || dot == std::string::npos) continue;
    if (const auto part = find_name(parts, std::string_view(module).substr(dot + 1)); !part.empty())
      return "blk." + module.substr(prefix.size(), dot - prefix.size()) + "." + std::string(part) + suffix;
  }
  return full;
}

at::Tensor unpermuted_rows(std::int64_t rows, std::int64_t heads) {
  return at::arange(rows, at::kLong).reshape({heads, rows / heads / 2, 2}).transpose(1, 2).reshape({-1});
}

bool is_rotary(const std::string& name) {
  return name.find(".q_proj.") != std::string::npos || name.find(".k_proj.") != std::string::npos;
}

}  // namespace wring
