// Read from config.json; angles from what the model makes of it.
#include "engine/export/meaning.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/model/rope.h"

namespace wring {
namespace {

std::int64_t head_size(const Model& model) {
  const Json& config = model.config();
  const auto heads = json_at<std::int64_t>(config, "num_attention_heads", "config.json");
  return json_or<std::int64_t>(config, "head_dim", model.hidden_size() / heads, "config.json");
}

// Some of the frequencies, what attention is scaled by, and how they grow with the sequence.
Json rotary(const Model& model) {
  const RotaryEmbedding rope(model.config(), head_size(model));
  const at::Tensor frequencies = rope.frequencies().reshape({-1}).to(at::kDouble);
  Json numbers = Json::array();
  for (const auto index : {std::int64_t{0}, frequencies.size(0) / 2, frequencies.size(0) - 1})
    numbers.push_back(frequencies[index].item<double>());
  numbers.push_back(rope.attention_factor());
  const auto& dynamic = rope.dynamic();
  for (const double number : {static_cast<double>(dynamic.head_dim), dynamic.factor, dynamic.trained_length})
    numbers.push_back(dynamic.head_dim > 0 ? number : 0.0);
  return numbers;
}

std::string activation(const Json& config, const char* usual) {
  const auto name = json_or<std::string>(config, "hidden_act", usual, "config.json");
  return name == "gelu_pytorch_tanh" ? "gelu_new" : name;
}

bool is_near(double a, double b) {
  constexpr double kTolerance = 1e-5;
  return std::abs(a - b) <= kTolerance * std::max(std::abs(a), std::abs(b));
}

bool is_same(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return is_near(a.get<double>(), b.get<double>());
  if (!a.is_array() || !b.is_array() || a.size() != b.size()) return a == b;
  return std::equal(a.begin(), a.end(), b.begin(), is_same);
}

}  // namespace

Json meaning_of(const Model& model) {
  const Json& config = model.config();
  const bool encoder = model.kind() == "encoder";
  Json meaning{{"family", model.family()}, {"head_size", head_size(model)}};
  meaning["epsilon"] = encoder ? json_or<double>(config, "layer_norm_eps", 1e-12, "config.json")
                               : json_or<double>(config, "rms_norm_eps", 1e-6, "config.json");
  meaning["activation"] = activation(config, encoder ? "gelu" : "silu");
  if (encoder) return meaning;
  meaning["rotary"] = rotary(model);
  meaning["tied head"] = json_or<bool>(config, "tie_word_embeddings", false, "config.json");
  meaning["positions"] = json_or<std::int64_t>(config, "max_position_embeddings", 0, "config.json");
  return meaning;
}

std::string difference_in_meaning(const Json& meant, const Json& found) {
  for (const auto& [name, value] : meant.items())
    if (!found.contains(name) || !is_same(value, found.at(name))) return name;
  return "";
}

}  // namespace wring
