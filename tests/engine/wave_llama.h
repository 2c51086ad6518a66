// The small Llama that training's goldens begin with: weights and texts by formulas that
// make_training_goldens.py repeats.
#pragma once

#include <memory>
#include <string>

#include "common/json.h"
#include "tests/engine/random_family.h"

namespace wring::wave_llama {

// 0.4 sin(1.618 i + number + phase), and gains around 1.
class Wave final {
 public:
  explicit Wave(double phase) : phase_(phase) {}
  at::Tensor next(at::IntArrayRef shape) {
    const at::Tensor places = at::arange(c10::multiply_integers(shape), at::kDouble);
    const at::Tensor wave = at::sin(1.618 * places + (number_++ + phase_));
    return (shape.size() == 1 ? 1 + 0.1 * wave : 0.4 * wave).to(at::kFloat).reshape(shape);
  }

 private:
  double phase_;
  int number_ = 0;
};

// Of the file's "config".
inline std::unique_ptr<Model> model(const Json& golden, std::int64_t blocks, double phase) {
  Json config = golden.at("config");
  config["model_type"] = "llama";
  config["num_hidden_layers"] = blocks;
  const auto size = [&](const char* name) { return config.at(name).get<std::int64_t>(); };
  const std::int64_t hidden = size("hidden_size"), ffn = size("intermediate_size"),
                     q = size("num_attention_heads") * size("head_dim"),
                     kv = size("num_key_value_heads") * size("head_dim");
  Wave wave(phase);
  random_family::Tensors tensors(0);
  tensors.put("model.embed_tokens.weight", wave.next({size("vocab_size"), hidden}));
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::string block = "model.layers." + std::to_string(i) + ".";
    tensors.put(block + "self_attn.q_proj.weight", wave.next({q, hidden}));
    tensors.put(block + "self_attn.k_proj.weight", wave.next({kv, hidden}));
    tensors.put(block + "self_attn.v_proj.weight", wave.next({kv, hidden}));
    tensors.put(block + "self_attn.o_proj.weight", wave.next({hidden, q}));
    tensors.put(block + "mlp.gate_proj.weight", wave.next({ffn, hidden}));
    tensors.put(block + "mlp.up_proj.weight", wave.next({ffn, hidden}));
    tensors.put(block + "mlp.down_proj.weight", wave.next({hidden, ffn}));
    tensors.put(block + "input_layernorm.weight", wave.next({hidden}));
    tensors.put(block + "post_attention_layernorm.weight", wave.next({hidden}));
  }
  tensors.put("model.norm.weight", wave.next({hidden}));
  return make_model(config, tensors);
}

// [sequences, positions]
inline at::Tensor texts(const Json& golden) {
  const auto count = [&](const char* name) { return golden.at(name).get<std::int64_t>(); };
  const at::Tensor s = at::arange(count("sequences"), at::kLong).unsqueeze(1),
                   p = at::arange(count("positions"), at::kLong).unsqueeze(0);
  return at::remainder(7 * s * s + 3 * p * (s + 1) + p * p,
                       golden.at("config").at("vocab_size").get<std::int64_t>());
}

}  // namespace wring::wave_llama
