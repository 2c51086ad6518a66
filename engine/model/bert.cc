// The BERT-shaped encoder: learnt positions, post-norm blocks, GELU; hidden states out.
#include <utility>

#include "common/error.h"
#include "engine/math/attention.h"
#include "engine/model/block_sizes.h"
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
  // Without the hidden width: LayerNorm takes the mean over all channels, which changes when one leaves.
  std::vector<CoupledGroups> coupled_groups() const override;

 protected:
  void adopt_layers() override;
  std::string block_prefix(std::size_t block) const override {
    return prefix_ + "encoder.layer." + std::to_string(block) + ".";
  }

 private:
  struct Norm {
    Parameter *gain, *bias;
  };
  struct Block {
    Layer *query, *key, *value, *output;
    Norm attention_norm;
    Layer *up, *down;
    Norm output_norm;
    Parameter *output_bias, *down_bias;  // what is left of an attention or FFN that was cut out, or null
  };

  Layer* add_linear(const std::string& name, const TensorSource& tensors, std::int64_t out, std::int64_t in,
                    std::string out_axis, std::string in_axis, std::string tap);
  Parameter* add_table(const std::string& name, const TensorSource& tensors, std::int64_t rows);
  void add_norm(const std::string& name, const TensorSource& tensors);
  void add_heads(const TensorSource& tensors);
  void add_block(std::size_t index, std::int64_t heads, std::int64_t ffn, const TensorSource& tensors);
  Norm find_norm(const std::string& name);
  Block find_block(std::size_t index);
  at::Tensor layer_norm(const at::Tensor& x, const Norm& norm) const;
  at::Tensor attention(const Block& b, const at::Tensor& x, const ForwardContext& context) const;

  std::string prefix_;  // "" or "bert."
  std::int64_t hidden_, head_dim_;
  double epsilon_;
  bool tanh_gelu_;
  Layer* words_ = nullptr;
  Parameter *positions_ = nullptr, *types_ = nullptr;
  Norm embedding_norm_{};
  std::vector<Block> blocks_;
};

// Fewer heads than once keep the size that all of them had.
std::int64_t head_dimension(const Json& config) {
  const auto heads = json_at<std::int64_t>(config, "num_attention_heads", "config.json"),
             hidden = json_at<std::int64_t>(config, "hidden_size", "config.json");
  if (heads < 1 || heads > 65536 || hidden < 1)
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG",
                "num_attention_heads or hidden_size is out of range", "config.json.num_attention_heads");
  if (config.contains("head_dim")) {
    const auto given = json_at<std::int64_t>(config, "head_dim", "config.json");
    if (given < 1 || given > 4096)
      throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG", std::to_string(given) + " is out of range",
                  "config.json.head_dim");
    return given;
  }
  if (hidden % heads != 0)
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG", "num_attention_heads does not divide hidden_size",
                "config.json.num_attention_heads");
  return hidden / heads;
}

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
      head_dim_(head_dimension(this->config())),
      epsilon_(json_or<double>(this->config(), "layer_norm_eps", 1e-12, "config.json")),
      tanh_gelu_(wants_tanh_gelu(this->config())) {
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
  add_norm(prefix_ + "embeddings.LayerNorm", tensors);
  embedding_norm_ = find_norm(prefix_ + "embeddings.LayerNorm");
  const auto count = json_at<std::int64_t>(this->config(), "num_hidden_layers", "config.json");
  if (count < 1 || count > 4096)
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG", std::to_string(count) + " is out of range",
                "config.json.num_hidden_layers");
  const auto blocks = static_cast<std::size_t>(count);
  const auto plain = [&](const char* key) {
    return json_at<std::int64_t>(this->config(), key, "config.json");
  };
  const auto heads =
      sizes_by_block(this->config(), "num_attention_heads", plain("num_attention_heads"), blocks);
  const auto ffn = sizes_by_block(this->config(), "intermediate_size", plain("intermediate_size"), blocks);
  for (std::size_t i = 0; i < blocks; ++i) {
    add_block(i, heads[i], ffn[i], tensors);
    blocks_.push_back(find_block(i));
  }
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

void Bert::add_norm(const std::string& name, const TensorSource& tensors) {
  for (const char* part : {".weight", ".bias"}) add_residual_vector(name + part, tensors, hidden_);
}

void Bert::add_block(std::size_t index, std::int64_t heads, std::int64_t ffn, const TensorSource& tensors) {
  const std::string prefix = block_prefix(index), label = "L" + std::to_string(index) + ".";
  const std::int64_t width = heads * head_dim_;
  if (heads > 0) {
    for (const char* name : {"query", "key", "value"})
      add_linear(prefix + "attention.self." + name, tensors, width, hidden_, label + "q", "residual",
                 label + "attention_input");
    add_linear(prefix + "attention.output.dense", tensors, hidden_, width, "residual", label + "q",
               label + "attention_output");
  } else {
    add_residual_vector(prefix + "attention.output.dense.bias", tensors, hidden_);  // its module was cut out
  }
  add_norm(prefix + "attention.output.LayerNorm", tensors);
  if (ffn > 0) {
    add_linear(prefix + "intermediate.dense", tensors, ffn, hidden_, label + "ffn", "residual",
               label + "ffn_input");
    add_linear(prefix + "output.dense", tensors, hidden_, ffn, "residual", label + "ffn",
               label + "ffn_inner");
  } else {
    add_residual_vector(prefix + "output.dense.bias", tensors, hidden_);  // its module was cut out
  }
  add_norm(prefix + "output.LayerNorm", tensors);
}

Bert::Norm Bert::find_norm(const std::string& name) {
  return {find_parameter(name + ".weight"), find_parameter(name + ".bias")};
}

Bert::Block Bert::find_block(std::size_t index) {
  const std::string prefix = block_prefix(index), self = prefix + "attention.self.";
  return {.query = find_layer(self + "query"),
          .key = find_layer(self + "key"),
          .value = find_layer(self + "value"),
          .output = find_layer(prefix + "attention.output.dense"),
          .attention_norm = find_norm(prefix + "attention.output.LayerNorm"),
          .up = find_layer(prefix + "intermediate.dense"),
          .down = find_layer(prefix + "output.dense"),
          .output_norm = find_norm(prefix + "output.LayerNorm"),
          .output_bias = find_parameter(prefix + "attention.output.dense.bias"),
          .down_bias = find_parameter(prefix + "output.dense.bias")};
}

void Bert::adopt_layers() {
  blocks_.clear();
  while (find_parameter(block_prefix(blocks_.size()) + "output.LayerNorm.weight"))
    blocks_.push_back(find_block(blocks_.size()));
  std::vector<std::int64_t> heads, ffn;
  for (const Block& b : blocks_) {
    heads.push_back(b.query ? b.query->weight().rows() / head_dim_ : 0);
    ffn.push_back(b.up ? b.up->weight().rows() : 0);
  }
  Json& config = mutable_config();
  config["num_hidden_layers"] = blocks_.size();
  set_sizes_by_block(config, "num_attention_heads", heads);
  set_sizes_by_block(config, "intermediate_size", ffn);
  // Hugging Face's BERT knows no size of a head but this quotient.
  if (config.contains(std::string("num_attention_heads") + "_per_layer") || heads[0] * head_dim_ != hidden_)
    config["head_dim"] = head_dim_;
}

std::vector<CoupledGroups> Bert::coupled_groups() const {
  std::vector<CoupledGroups> all;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& b = blocks_[i];
    const std::string label = "L" + std::to_string(i) + ".";
    if (b.query)
      all.push_back(
          {CoupledGroups::Kind::kHeads, i, {{label + "q", head_dim_}}, b.query->weight().rows() / head_dim_});
    if (b.up) all.push_back({CoupledGroups::Kind::kFfn, i, {{label + "ffn", 1}}, b.up->weight().rows()});
  }
  return all;
}

std::vector<Layer*> Bert::block_layers(std::size_t block) {
  const Block& b = blocks_[block];
  std::vector<Layer*> layers{b.query, b.key, b.value, b.output, b.up, b.down};
  std::erase(layers, nullptr);
  return layers;
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
        .reshape({batch, positions, layer.weight().rows() / head_dim_, head_dim_})
        .transpose(1, 2);
  };
  const auto query = split(*b.query), key = split(*b.key), value = split(*b.value);
  return b.output->apply(wring::attention(query, key, value, false, context.attention_mask),
                         context.observer);
}

at::Tensor Bert::run_block(std::size_t index, const at::Tensor& hidden, const ForwardContext& context) const {
  const Block& b = blocks_[index];
  const at::Tensor attended = b.query ? attention(b, hidden, context) : b.output_bias->value;
  const auto middle = layer_norm(attended + hidden, b.attention_norm);
  if (!b.up) return layer_norm(b.down_bias->value + middle, b.output_norm);
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
