// The Llama-shaped decoder: grouped-query attention with rotary positions, RMSNorm, SwiGLU; tied or untied
// head, optional biases (Llama, Mistral without its window, Qwen2).
#include <cmath>
#include <utility>

#include "common/error.h"
#include "engine/math/attention.h"
#include "engine/math/elementwise.h"
#include "engine/model/model.h"
#include "engine/model/rope.h"

namespace wring {
namespace {

std::int64_t config_integer(const Json& config, const char* key, std::int64_t low = 1,
                            std::int64_t high = 1 << 24) {
  const auto value = json_at<std::int64_t>(config, key, "config.json");
  if (value < low || value > high)
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG", std::to_string(value) + " is out of range",
                std::string("config.json.") + key);
  return value;
}

class Llama final : public Model {
 public:
  static std::vector<std::string> model_types() { return {"llama", "mistral", "qwen2"}; }

  Llama(Json config, const TensorSource& tensors);

  std::string_view family() const override { return "llama"; }
  std::string_view kind() const override { return "decoder-lm"; }
  std::size_t block_count() const override { return blocks_.size(); }
  std::vector<Layer*> block_layers(std::size_t block) override;
  std::vector<ScalableTap> scalable_taps(std::size_t block) override;
  std::vector<Layer*> embedding_layers() override { return {embedding_}; }
  std::vector<Layer*> head_layers() override { return {head_ ? head_ : embedding_}; }

  at::Tensor embed(const at::Tensor& ids, at::ScalarType dtype) const override {
    return embedding_->look_up(ids, dtype);
  }
  at::Tensor run_block(std::size_t block, const at::Tensor& hidden,
                       const ForwardContext& context) const override;
  at::Tensor final_norm(const at::Tensor& hidden) const override {
    return norm(hidden, *final_norm_, hidden.scalar_type());
  }
  at::Tensor head(const at::Tensor& normed, InputObserver* observer) const override;

 private:
  struct Block {
    Parameter *attention_norm, *mlp_norm;
    Layer *q, *k, *v, *o, *gate, *up, *down;
  };

  Layer* add_linear(const std::string& name, const TensorSource& tensors, std::int64_t out, std::int64_t in,
                    std::string out_axis, std::string in_axis, std::string tap);
  Parameter* add_norm(const std::string& name, const TensorSource& tensors);
  Block add_block(std::size_t index, const TensorSource& tensors);
  at::Tensor norm(const at::Tensor& x, const Parameter& gain, at::ScalarType dtype) const {
    return rms_norm(x, gain.value, epsilon_, dtype);
  }
  at::Tensor attention(std::size_t index, const at::Tensor& x, const ForwardContext& context) const;

  std::int64_t hidden_, heads_, kv_heads_, head_dim_, ffn_, vocabulary_;
  double epsilon_;
  RotaryEmbedding rope_;
  Layer* embedding_ = nullptr;
  Layer* head_ = nullptr;  // null: tied to the embedding
  Parameter* final_norm_ = nullptr;
  std::vector<Block> blocks_;
};

std::int64_t head_dimension(const Json& config) {
  if (config.contains("head_dim") && !config.at("head_dim").is_null())
    return config_integer(config, "head_dim", 2, 4096);
  return config_integer(config, "hidden_size") / config_integer(config, "num_attention_heads");
}

void refuse_unsupported(const Json& config) {
  const auto activation = json_or<std::string>(config, "hidden_act", "silu", "config.json");
  if (activation != "silu")
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
                "activation '" + activation + "' is not supported", "config.json.hidden_act",
                "Supported for decoders: silu.");
}

Llama::Llama(Json config, const TensorSource& tensors)
    : Model(std::move(config)),
      hidden_(config_integer(this->config(), "hidden_size")),
      heads_(config_integer(this->config(), "num_attention_heads", 1, 65536)),
      kv_heads_(json_or<std::int64_t>(this->config(), "num_key_value_heads", heads_, "config.json")),
      head_dim_(head_dimension(this->config())),
      ffn_(config_integer(this->config(), "intermediate_size")),
      vocabulary_(config_integer(this->config(), "vocab_size")),
      epsilon_(json_or<double>(this->config(), "rms_norm_eps", 1e-6, "config.json")),
      rope_(this->config(), head_dim_) {
  refuse_unsupported(this->config());
  if (kv_heads_ < 1 || heads_ % kv_heads_ != 0)
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG",
                std::to_string(kv_heads_) + " KV heads do not divide " + std::to_string(heads_) + " heads",
                "config.json.num_key_value_heads");
  embedding_ =
      &add_layer(Layer("model.embed_tokens", Layer::Operator::kEmbedding,
                       tensors.weight("model.embed_tokens"), {}, {"vocabulary", "residual"}, "head_input"));
  if (embedding_->weight().rows() != vocabulary_ || embedding_->weight().columns() != hidden_)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH",
                "the embedding is not [vocab_size, hidden_size]", "model.embed_tokens.weight");
  const auto count = static_cast<std::size_t>(config_integer(this->config(), "num_hidden_layers", 1, 4096));
  for (std::size_t i = 0; i < count; ++i) blocks_.push_back(add_block(i, tensors));
  final_norm_ = add_norm("model.norm", tensors);
  if (!json_or<bool>(this->config(), "tie_word_embeddings", false, "config.json"))
    head_ = add_linear("lm_head", tensors, vocabulary_, hidden_, "vocabulary", "residual", "head_input");
}

Layer* Llama::add_linear(const std::string& name, const TensorSource& tensors, std::int64_t out,
                         std::int64_t in, std::string out_axis, std::string in_axis, std::string tap) {
  auto weight = tensors.weight(name);
  if (weight->rows() != out || weight->columns() != in)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH",
                "is [" + std::to_string(weight->rows()) + ", " + std::to_string(weight->columns()) +
                    "], config.json says [" + std::to_string(out) + ", " + std::to_string(in) + "]",
                name + ".weight");
  at::Tensor bias;
  if (tensors.has(name + ".bias")) {
    bias = tensors.tensor(name + ".bias");
    if (bias.dim() != 1 || bias.size(0) != out)
      throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "a bias that does not fit its layer",
                  name + ".bias");
  }
  return &add_layer(Layer(name, Layer::Operator::kLinear, std::move(weight), std::move(bias),
                          {std::move(out_axis), std::move(in_axis)}, std::move(tap)));
}

Parameter* Llama::add_norm(const std::string& name, const TensorSource& tensors) {
  at::Tensor gain = tensors.tensor(name + ".weight");
  if (gain.dim() != 1 || gain.size(0) != hidden_)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "a norm that is not [hidden_size]",
                name + ".weight");
  return &add_parameter({name + ".weight", std::move(gain), {"residual"}});
}

Llama::Block Llama::add_block(std::size_t index, const TensorSource& tensors) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".",
                    label = "L" + std::to_string(index) + ".";
  const auto attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  Block b{};
  b.attention_norm = add_norm(prefix + "input_layernorm", tensors);
  b.q = add_linear(attention + "q_proj", tensors, heads_ * head_dim_, hidden_, label + "q", "residual",
                   label + "attention_input");
  b.k = add_linear(attention + "k_proj", tensors, kv_heads_ * head_dim_, hidden_, label + "kv", "residual",
                   label + "attention_input");
  b.v = add_linear(attention + "v_proj", tensors, kv_heads_ * head_dim_, hidden_, label + "kv", "residual",
                   label + "attention_input");
  b.o = add_linear(attention + "o_proj", tensors, hidden_, heads_ * head_dim_, "residual", label + "q",
                   label + "attention_output");
  b.mlp_norm = add_norm(prefix + "post_attention_layernorm", tensors);
  b.gate =
      add_linear(mlp + "gate_proj", tensors, ffn_, hidden_, label + "ffn", "residual", label + "ffn_input");
  b.up = add_linear(mlp + "up_proj", tensors, ffn_, hidden_, label + "ffn", "residual", label + "ffn_input");
  b.down =
      add_linear(mlp + "down_proj", tensors, hidden_, ffn_, "residual", label + "ffn", label + "ffn_inner");
  return b;
}

std::vector<Layer*> Llama::block_layers(std::size_t block) {
  const Block& b = blocks_[block];
  return {b.q, b.k, b.v, b.o, b.gate, b.up, b.down};
}

// A query head's output channels are sums of its KV head's values.
std::vector<ScalableTap> Llama::scalable_taps(std::size_t block) {
  const Block& b = blocks_[block];
  const at::Tensor channel = at::arange(heads_ * head_dim_, at::kLong),
                   kv_head = at::floor_divide(channel, head_dim_ * (heads_ / kv_heads_));
  return {{b.q->input_tap(), {b.q, b.k, b.v}, b.attention_norm, nullptr, {}},
          {b.o->input_tap(), {b.o}, nullptr, b.v, kv_head * head_dim_ + at::remainder(channel, head_dim_)},
          {b.gate->input_tap(), {b.gate, b.up}, b.mlp_norm, nullptr, {}},
          {b.down->input_tap(), {b.down}, nullptr, b.up, {}}};
}

at::Tensor Llama::attention(std::size_t index, const at::Tensor& x, const ForwardContext& context) const {
  const Block& b = blocks_[index];
  const std::int64_t batch = x.size(0), positions = x.size(1);
  const auto split = [&](const at::Tensor& y, std::int64_t heads) {
    return y.reshape({batch, positions, heads, head_dim_}).transpose(1, 2);
  };
  const std::int64_t first = context.cache ? context.cache->length : 0;
  const auto query = rope_.rotate(split(b.q->apply(x, context.observer), heads_), first);
  auto key = rope_.rotate(split(b.k->apply(x, context.observer), kv_heads_), first);
  auto value = split(b.v->apply(x, context.observer), kv_heads_);
  if (context.cache) {
    auto& cache = *context.cache;
    if (cache.keys.size() <= index) {
      cache.keys.resize(index + 1);
      cache.values.resize(index + 1);
    }
    if (cache.keys[index].defined()) {
      key = at::cat({cache.keys[index], key}, 2);
      value = at::cat({cache.values[index], value}, 2);
    }
    cache.keys[index] = key;
    cache.values[index] = value;
  }
  return b.o->apply(wring::attention(query, key, value, true, context.attention_mask), context.observer);
}

at::Tensor Llama::run_block(std::size_t index, const at::Tensor& hidden,
                            const ForwardContext& context) const {
  const Block& b = blocks_[index];
  const auto dtype =
      b.q->compute_dtype();  // of everything between two norms; the residual stream stays as it is
  const auto middle = hidden + attention(index, norm(hidden, *b.attention_norm, dtype), context);
  const auto x = norm(middle, *b.mlp_norm, dtype);
  const auto gate = b.gate->apply(x, context.observer);
  const auto up = b.up->apply(x, context.observer);
  const auto inner = silu_multiply(gate, up);
  if (context.inputs_only) {
    b.down->observe(inner, context.observer);
    return {};
  }
  return middle + b.down->apply(inner, context.observer);
}

at::Tensor Llama::head(const at::Tensor& normed, InputObserver* observer) const {
  return (head_ ? head_ : embedding_)->apply(normed, observer).to(at::kFloat);
}

WRING_MODEL_FAMILY(Llama);

}  // namespace
}  // namespace wring
