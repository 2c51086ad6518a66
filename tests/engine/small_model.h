// A Llama-shaped model of random weights, small enough to be compressed in milliseconds.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <set>
#include <string>

#include "engine/model/model.h"

namespace wring::small_model {

inline constexpr std::int64_t kBlocks = 4, kHidden = 32, kFfn = 64, kVocabulary = 96, kHeads = 4;

class RandomTensors final : public TensorSource {
 public:
  explicit RandomTensors(std::int64_t kv_heads) {
    at::manual_seed(7);
    add("model.embed_tokens", {kVocabulary, kHidden});
    for (std::int64_t i = 0; i < kBlocks; ++i) {
      const std::string block = "model.layers." + std::to_string(i) + ".";
      for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
        const bool shared = name[0] == 'k' || name[0] == 'v';
        add(block + "self_attn." + name, {shared ? kHidden / kHeads * kv_heads : kHidden, kHidden});
      }
      for (const char* name : {"gate_proj", "up_proj"}) add(block + "mlp." + name, {kFfn, kHidden});
      add(block + "mlp.down_proj", {kHidden, kFfn});
      for (const char* name : {"input_layernorm", "post_attention_layernorm"}) add(block + name, {kHidden});
    }
    add("model.norm", {kHidden});
    add("lm_head", {kVocabulary, kHidden});
  }
  bool has(const std::string& name) const override { return tensors_.contains(name); }
  at::Tensor tensor(const std::string& name) const override { return tensors_.at(name); }
  std::shared_ptr<const WeightRep> weight(const std::string& layer) const override {
    return dense_rep(tensors_.at(layer + ".weight"));
  }

 private:
  void add(const std::string& name, at::IntArrayRef shape) {
    tensors_[name + ".weight"] = at::randn(shape) * (shape.size() == 1 ? 0.1 : 0.2) + (shape.size() == 1);
  }
  std::map<std::string, at::Tensor> tensors_;
};

inline std::unique_ptr<Model> make(std::int64_t kv_heads = kHeads) {
  const RandomTensors tensors(kv_heads);
  return make_model({{"model_type", "llama"},
                     {"hidden_size", kHidden},
                     {"intermediate_size", kFfn},
                     {"num_hidden_layers", kBlocks},
                     {"num_attention_heads", kHeads},
                     {"num_key_value_heads", kv_heads},
                     {"vocab_size", kVocabulary},
                     {"max_position_embeddings", 64}},
                    tensors);
}

inline std::set<const Layer*> linear_layers(Model& model, bool with_head) {
  std::set<const Layer*> chosen;
  for (const Layer* layer : model.layers())
    if (layer->class_name() == "Linear" && (with_head || layer->name() != "lm_head")) chosen.insert(layer);
  return chosen;
}

inline std::map<std::string, at::Tensor> copy_weights(Model& model) {
  std::map<std::string, at::Tensor> weights;
  for (const Layer* layer : model.layers())
    for (const auto& named : layer->weight().tensors())
      weights[layer->name() + "." + named.suffix] = named.tensor.clone();
  for (const auto& parameter : model.parameters()) weights[parameter.name] = parameter.value.clone();
  return weights;
}

}  // namespace wring::small_model
