// The BERT-shaped encoder: learnt positions, post-norm blocks, GELU; hidden states out.
#include <utility>

#include "common/error.h"
#include "engine/math/attention.h"
#include "engine/model/model.h"

namespace wring {
namespace {

class Bert final : public Model {
 public:
  static std::vector<std::string> model_types() { return {"bert"}; }

  Bert(Json config, const TensorSource& tensors);

  std::string_view family() const override { return "bert"; }
  std::string_view kind() const override { return "encoder"; }
  std::size_t block_count() const override { return blocks_.size(); }
  std::vector<Layer*> block_layers(std::size_t block) override;
  std::vector<Layer*> embedding_layers() override { return {words_}; }
  std::vector<Layer*> head_layers() override { return {}; }

  at::Tensor embed(const at::Tensor& ids, at::ScalarType dtype) const override;
  at::Tensor run_block(std::size_t block, const at::Tensor& hidden,
                       const ForwardContext& context) const override;
  at::Tensor final_norm(const at::Tensor& hidden) const override { return hidden; }
  at::Tensor head(const at::Tensor& normed, InputObserver*) const override { return normed.to(at::kFloat); }

 private:
  struct Norm {
    Parameter *gain, *bias;
  };
  struct Block {
    Layer *query, *key, *value, *output;
    Norm attention_norm;
    Layer *up, *down;
    Norm output_norm;
  };

  Layer* add_linear(const std::string& name, const TensorSource& tensors, std::int64_t out, std::int64_t in,
                    std::string out_axis, std::string in_axis, std::string tap);
  Parameter* add_table(const std::string& name, const TensorSource& tensors, std::int64_t rows);
  Norm add_norm(const std::string& name, const TensorSource& tensors);
  void add_heads(const TensorSource& tensors);
  Block add_block(std::size_t index, const TensorSource& tensors);
  at::Tensor layer_norm(const at::Tensor& x, const Norm& norm) const;
  at::Tensor attention(const Block& b, const at::Tensor& x, const ForwardContext& context) const;

  std::string prefix_;  // "" or "bert."
  std::int64_t hidden_, heads_, ffn_;
  double epsilon_;
  bool tanh_gelu_;
  Layer* words_ = nullptr;
  Parameter *positions_ = nullptr, *types_ = nullptr;
  Norm embedding_norm_{};
  std::vector<Block> blocks_;
};

bool wants_tanh_gelu(const Json& config) {
  const auto activation = json_or<std::string>(config, "hidden_act", "gelu", "config.json");
  if (activation == "gelu") return false;
  if (activation == "gelu_new" || activation == "gelu_pytorch_tanh") return true;
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
              "activation '" + activation + "' is not supported", "config.json.hidden_act",
              "Supported for encoders: gelu, gelu_new, gelu_pytorch_tanh.");
}

Bert::Bert(Json config, const TensorSource& tensors)
    : Model(std::move(config)),
      prefix_(tensors.has("bert.embeddings.word_embeddings.weight") ? "bert." : ""),
      hidden_(json_at<std::int64_t>(this->config(), "hidden_size", "config.json")),
      heads_(json_at<std::int64_t>(this->config(), "num_attention_heads", "config.json")),
      ffn_(json_at<std::int64_t>(this->config(), "intermediate_size", "config.json")),
      epsilon_(json_or<double>(this->config(), "layer_norm_eps", 1e-12, "config.json")),
      tanh_gelu_(wants_tanh_gelu(this->config())) {
  if (heads_ < 1 || hidden_ < 1 || hidden_ % heads_ != 0)
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG", "num_attention_heads does not divide hidden_size",
                "config.json.num_attention_heads");
  const auto kind =
      json_or<std::string>(this->config(), "position_embedding_type", "absolute", "config.json");
  if (kind != "absolute")
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
                "position embedding '" + kind + "' is not supported", "config.json.position_embedding_type",
                "Supported: absolute.");
  const std::string name = prefix_ + "embeddings.word_embeddings";
  words_ = &add_layer(Layer(name, Layer::Operator::kEmbedding, tensors.weight(name), {},
                            {"vocabulary", "residual"}, "words"));
  if (words_->weight().columns() != hidden_)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH",
                "the embedding is not [vocab_size, hidden_size]", name + ".weight");
  positions_ = add_table(prefix_ + "embeddings.position_embeddings.weight", tensors, 1);
  types_ = add_table(prefix_ + "embeddings.token_type_embeddings.weight", tensors, 1);
  embedding_norm_ = add_norm(prefix_ + "embeddings.LayerNorm", tensors);
  const auto count = json_at<std::int64_t>(this->config(), "num_hidden_layers", "config.json");
  if (count < 1 || count > 4096)
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG", std::to_string(count) + " is out of range",
                "config.json.num_hidden_layers");
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) blocks_.push_back(add_block(i, tensors));
  add_heads(tensors);
}

// What transformers' classes put on top of the hidden states. It takes no part in the forward here, but it
// belongs to the model: a folder without it loads with random values in its place.
void Bert::add_heads(const TensorSource& tensors) {
  const std::string pooler = prefix_ + "pooler.dense";
  const std::string classified = tensors.has(pooler + ".weight") ? "pooled" : "residual";
  const std::vector<std::pair<std::string, std::vector<std::string>>> heads{
      {pooler, {"pooled", "residual"}},
      {"classifier", {"classes", classified}},
      {"qa_outputs", {"classes", "residual"}},
      {"cls.seq_relationship", {"classes", "pooled"}},
      {"cls.predictions.transform.dense", {"transform", "residual"}},
      {"cls.predictions.transform.LayerNorm", {"transform"}},
      {"cls.predictions.decoder", {"vocabulary", "transform"}},
      {"cls.predictions", {"vocabulary"}}};
  for (const auto& [name, axes] : heads)
    for (const char* part : {".weight", ".bias"}) {
      if (!tensors.has(name + part)) continue;
      at::Tensor value = tensors.tensor(name + part);
      const auto rank = static_cast<std::size_t>(value.dim());
      if (rank < 1 || rank > axes.size() || !value.is_floating_point())
        throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "a head of an unexpected shape or type",
                    name + part);
      add_parameter({name + part, std::move(value), {axes.begin(), axes.begin() + value.dim()}});
    }
}

Layer* Bert::add_linear(const std::string& name, const TensorSource& tensors, std::int64_t out,
                        std::int64_t in, std::string out_axis, std::string in_axis, std::string tap) {
  auto weight = tensors.weight(name);
  auto bias = tensors.tensor(name + ".bias");
  if (weight->rows() != out || weight->columns() != in || bias.dim() != 1 || bias.size(0) != out)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "weight or bias does not fit config.json",
                name + ".weight");
  return &add_layer(Layer(name, Layer::Operator::kLinear, std::move(weight), std::move(bias),
                          {std::move(out_axis), std::move(in_axis)}, std::move(tap)));
}

Parameter* Bert::add_table(const std::string& name, const TensorSource& tensors, std::int64_t least_rows) {
  auto table = tensors.tensor(name);
  if (table.dim() != 2 || table.size(0) < least_rows || table.size(1) != hidden_)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "a table that is not [n, hidden_size]", name);
  return &add_parameter({name, std::move(table), {"position", "residual"}});
}

Bert::Norm Bert::add_norm(const std::string& name, const TensorSource& tensors) {
  Norm norm{};
  for (const auto& [part, slot] : {std::pair{".weight", &norm.gain}, std::pair{".bias", &norm.bias}}) {
    auto value = tensors.tensor(name + part);
    if (value.dim() != 1 || value.size(0) != hidden_)
      throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "a norm that is not [hidden_size]",
                  name + part);
    *slot = &add_parameter({name + part, std::move(value), {"residual"}});
  }
  return norm;
}

Bert::Block Bert::add_block(std::size_t index, const TensorSource& tensors) {
  const std::string prefix = prefix_ + "encoder.layer." + std::to_string(index) + ".",
                    label = "L" + std::to_string(index) + ".";
  const auto self = prefix + "attention.self.";
  Block b{};
  b.query = add_linear(self + "query", tensors, hidden_, hidden_, label + "q", "residual",
                       label + "attention_input");
  b.key =
      add_linear(self + "key", tensors, hidden_, hidden_, label + "q", "residual", label + "attention_input");
  b.value = add_linear(self + "value", tensors, hidden_, hidden_, label + "q", "residual",
                       label + "attention_input");
  b.output = add_linear(prefix + "attention.output.dense", tensors, hidden_, hidden_, "residual", label + "q",
                        label + "attention_output");
  b.attention_norm = add_norm(prefix + "attention.output.LayerNorm", tensors);
  b.up = add_linear(prefix + "intermediate.dense", tensors, ffn_, hidden_, label + "ffn", "residual",
                    label + "ffn_input");
  b.down = add_linear(prefix + "output.dense", tensors, hidden_, ffn_, "residual", label + "ffn",
                      label + "ffn_inner");
  b.output_norm = add_norm(prefix + "output.LayerNorm", tensors);
  return b;
}

std::vector<Layer*> Bert::block_layers(std::size_t block) {
  const Block& b = blocks_[block];
  return {b.query, b.key, b.value, b.output, b.up, b.down};
}

at::Tensor Bert::layer_norm(const at::Tensor& x, const Norm& norm) const {
  const auto in_dtype = [&](const Parameter* p) { return p->value.to(x.scalar_type()); };
  return at::layer_norm(x, {hidden_}, in_dtype(norm.gain), in_dtype(norm.bias), epsilon_);
}

at::Tensor Bert::embed(const at::Tensor& ids, at::ScalarType dtype) const {
  const std::int64_t positions = ids.size(1);
  if (positions > positions_->value.size(0))
    throw Error(ErrorCode::kInvalidArgument, "TOO_LONG",
                std::to_string(positions) + " tokens, the model has " +
                    std::to_string(positions_->value.size(0)) + " positions");
  const auto sum = words_->look_up(ids, dtype) + positions_->value.narrow(0, 0, positions).to(dtype) +
                   types_->value[0].to(dtype);
  return layer_norm(sum, embedding_norm_);
}

at::Tensor Bert::attention(const Block& b, const at::Tensor& x, const ForwardContext& context) const {
  const std::int64_t batch = x.size(0), positions = x.size(1);
  const auto split = [&](const Layer& layer) {
    return layer.apply(x, context.observer)
        .reshape({batch, positions, heads_, hidden_ / heads_})
        .transpose(1, 2);
  };
  const auto query = split(*b.query), key = split(*b.key), value = split(*b.value);
  return b.output->apply(wring::attention(query, key, value, false, context.attention_mask),
                         context.observer);
}

at::Tensor Bert::run_block(std::size_t index, const at::Tensor& hidden, const ForwardContext& context) const {
  const Block& b = blocks_[index];
  const auto middle = layer_norm(attention(b, hidden, context) + hidden, b.attention_norm);
  const auto inner = at::gelu(b.up->apply(middle, context.observer), tanh_gelu_ ? "tanh" : "none");
  if (context.inputs_only) {
    b.down->observe(inner, context.observer);
    return {};
  }
  return layer_norm(b.down->apply(inner, context.observer) + middle, b.output_norm);
}

WRING_MODEL_FAMILY(Bert);

}  // namespace
}  // namespace wring
