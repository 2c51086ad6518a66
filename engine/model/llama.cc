// The Llama-shaped decoder: grouped-query attention with rotary positions, RMSNorm, SwiGLU; tied or untied
// head, optional biases (Llama, Mistral without its window, Qwen2).
#include <algorithm>
#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>

#include "common/error.h"
#include "engine/math/attention.h"
#include "engine/math/elementwise.h"
#include "engine/model/block_sizes.h"
#include "engine/model/model.h"
#include "engine/model/rope.h"
#include "engine/model/rotary_heads.h"

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
  std::vector<CoupledGroups> coupled_groups() const override;

  RotaryHeads heads_of(std::size_t block) const;
  at::Tensor rotated(std::size_t block, const Layer& layer, const at::Tensor& x,
                     std::int64_t positions) const;
  void keep_pairs(std::size_t block, const at::Tensor& kept);
  void replace_values(std::size_t block, const HeadValues& values);

 protected:
  void adopt_layers() override;
  std::string block_prefix(std::size_t block) const override {
    return "model.layers." + std::to_string(block) + ".";
  }

 private:
  struct Block {
    Parameter *attention_norm, *mlp_norm;
    Layer *q, *k, *v, *o, *gate, *up, *down;  // of an attention or MLP that was cut out: null
    Parameter *o_bias, *down_bias;            // what is left of it, or null
    Parameter* rope_pairs;  // int64 [kv_heads, query_width / 2], those that heads have kept; null: all
    std::int64_t heads, kv_heads;
    std::int64_t query_width, value_width;  // channels of a head's query and key; of its value
  };
  struct BlockSizes {
    std::int64_t heads, kv_heads, query_width, value_width, ffn;
  };

  Layer* add_linear(const std::string& name, const TensorSource& tensors, std::int64_t out, std::int64_t in,
                    std::string out_axis, std::string in_axis, std::string tap);
  void add_block(std::size_t index, const BlockSizes& sizes, const TensorSource& tensors);
  void add_rope_pairs(const std::string& name, const std::string& label, const BlockSizes& sizes,
                      const TensorSource& tensors);
  Block find_block(std::size_t index);
  void rescale_norms(std::int64_t width);
  std::vector<BlockSizes> read_sizes(std::size_t blocks) const;
  void write_sizes();
  at::Tensor norm(const at::Tensor& x, const Parameter& gain, at::ScalarType dtype) const {
    return rms_norm(x, gain.value, epsilon_, dtype);
  }
  at::Tensor rotate(const Block& b, const at::Tensor& x, std::int64_t first) const {
    return b.rope_pairs ? rope_.rotate(x, first, b.rope_pairs->value) : rope_.rotate(x, first);
  }
  at::Tensor attention(std::size_t index, const at::Tensor& x, const ForwardContext& context) const;
  at::Tensor mlp(const Block& b, const at::Tensor& x, const ForwardContext& context) const;

  std::int64_t hidden_, head_dim_, vocabulary_;
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
  // Every token attends to all before it here. transformers' Qwen2 has a window only where it is turned on.
  const auto window = config.value("sliding_window", Json());
  const bool on = json_or<std::string>(config, "model_type", "", "config.json") != "qwen2" ||
                  json_or<bool>(config, "use_sliding_window", false, "config.json");
  const auto positions = json_or<double>(config, "max_position_embeddings", 2048, "config.json");
  if (on && window.is_number() && window.get<double>() < positions)
    throw Error(
        ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
        "attention within a window of " + window.dump() + " tokens is not supported",
        "config.json.sliding_window",
        "Set it to null, and max_position_embeddings to at most the window: within it nothing changes.");
}

Llama::Llama(Json config, const TensorSource& tensors)
    : Model(std::move(config)),
      hidden_(config_integer(this->config(), "hidden_size")),
      head_dim_(head_dimension(this->config())),
      vocabulary_(config_integer(this->config(), "vocab_size")),
      epsilon_(json_or<double>(this->config(), "rms_norm_eps", 1e-6, "config.json")),
      rope_(this->config(), head_dim_) {
  refuse_unsupported(this->config());
  embedding_ =
      &add_layer(Layer("model.embed_tokens", Layer::Operator::kEmbedding,
                       tensors.weight("model.embed_tokens"), {}, {"vocabulary", "residual"}, "head_input"));
  if (embedding_->weight().rows() != vocabulary_ || embedding_->weight().columns() != hidden_)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH",
                "the embedding is not [vocab_size, hidden_size]", "model.embed_tokens.weight");
  const auto count = static_cast<std::size_t>(config_integer(this->config(), "num_hidden_layers", 1, 4096));
  const auto sizes = read_sizes(count);
  for (std::size_t i = 0; i < count; ++i) {
    add_block(i, sizes[i], tensors);
    blocks_.push_back(find_block(i));
  }
  final_norm_ = &add_residual_vector("model.norm.weight", tensors, hidden_);
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

void Llama::add_block(std::size_t index, const BlockSizes& sizes, const TensorSource& tensors) {
  const std::string prefix = block_prefix(index), label = "L" + std::to_string(index) + ".";
  const auto attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  const auto [heads, kv_heads, query_width, value_width, ffn] = sizes;
  const auto from_residual = [&](const std::string& name, std::int64_t out, const char* axis,
                                 const char* tap) {
    add_linear(name, tensors, out, hidden_, label + axis, "residual", label + tap);
  };
  const auto to_residual = [&](const std::string& name, std::int64_t in, const char* axis, const char* tap) {
    add_linear(name, tensors, hidden_, in, "residual", label + axis, label + tap);
  };
  const auto residue =
      [&](const std::string& bias) {  // of a layer that was cut out: its module still adds it
        if (tensors.has(bias)) add_residual_vector(bias, tensors, hidden_);
      };
  add_residual_vector(prefix + "input_layernorm.weight", tensors, hidden_);
  if (heads > 0) {
    from_residual(attention + "q_proj", heads * query_width, "q", "attention_input");
    from_residual(attention + "k_proj", kv_heads * query_width, "k", "attention_input");
    from_residual(attention + "v_proj", kv_heads * value_width, "v", "attention_input");
    to_residual(attention + "o_proj", heads * value_width, "o", "attention_output");
    if (query_width < head_dim_) add_rope_pairs(attention + "rope_pairs", label, sizes, tensors);
  } else {
    residue(attention + "o_proj.bias");
  }
  add_residual_vector(prefix + "post_attention_layernorm.weight", tensors, hidden_);
  if (ffn > 0) {
    from_residual(mlp + "gate_proj", ffn, "ffn", "ffn_input");
    from_residual(mlp + "up_proj", ffn, "ffn", "ffn_input");
    to_residual(mlp + "down_proj", ffn, "ffn", "ffn_inner");
  } else {
    residue(mlp + "down_proj.bias");
  }
}

void Llama::add_rope_pairs(const std::string& name, const std::string& label, const BlockSizes& sizes,
                           const TensorSource& tensors) {
  at::Tensor pairs = tensors.tensor(name);
  const std::int64_t n = sizes.query_width / 2;
  const bool shaped = pairs.scalar_type() == at::kLong && pairs.dim() == 2 &&
                      pairs.size(0) == sizes.kv_heads && pairs.size(1) == n;
  if (!shaped || !pairs.ge(0).logical_and(pairs.lt(head_dim_ / 2)).all().item<bool>() ||
      !at::diff(pairs, 1, 1).gt(0).all().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "BAD_ROPE_PAIRS",
                "is no int64 [" + std::to_string(sizes.kv_heads) + ", " + std::to_string(n) +
                    "] of pairs below " + std::to_string(head_dim_ / 2) + ", rising in each row",
                name);
  add_parameter({name, std::move(pairs), {label + "kv_heads", label + "rope_pairs"}});
}

Llama::Block Llama::find_block(std::size_t index) {
  const auto prefix = block_prefix(index), attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  Block b{.attention_norm = find_parameter(prefix + "input_layernorm.weight"),
          .mlp_norm = find_parameter(prefix + "post_attention_layernorm.weight"),
          .q = find_layer(attention + "q_proj"),
          .k = find_layer(attention + "k_proj"),
          .v = find_layer(attention + "v_proj"),
          .o = find_layer(attention + "o_proj"),
          .gate = find_layer(mlp + "gate_proj"),
          .up = find_layer(mlp + "up_proj"),
          .down = find_layer(mlp + "down_proj"),
          .o_bias = find_parameter(attention + "o_proj.bias"),
          .down_bias = find_parameter(mlp + "down_proj.bias"),
          .rope_pairs = find_parameter(attention + "rope_pairs"),
          .heads = 0,
          .kv_heads = 0,
          .query_width = head_dim_,
          .value_width = head_dim_};
  if (b.q) {
    if (b.rope_pairs) b.query_width = 2 * b.rope_pairs->value.size(1);
    b.heads = b.q->weight().rows() / b.query_width;
    b.kv_heads = b.k->weight().rows() / b.query_width;
    b.value_width = b.v->weight().rows() / b.kv_heads;
  }
  return b;
}

std::vector<Llama::BlockSizes> Llama::read_sizes(std::size_t blocks) const {
  const auto plain_heads = config_integer(config(), "num_attention_heads", 1, 65536);
  const auto plain_kv = json_or<std::int64_t>(config(), "num_key_value_heads", plain_heads, "config.json");
  const auto heads = sizes_by_block(config(), "num_attention_heads", plain_heads, blocks),
             kv_heads = sizes_by_block(config(), "num_key_value_heads", plain_kv, blocks),
             ffn = sizes_by_block(config(), "intermediate_size",
                                  config_integer(config(), "intermediate_size"), blocks),
             query = sizes_by_block(config(), "qk_head_dim", head_dim_, blocks),
             value = sizes_by_block(config(), "v_head_dim", head_dim_, blocks);
  std::vector<BlockSizes> sizes;
  for (std::size_t i = 0; i < blocks; ++i) {
    const bool none = heads[i] == 0 && kv_heads[i] == 0;
    if (!none && (kv_heads[i] < 1 || heads[i] < 1 || heads[i] % kv_heads[i] != 0))
      throw Error(
          ErrorCode::kInvalidArgument, "BAD_CONFIG",
          std::to_string(kv_heads[i]) + " KV heads do not divide " + std::to_string(heads[i]) + " heads",
          "config.json.num_key_value_heads");
    if (query[i] < 2 || query[i] > head_dim_ || query[i] % 2 != 0 || value[i] < 1 || value[i] > head_dim_)
      throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG",
                  "heads of " + std::to_string(query[i]) + " and " + std::to_string(value[i]) +
                      " channels are not from 2 (queries and keys, even) and 1 (values) to head_dim",
                  std::string("config.json.") + kQueryWidths);
    sizes.push_back({heads[i], kv_heads[i], query[i], value[i], ffn[i]});
  }
  return sizes;
}

void Llama::write_sizes() {
  Json& config = mutable_config();
  std::vector<std::int64_t> heads, kv_heads, query, value, ffn;
  for (const Block& b : blocks_) {
    query.push_back(b.query_width);
    value.push_back(b.value_width);
    heads.push_back(b.heads);
    kv_heads.push_back(b.kv_heads);
    ffn.push_back(b.gate ? b.gate->weight().rows() : 0);
  }
  config["num_hidden_layers"] = blocks_.size();
  config["hidden_size"] = hidden_;
  config["head_dim"] = head_dim_;  // no longer hidden_size / num_attention_heads
  set_sizes_by_block(config, "num_attention_heads", heads);
  set_sizes_by_block(config, "num_key_value_heads", kv_heads);
  set_sizes_by_block(config, "intermediate_size", ffn);
  for (const auto& [key, widths] : {std::pair{kQueryWidths, query}, std::pair{kValueWidths, value}}) {
    config.erase(key);
    if (std::any_of(widths.begin(), widths.end(), [&](std::int64_t n) { return n < head_dim_; }))
      config[key] = widths;
  }
  // What kind of attention each layer has: the same for all that this family takes.
  if (auto it = config.find("layer_types"); it != config.end() && it->is_array())
    while (it->size() > blocks_.size()) it->erase(it->size() - 1);
}

// The mean of squares is over fewer channels now. Where those that left were zero, all stays the same:
// g x / sqrt(S / D + e) = (g sqrt(D / D')) x / sqrt(S / D' + e D / D'), S the sum of squares.
void Llama::rescale_norms(std::int64_t width) {
  const double growth = static_cast<double>(hidden_) / static_cast<double>(width);
  for (auto& parameter : parameters())
    if (parameter.name.ends_with("norm.weight")) parameter.value = parameter.value * std::sqrt(growth);
  epsilon_ *= growth;
  mutable_config()["rms_norm_eps"] = epsilon_;
  hidden_ = width;
}

void Llama::adopt_layers() {
  if (const auto width = embedding_->weight().columns(); width != hidden_) rescale_norms(width);
  blocks_.clear();
  while (find_parameter(block_prefix(blocks_.size()) + "input_layernorm.weight"))
    blocks_.push_back(find_block(blocks_.size()));
  write_sizes();
}

std::vector<CoupledGroups> Llama::coupled_groups() const {
  std::vector<CoupledGroups> all;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& b = blocks_[i];
    const std::string label = "L" + std::to_string(i) + ".";
    if (b.q) {
      const std::int64_t group = b.heads / b.kv_heads;
      all.push_back({CoupledGroups::Kind::kHeads,
                     i,
                     {{label + "kv_heads", 1},
                      {label + "k", b.query_width},
                      {label + "v", b.value_width},
                      {label + "o", group * b.value_width},
                      {label + "q", group * b.query_width}},
                     b.kv_heads});
    }
    if (b.gate) all.push_back({CoupledGroups::Kind::kFfn, i, {{label + "ffn", 1}}, b.gate->weight().rows()});
  }
  all.push_back({CoupledGroups::Kind::kHidden, std::nullopt, {{"residual", 1}}, hidden_});
  return all;
}

std::vector<Layer*> Llama::block_layers(std::size_t block) {
  const Block& b = blocks_[block];
  std::vector<Layer*> layers{b.q, b.k, b.v, b.o, b.gate, b.up, b.down};
  std::erase(layers, nullptr);
  return layers;
}

// A query head's output channels are sums of its KV head's values.
std::vector<ScalableTap> Llama::scalable_taps(std::size_t block) {
  const Block& b = blocks_[block];
  std::vector<ScalableTap> taps;
  if (b.q) {
    const std::int64_t width = b.value_width;
    const at::Tensor channel = at::arange(b.heads * width, at::kLong),
                     kv_head = at::floor_divide(channel, width * (b.heads / b.kv_heads));
    taps.push_back({b.q->input_tap(), {b.q, b.k, b.v}, b.attention_norm, nullptr, {}});
    taps.push_back({b.o->input_tap(), {b.o}, nullptr, b.v, kv_head * width + at::remainder(channel, width)});
  }
  if (b.gate) {
    taps.push_back({b.gate->input_tap(), {b.gate, b.up}, b.mlp_norm, nullptr, {}});
    taps.push_back({b.down->input_tap(), {b.down}, nullptr, b.up, {}});
  }
  return taps;
}

at::Tensor Llama::attention(std::size_t index, const at::Tensor& x, const ForwardContext& context) const {
  const Block& b = blocks_[index];
  const std::int64_t batch = x.size(0), positions = x.size(1);
  const auto split = [&](const at::Tensor& y, std::int64_t heads) {
    return y.reshape({batch, positions, heads, -1}).transpose(1, 2);
  };
  const std::int64_t first = context.cache ? context.cache->length() : 0;
  const auto query = rotate(b, split(b.q->apply(x, context.observer), b.heads), first);
  const auto key = rotate(b, split(b.k->apply(x, context.observer), b.kv_heads), first);
  const auto value = split(b.v->apply(x, context.observer), b.kv_heads);
  std::optional<double> scale;  // of narrower heads: that of the whole ones
  if (b.query_width < head_dim_ || b.value_width < head_dim_)
    scale = 1 / std::sqrt(static_cast<double>(head_dim_));
  const auto mixed = context.cache ? context.cache->attend(index, query, key, value, scale)
                                   : wring::attention(query, key, value, true, context.attention_mask, scale);
  return b.o->apply(mixed, context.observer);
}

RotaryHeads Llama::heads_of(std::size_t block) const {
  const Block& b = blocks_.at(block);
  return {b.q, b.k, b.v, b.o, b.heads, b.kv_heads, b.query_width, b.value_width};
}

at::Tensor Llama::rotated(std::size_t block, const Layer& layer, const at::Tensor& x,
                          std::int64_t positions) const {
  const Block& b = blocks_.at(block);
  const at::Tensor y =
      layer.apply(x).reshape({-1, positions, layer.weight().rows() / b.query_width, b.query_width});
  return rotate(b, y.transpose(1, 2), 0).transpose(1, 2).reshape({x.size(0), -1});
}

// Rows of pairs [heads, n] in a layer whose heads have `width` rows each.
at::Tensor rows_of_pairs(const at::Tensor& pairs, std::int64_t width) {
  const at::Tensor head = at::arange(pairs.size(0), at::kLong).unsqueeze(1) * width;
  return (at::cat({pairs, pairs + width / 2}, 1) + head).reshape({-1});
}

void Llama::keep_pairs(std::size_t block, const at::Tensor& kept) {
  const Block& b = blocks_.at(block);
  b.q->keep(0, rows_of_pairs(kept.repeat_interleave(b.heads / b.kv_heads, 0), b.query_width));
  b.k->keep(0, rows_of_pairs(kept, b.query_width));
  if (b.rope_pairs) {
    b.rope_pairs->value = b.rope_pairs->value.gather(1, kept.to(b.rope_pairs->value.device()));
  } else {
    const std::string label = "L" + std::to_string(block) + ".";
    add_parameter({block_prefix(block) + "self_attn.rope_pairs",
                   kept.to(device()),
                   {label + "kv_heads", label + "rope_pairs"}});
  }
  adopt_layers();
}

// First rows and columns of the new shapes, which then get their values.
void Llama::replace_values(std::size_t block, const HeadValues& values) {
  const Block& b = blocks_.at(block);
  b.v->keep(0, at::arange(values.v->rows(), at::kLong));
  b.v->set_weight(values.v);
  if (values.v_bias.defined()) b.v->set_bias(values.v_bias);
  b.o->keep(1, at::arange(values.o->columns(), at::kLong));
  b.o->set_weight(values.o);
  adopt_layers();
}

// An undefined tensor where only the last layer's input was wanted.
at::Tensor Llama::mlp(const Block& b, const at::Tensor& x, const ForwardContext& context) const {
  const auto gate = b.gate->apply(x, context.observer);
  const auto up = b.up->apply(x, context.observer);
  const auto inner = silu_multiply(gate, up);
  if (!context.inputs_only) return b.down->apply(inner, context.observer);
  b.down->observe(inner, context.observer);
  return {};
}

at::Tensor Llama::run_block(std::size_t index, const at::Tensor& hidden,
                            const ForwardContext& context) const {
  const Block& b = blocks_[index];
  // Of everything between two norms; the residual stream stays as it is.
  const auto dtype = b.q ? b.q->compute_dtype() : b.gate ? b.gate->compute_dtype() : at::kFloat;
  at::Tensor middle = hidden;
  if (b.q) middle = hidden + attention(index, norm(hidden, *b.attention_norm, dtype), context);
  if (b.o_bias) middle = hidden + b.o_bias->value;
  if (b.gate) {
    const auto out = mlp(b, norm(middle, *b.mlp_norm, dtype), context);
    return out.defined() ? middle + out : out;
  }
  return b.down_bias ? middle + b.down_bias->value : middle;
}

at::Tensor Llama::head(const at::Tensor& normed, InputObserver* observer) const {
  return (head_ ? head_ : embedding_)->apply(normed, observer).to(at::kFloat);
}

WRING_MODEL_FAMILY(Llama);

template <typename AnyModel>  // const or not
auto& with_rotary_heads(AnyModel& model) {
  auto* const llama =
      dynamic_cast<std::conditional_t<std::is_const_v<AnyModel>, const Llama, Llama>*>(&model);
  if (!llama)
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
                "heads of the family " + std::string(model.family()) + " have no rotary positions", "model");
  return *llama;
}

}  // namespace

RotaryHeads rotary_heads(const Model& model, std::size_t block) {
  return with_rotary_heads(model).heads_of(block);
}

at::Tensor rotated(const Model& model, std::size_t block, const Layer& layer, const at::Tensor& x,
                   std::int64_t positions) {
  return with_rotary_heads(model).rotated(block, layer, x, positions);
}

void keep_rotary_pairs(Model& model, std::size_t block, const at::Tensor& kept) {
  with_rotary_heads(model).keep_pairs(block, kept);
}

void replace_values(Model& model, std::size_t block, const HeadValues& values) {
  with_rotary_heads(model).replace_values(block, values);
}

}  // namespace wring
