// One table for reading and writing.
#include "engine/model/gguf_names.h"

#include <array>
#include <string_view>
#include <utility>

namespace wring {

std::string gguf_name(const std::string& name) {
  static const std::array<std::pair<std::string_view, std::string_view>, 3> kWhole{{
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"},
  }};
  static const std::array<std::pair<std::string_view, std::string_view>, 9> kParts{{
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
  for (const auto& [hf, gguf] : kWhole)
    if (name == hf) return std::string(gguf);
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return name;
  const auto dot = name.find('.', kPrefix.size());
  if (dot == std::string::npos) return name;
  const std::string index = name.substr(kPrefix.size(), dot - kPrefix.size()), rest = name.substr(dot + 1);
  for (const auto& [hf, gguf] : kParts)
    if (rest.starts_with(hf) && rest.size() > hf.size() && rest[hf.size()] == '.')
      return "blk." + index + "." + std::string(gguf) + rest.substr(hf.size());
  return name;
}

at::Tensor unpermuted_rows(std::int64_t rows, std::int64_t heads) {
  return at::arange(rows, at::kLong).reshape({heads, rows / heads / 2, 2}).transpose(1, 2).reshape({-1});
}

bool is_rotary(const std::string& name) {
  return name.find(".q_proj.") != std::string::npos || name.find(".k_proj.") != std::string::npos;
}

}  // namespace wring
