// The Llama-shaped decoder as an ONNX graph: the residual stream, norms and angles in fp32, products in the
// working type.
#include <cmath>

#include "engine/export/onnx_layers.h"
#include "engine/model/block_sizes.h"
#include "engine/model/rope.h"

namespace wring {
namespace {

using Axes = std::vector<std::int64_t>;

const OnnxDimension kBatch = free_size("batch_size"), kPositions = free_size("sequence_length"),
                    kPast = free_size("past_sequence_length"), kKeys = free_size("total_sequence_length");

std::int64_t head_size_of(const Json& config) {
  if (const auto it = config.find("head_dim"); it != config.end() && !it->is_null())
    return it->get<std::int64_t>();
  return json_at<std::int64_t>(config, "hidden_size", "config.json") /
         json_at<std::int64_t>(config, "num_attention_heads", "config.json");
}

class LlamaGraph {
 public:
  LlamaGraph(const Model& model, OnnxLayers& layers, OnnxBuilder& builder)
      : model_(model),
        layers_(layers),
        b_(builder),
        head_size_(head_size_of(model.config())),
        epsilon_(json_or<double>(model.config(), "rms_norm_eps", 1e-6, "config.json")) {}

  void write() {
    declare_inputs();
    b_.enter("positions");
    find_visible();
    find_angles();
    const Layer& embedding = *layers_.find("model.embed_tokens");
    std::string hidden = b_.cast(layers_.look_up(embedding, ids_), b_.work(), at::kFloat);
    for (std::size_t i = 0; i < model_.block_count(); ++i) hidden = block(i, hidden);
    const std::string normed = norm(hidden, "model.norm");
    const Layer* head = layers_.find("lm_head");
    const std::string logits =
        head ? layers_.linear(*head, normed) : layers_.score_rows(embedding, normed, ids_);
    b_.enter("logits");
    (void)(b_.work() == at::kFloat ? b_.node("Identity", {logits}, {}, "logits")
                                   : b_.node("Cast", {logits}, {{"to", std::int64_t{1}}}, "logits"));
  }

 private:
  static std::string prefix_of(std::size_t index) { return "model.layers." + std::to_string(index) + "."; }
  const Layer* layer(std::size_t index, const char* name) const {
    return layers_.find(prefix_of(index) + name);
  }

  // Blocks whose attention was cut out have no keys and values.
  void declare_inputs() {
    ids_ = b_.input("input_ids", at::kLong, {kBatch, kPositions});
    mask_ = b_.input("attention_mask", at::kLong, {kBatch, kKeys});
    positions_ = b_.input("position_ids", at::kLong, {kBatch, kPositions});
    b_.output("logits", at::kFloat, {kBatch, kPositions, fixed_size(model_.vocabulary_size())});
    for (std::size_t i = 0; i < model_.block_count(); ++i) {
      const Layer* key = layer(i, "self_attn.k_proj");
      if (!key) continue;
      const auto heads = fixed_size(key->weight().rows() / head_size_), size = fixed_size(head_size_);
      for (const char* part : {".key", ".value"}) {
        const std::string name = std::to_string(i) + part;
        b_.input("past_key_values." + name, b_.work(), {kBatch, heads, kPast, size});
        b_.output("present." + name, b_.work(), {kBatch, heads, kKeys, size});
      }
    }
  }

  // [batch, 1, positions, keys]: query i of n sees the keys up to keys - n + i that the mask lets through.
  void find_visible() {
    const std::string zero = b_.integer(0), one = b_.integer(1);
    const auto scalar = [&](const std::string& size) { return b_.node("Squeeze", {size, b_.integers({0})}); };
    const std::string keys = scalar(size_of(b_, mask_, 1)), count = scalar(size_of(b_, ids_, 1));
    const std::string queries = b_.node("Range", {b_.node("Sub", {keys, count}), keys, one});
    const std::string earlier = b_.node("LessOrEqual", {b_.node("Range", {zero, keys, one}),
                                                        b_.node("Unsqueeze", {queries, b_.integers({1})})});
    const std::string real =
        b_.node("Unsqueeze", {b_.cast(mask_, at::kLong, at::kBool), b_.integers({1, 2})});
    visible_ = b_.node("And", {earlier, real});
  }

  // [batch, 1, positions, head size / 2]
  void find_angles() {
    const RotaryEmbedding rope(model_.config(), head_size_);
    std::string frequencies = b_.stored("rotary_frequencies", rope.frequencies());
    if (rope.dynamic().head_dim > 0) frequencies = b_.multiply(frequencies, stretch(rope.dynamic()));
    const std::string position =
        b_.node("Unsqueeze", {b_.cast(positions_, at::kLong, at::kFloat), b_.integers({1, 3})});
    const std::string angles = b_.multiply(position, frequencies);
    const auto scaled = [&](const char* function) {
      const std::string value = b_.node(function, {angles});
      const std::string whole =
          rope.attention_factor() == 1 ? value : b_.multiply(value, b_.number(rope.attention_factor()));
      return b_.cast(whole, at::kFloat, b_.work());
    };
    cosine_ = scaled("Cos");
    sine_ = scaled("Sin");
  }

  // The base grows by s^(d / (d - 2)) with the sequence: frequency i by s^(-2i / (d - 2)), where
  // s = factor n / trained - (factor - 1), at least 1.
  std::string stretch(const RotaryEmbedding::Dynamic& dynamic) {
    const std::string last = b_.node("ReduceMax", {positions_}, {{"keepdims", std::int64_t{0}}});
    const std::string length = b_.add(b_.cast(last, at::kLong, at::kFloat), b_.number(1));
    const std::string grown =
        b_.node("Sub", {b_.multiply(length, b_.number(dynamic.factor / dynamic.trained_length)),
                        b_.number(dynamic.factor - 1)});
    const auto size = static_cast<double>(head_size_);
    const at::Tensor powers = at::arange(head_size_ / 2, at::kDouble) * (-2 / (size - 2));
    return b_.node(
        "Pow", {b_.node("Max", {grown, b_.number(1)}), b_.stored("rotary_stretch", powers.to(at::kFloat))});
  }

  std::string block(std::size_t index, std::string hidden) {
    const std::string prefix = prefix_of(index);
    const auto residue = [&](const char* name) {  // of what was cut out
      const at::Tensor* bias = layers_.parameter(prefix + name);
      if (bias) hidden = b_.add(hidden, b_.parameter(prefix + name, *bias, at::kFloat));
    };
    const auto merge = [&](const std::string& y) {
      hidden = b_.add(hidden, b_.cast(y, b_.work(), at::kFloat));
    };
    const std::string before_attention = prefix + "input_layernorm",
                      before_mlp = prefix + "post_attention_layernorm";
    if (layer(index, "self_attn.q_proj"))
      merge(attention(index, norm(hidden, before_attention)));
    else
      keep_gain(before_attention);
    b_.enter(prefix + "self_attn");
    residue("self_attn.o_proj.bias");
    if (layer(index, "mlp.gate_proj"))
      merge(mlp(index, norm(hidden, before_mlp)));
    else
      keep_gain(before_mlp);
    b_.enter(prefix + "mlp");
    residue("mlp.down_proj.bias");
    return hidden;
  }

  // x / sqrt(mean(x^2) + epsilon) * gain, in the working type.
  std::string norm(const std::string& x, const std::string& name) {
    b_.enter(name);
    const std::string squares = b_.node("Pow", {x, b_.number(2)});
    const std::string mean =
        b_.node("ReduceMean", {squares}, {{"axes", Axes{-1}}, {"keepdims", std::int64_t{1}}});
    const std::string root = b_.node("Sqrt", {b_.add(mean, b_.number(epsilon_))});
    const std::string normed = b_.multiply(b_.node("Div", {x, root}), keep_gain(name));
    return b_.cast(normed, at::kFloat, b_.work());
  }

  std::string keep_gain(const std::string& name) {
    return b_.parameter(name + ".weight", *layers_.parameter(name + ".weight"), at::kFloat);
  }

  std::string rotate(const std::string& x) {
    const auto [low, high] = b_.halves(x, 3);
    const std::string turned_low = b_.node("Sub", {b_.multiply(low, cosine_), b_.multiply(high, sine_)});
    const std::string turned_high = b_.add(b_.multiply(high, cosine_), b_.multiply(low, sine_));
    return b_.node("Concat", {turned_low, turned_high}, {{"axis", std::int64_t{3}}});
  }

  std::string attention(std::size_t index, const std::string& x) {
    const std::string prefix = prefix_of(index) + "self_attn.", number = std::to_string(index);
    const auto projected = [&](const char* name) {
      const Layer& projection = *layers_.find(prefix + name);
      const std::string y = layers_.linear(projection, x);
      b_.enter(prefix_of(index) + "self_attn");
      return split_heads(b_, y, projection.weight().rows() / head_size_, head_size_);
    };
    const auto append = [&](const char* part, const std::string& y) {
      return b_.node("Concat", {"past_key_values." + number + part, y}, {{"axis", std::int64_t{2}}},
                     "present." + number + part);
    };
    const std::string scale = b_.number(1 / std::sqrt(static_cast<double>(head_size_)), b_.work());
    const std::string query = b_.multiply(rotate(projected("q_proj")), scale);
    const std::string key = append(".key", rotate(projected("k_proj")));
    const std::string value = append(".value", projected("v_proj"));
    const auto heads = [&](const char* name) { return layer(index, name)->weight().rows() / head_size_; };
    const std::string mixed = attend(b_, query, key, value, visible_, heads("self_attn.q_proj"),
                                     heads("self_attn.k_proj"), head_size_);
    return layers_.linear(*layers_.find(prefix + "o_proj"), mixed);
  }

  std::string mlp(std::size_t index, const std::string& x) {
    const std::string gate = layers_.linear(*layer(index, "mlp.gate_proj"), x),
                      up = layers_.linear(*layer(index, "mlp.up_proj"), x);
    b_.enter(prefix_of(index) + "mlp");
    const std::string inner = b_.multiply(b_.multiply(gate, b_.node("Sigmoid", {gate})), up);
    return layers_.linear(*layer(index, "mlp.down_proj"), inner);
  }

  const Model& model_;
  OnnxLayers& layers_;
  OnnxBuilder& b_;
  std::int64_t head_size_;
  double epsilon_;
  std::string ids_, mask_, positions_, visible_, cosine_, sine_;
};

}  // namespace

void write_llama_graph(const Model& model, OnnxLayers& layers, OnnxBuilder& builder) {
  check_whole_heads(model.config(), "onnx");
  LlamaGraph(model, layers, builder).write();
}

}  // namespace wring
