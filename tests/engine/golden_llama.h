// The small Llama that files of goldens hold, by their names.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/files.h"
#include "common/json.h"
#include "tests/engine/random_family.h"

namespace wring::golden_llama {

// A file beside the tests.
inline Json read(const char* name) {
  return parse_json(read_file(std::filesystem::path(__FILE__).parent_path() / name), "goldens");
}

inline at::Tensor numbers(const Json& values) {
  return at::tensor(values.get<std::vector<double>>(), at::kDouble).to(at::kFloat);
}

inline std::unique_ptr<Model> model(const Json& golden) {
  const Json& config = golden.at("config");
  random_family::Tensors tensors(0);
  const auto hidden = config.at("hidden_size").get<std::int64_t>();
  const auto add = [&](const std::string& layer, const Json& values) {
    const at::Tensor flat = numbers(values);
    const bool narrow = layer.ends_with("o_proj") || layer.ends_with("down_proj");
    tensors.put(layer + ".weight", narrow ? flat.reshape({hidden, -1}) : flat.reshape({-1, hidden}));
  };
  add("model.embed_tokens", golden.at("embedding"));
  for (std::size_t i = 0; i < golden.at("blocks").size(); ++i) {
    const Json& block = golden.at("blocks")[i];
    const std::string name = "model.layers." + std::to_string(i) + ".";
    for (const char* part : {"q", "k", "v", "o"}) add(name + "self_attn." + part + "_proj", block.at(part));
    for (const char* part : {"gate", "up", "down"}) add(name + "mlp." + part + "_proj", block.at(part));
    tensors.put(name + "input_layernorm.weight", numbers(block.at("norm")));
    tensors.put(name + "post_attention_layernorm.weight", numbers(block.at("mlp_norm")));
  }
  tensors.put("model.norm.weight", at::ones({hidden}));
  return make_model(config, tensors);
}

// [sequences, positions]
inline at::Tensor ids(const Json& golden) {
  std::vector<at::Tensor> rows;
  for (const auto& row : golden.at("ids").get<std::vector<std::vector<std::int64_t>>>())
    rows.push_back(at::tensor(row, at::kLong));
  return at::stack(rows);
}

}  // namespace wring::golden_llama
