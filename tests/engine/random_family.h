// Random models of every family, from a config: sizes, grouped heads, tied or untied, with and without
// biases.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/model/model.h"

namespace wring::random_family {

class Tensors final : public TensorSource {
 public:
  explicit Tensors(unsigned seed) { at::manual_seed(seed); }

  void matrix(const std::string& layer, std::int64_t out, std::int64_t in, bool bias) {
    tensors_[layer + ".weight"] = at::randn({out, in}) / std::sqrt(static_cast<double>(in));
    if (bias) tensors_[layer + ".bias"] = at::randn({out}) * 0.2;
  }
  void gain(const std::string& name, std::int64_t size) { tensors_[name] = 1 + 0.2 * at::randn({size}); }
  void vector(const std::string& name, std::int64_t size) { tensors_[name] = 0.2 * at::randn({size}); }

  void put(const std::string& name, at::Tensor value) { tensors_[name] = std::move(value); }

  bool has(const std::string& name) const override { return tensors_.contains(name); }
  at::Tensor tensor(const std::string& name) const override { return tensors_.at(name).clone(); }
  std::shared_ptr<const WeightRep> weight(const std::string& layer) const override {
    return dense_rep(tensor(layer + ".weight"));
  }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

inline Json llama_config(const Json& changes = Json::object()) {
  Json config{{"model_type", "llama"},
              {"architectures", {"LlamaForCausalLM"}},
              {"hidden_size", 48},
              {"intermediate_size", 40},
              {"num_hidden_layers", 3},
              {"num_attention_heads", 6},
              {"num_key_value_heads", 2},
              {"head_dim", 8},
              {"vocab_size", 64},
              {"rms_norm_eps", 1e-5},
              {"max_position_embeddings", 64},
              {"tie_word_embeddings", false}};
  config.update(changes);
  return config;
}

inline std::unique_ptr<Model> llama(const Json& config, bool all_biases, unsigned seed = 3) {
  const auto size = [&](const char* key) { return config.at(key).get<std::int64_t>(); };
  const bool qkv = all_biases || config.at("model_type") == "qwen2";
  const std::int64_t hidden = size("hidden_size"), q = size("num_attention_heads") * size("head_dim"),
                     kv = size("num_key_value_heads") * size("head_dim"), ffn = size("intermediate_size");
  Tensors tensors(seed);
  tensors.matrix("model.embed_tokens", size("vocab_size"), hidden, false);
  for (std::int64_t i = 0; i < size("num_hidden_layers"); ++i) {
    const std::string block = "model.layers." + std::to_string(i) + ".";
    tensors.gain(block + "input_layernorm.weight", hidden);
    tensors.gain(block + "post_attention_layernorm.weight", hidden);
    tensors.matrix(block + "self_attn.q_proj", q, hidden, qkv);
    tensors.matrix(block + "self_attn.k_proj", kv, hidden, qkv);
    tensors.matrix(block + "self_attn.v_proj", kv, hidden, qkv);
    tensors.matrix(block + "self_attn.o_proj", hidden, q, all_biases);
    tensors.matrix(block + "mlp.gate_proj", ffn, hidden, all_biases);
    tensors.matrix(block + "mlp.up_proj", ffn, hidden, all_biases);
    tensors.matrix(block + "mlp.down_proj", hidden, ffn, all_biases);
  }
  tensors.gain("model.norm.weight", hidden);
  if (!config.at("tie_word_embeddings")) tensors.matrix("lm_head", size("vocab_size"), hidden, false);
  return make_model(config, tensors);
}

inline std::unique_ptr<Model> bert(unsigned seed = 5) {
  const std::int64_t hidden = 32, ffn = 40;
  const Json config{{"model_type", "bert"},     {"architectures", {"BertModel"}}, {"hidden_size", hidden},
                    {"intermediate_size", ffn}, {"num_hidden_layers", 3},         {"num_attention_heads", 4},
                    {"vocab_size", 64},         {"max_position_embeddings", 64},  {"layer_norm_eps", 1e-12}};
  Tensors tensors(seed);
  const auto norm = [&](const std::string& name) {
    tensors.gain(name + ".weight", hidden);
    tensors.vector(name + ".bias", hidden);
  };
  tensors.matrix("embeddings.word_embeddings", 64, hidden, false);
  tensors.matrix("embeddings.position_embeddings", 64, hidden, false);
  tensors.matrix("embeddings.token_type_embeddings", 2, hidden, false);
  norm("embeddings.LayerNorm");
  for (int i = 0; i < 3; ++i) {
    const std::string block = "encoder.layer." + std::to_string(i) + ".";
    for (const char* name :
         {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"})
      tensors.matrix(block + name, hidden, hidden, true);
    tensors.matrix(block + "intermediate.dense", ffn, hidden, true);
    tensors.matrix(block + "output.dense", hidden, ffn, true);
    norm(block + "attention.output.LayerNorm");
    norm(block + "output.LayerNorm");
  }
  tensors.matrix("pooler.dense", hidden, hidden, true);
  return make_model(config, tensors);
}

struct Named {
  const char* name;
  std::unique_ptr<Model> (*make)();
};

// Every family, and of the llama family what its labels depend on.
inline std::vector<Named> all() {
  return {{"llama", [] { return llama(llama_config(), false); }},
          {"llama, tied",
           [] {
             return llama(llama_config({{"tie_word_embeddings", true}}), false);
           }},
          {"llama, a KV head for each query head",
           [] {
             return llama(llama_config({{"num_key_value_heads", 6}}), false);
           }},
          {"llama with all biases", [] { return llama(llama_config(), true); }},
          {"llama, heads wider than hidden",
           [] {
             return llama(llama_config({{"head_dim", 16}}), true);
           }},
          {"qwen2",
           [] {
             return llama(llama_config({{"model_type", "qwen2"}}), false);
           }},
          {"bert", [] { return bert(); }}};
}

inline std::set<const Layer*> linear_layers(Model& model) {
  std::set<const Layer*> chosen;
  for (const Layer* layer : model.layers())
    if (layer->class_name() == "Linear" && layer->name() != "lm_head") chosen.insert(layer);
  return chosen;
}

}  // namespace wring::random_family
