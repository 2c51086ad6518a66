// The BERT encoder as an ONNX graph: sums and norms in fp32, products in the working type.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/error.h"
#include "engine/export/onnx_layers.h"

namespace wring {
namespace {

const OnnxDimension kBatch = free_size("batch_size"), kPositions = free_size("sequence_length");

class BertGraph {
 public:
  BertGraph(const Model& model, OnnxLayers& layers, OnnxBuilder& builder)
      : model_(model),
        layers_(layers),
        b_(builder),
        prefix_(layers.find("bert.embeddings.word_embeddings") ? "bert." : ""),
        hidden_size_(model.hidden_size()),
        epsilon_(json_or<double>(model.config(), "layer_norm_eps", 1e-12, "config.json")),
        tanh_gelu_(json_or<std::string>(model.config(), "hidden_act", "gelu", "config.json") != "gelu") {
    const auto heads = json_at<std::int64_t>(model.config(), "num_attention_heads", "config.json");
    head_size_ = json_or<std::int64_t>(model.config(), "head_dim", hidden_size_ / heads, "config.json");
  }

  void write() {
    ids_ = b_.input("input_ids", at::kLong, {kBatch, kPositions});
    const std::string mask = b_.input("attention_mask", at::kLong, {kBatch, kPositions});
    b_.input("token_type_ids", at::kLong, {kBatch, kPositions});
    b_.enter("mask");
    visible_ = b_.node("Unsqueeze", {b_.cast(mask, at::kLong, at::kBool), b_.integers({1, 2})});
    std::string hidden = embed();
    for (std::size_t i = 0; i < model_.block_count(); ++i) hidden = block(i, hidden);
    b_.enter("last_hidden_state");
    (void)b_.node("Identity", {hidden}, {}, "last_hidden_state");
    b_.output("last_hidden_state", at::kFloat, {kBatch, kPositions, fixed_size(hidden_size_)});
    write_heads(hidden);
  }

 private:
  std::string parameter(const std::string& name, at::ScalarType type, bool transposed = false) {
    const auto* const values = layers_.parameter(name);
    if (!values)
      throw Error(ErrorCode::kInvalidArgument, "MISSING_TENSOR", "the model has no " + name, name,
                  "Its head is not whole: take it out of the checkpoint, or complete it.");
    return b_.parameter(name, *values, type, transposed);
  }

  std::string embed() {
    const std::string prefix = prefix_ + "embeddings.";
    const std::string words =
        b_.cast(layers_.look_up(*layers_.find(prefix + "word_embeddings"), ids_), b_.work(), at::kFloat);
    b_.enter(prefix_ + "embeddings");
    const auto rows = [&](const char* table, const std::string& ids) {
      const std::string values = parameter(prefix + table + ".weight", b_.work());
      return b_.cast(b_.node("Gather", {values, ids}, {{"axis", std::int64_t{0}}}), b_.work(), at::kFloat);
    };
    const std::string count = b_.node("Squeeze", {size_of(b_, ids_, 1), b_.integers({0})});
    const std::string positions =
        rows("position_embeddings", b_.node("Range", {b_.integer(0), count, b_.integer(1)}));
    const std::string sum = b_.add(b_.add(words, positions), rows("token_type_embeddings", "token_type_ids"));
    return norm(sum, prefix + "LayerNorm");
  }

  // In fp32.
  std::string norm(const std::string& x, const std::string& name) {
    b_.enter(name);
    return b_.node("LayerNormalization",
                   {x, parameter(name + ".weight", at::kFloat), parameter(name + ".bias", at::kFloat)},
                   {{"axis", std::int64_t{-1}}, {"epsilon", static_cast<float>(epsilon_)}});
  }

  std::string gelu(const std::string& x, at::ScalarType type) {
    const auto number = [&](double value) { return b_.number(value, type); };
    std::string share;
    if (tanh_gelu_) {
      const std::string cube = b_.multiply(b_.multiply(b_.multiply(x, x), x), number(0.044715));
      share = b_.node("Tanh", {b_.multiply(b_.add(x, cube), number(std::sqrt(2 / std::numbers::pi)))});
    } else {
      share = b_.node("Erf", {b_.node("Div", {x, number(std::numbers::sqrt2)})});
    }
    return b_.multiply(b_.multiply(x, b_.add(share, number(1))), number(0.5));
  }

  std::string block(std::size_t index, const std::string& hidden) {
    const std::string prefix = prefix_ + "encoder.layer." + std::to_string(index) + ".";
    const auto or_residue = [&](const std::string& made, const std::string& bias) {
      return made.empty() ? parameter(bias, at::kFloat) : b_.cast(made, b_.work(), at::kFloat);
    };
    const std::string attended =
        or_residue(attention(prefix, hidden), prefix + "attention.output.dense.bias");
    const std::string middle = norm(b_.add(attended, hidden), prefix + "attention.output.LayerNorm");
    const std::string mixed = or_residue(mlp(prefix, middle), prefix + "output.dense.bias");
    return norm(b_.add(mixed, middle), prefix + "output.LayerNorm");
  }

  // Nothing where it was cut out.
  std::string attention(const std::string& prefix, const std::string& hidden) {
    const std::string self = prefix + "attention.self.";
    const Layer* query = layers_.find(self + "query");
    if (!query) return "";
    const std::int64_t heads = query->weight().rows() / head_size_;
    b_.enter(prefix + "attention");
    const std::string x = b_.cast(hidden, at::kFloat, b_.work());
    const auto projected = [&](const char* name) {
      const std::string y = layers_.linear(*layers_.find(self + name), x);
      b_.enter(prefix + "attention");
      return split_heads(b_, y, heads, head_size_);
    };
    const std::string scale = b_.number(1 / std::sqrt(static_cast<double>(head_size_)), b_.work());
    const std::string scaled = b_.multiply(projected("query"), scale), key = projected("key"),
                      value = projected("value");
    return layers_.linear(*layers_.find(prefix + "attention.output.dense"),
                          attend(b_, scaled, key, value, visible_, heads, heads, head_size_));
  }

  std::string mlp(const std::string& prefix, const std::string& middle) {
    const Layer* up = layers_.find(prefix + "intermediate.dense");
    if (!up) return "";
    b_.enter(prefix + "intermediate");
    const std::string raised = layers_.linear(*up, b_.cast(middle, at::kFloat, b_.work()));
    b_.enter(prefix + "intermediate");
    return layers_.linear(*layers_.find(prefix + "output.dense"), gelu(raised, b_.work()));
  }

  // x W^T + b, or nothing where the model has no such head; all in fp32, as they are small.
  std::string head(const std::string& name, const std::string& x) {
    if (!layers_.parameter(name + ".weight")) return "";
    b_.enter(name);
    const std::string y = b_.node("MatMul", {x, parameter(name + ".weight", at::kFloat, true)});
    return layers_.parameter(name + ".bias") ? b_.add(y, parameter(name + ".bias", at::kFloat)) : y;
  }

  void give(const std::string& name, const std::string& value, std::vector<OnnxDimension> shape) {
    if (value.empty()) return;
    (void)b_.node("Identity", {value}, {}, name);
    b_.output(name, at::kFloat, std::move(shape));
  }

  OnnxDimension rows_of(const std::string& weight) const {
    return fixed_size(layers_.parameter(weight)->size(0));
  }

  void write_heads(const std::string& hidden) {
    std::string pooled;
    if (layers_.parameter(prefix_ + "pooler.dense.weight")) {
      b_.enter(prefix_ + "pooler");
      const std::string first = b_.node("Gather", {hidden, b_.integer(0)}, {{"axis", std::int64_t{1}}});
      pooled = b_.node("Tanh", {head(prefix_ + "pooler.dense", first)});
      give("pooler_output", pooled, {kBatch, fixed_size(hidden_size_)});
    }
    const bool by_token = pooled.empty() || is_token_classifier();
    if (const auto scores = head("classifier", by_token ? hidden : pooled); !scores.empty())
      give("logits", scores,
           by_token ? std::vector{kBatch, kPositions, rows_of("classifier.weight")}
                    : std::vector{kBatch, rows_of("classifier.weight")});
    write_answer_spans(hidden);
    write_predictions(hidden);
    if (const auto next = pooled.empty() ? "" : head("cls.seq_relationship", pooled); !next.empty())
      give("seq_relationship_logits", next, {kBatch, rows_of("cls.seq_relationship.weight")});
  }

  // Such a checkpoint may hold a pooler that its class does not read.
  bool is_token_classifier() const {
    const auto classes =
        json_or<std::vector<std::string>>(model_.config(), "architectures", {}, "config.json");
    return std::any_of(classes.begin(), classes.end(),
                       [](const auto& name) { return name.ends_with("ForTokenClassification"); });
  }

  void write_answer_spans(const std::string& hidden) {
    const std::string both = head("qa_outputs", hidden);
    if (both.empty()) return;
    for (const auto& [name, column] : {std::pair{"start_logits", 0}, std::pair{"end_logits", 1}})
      give(name, b_.node("Gather", {both, b_.integer(column)}, {{"axis", std::int64_t{2}}}),
           {kBatch, kPositions});
  }

  // Masked words. The decoder's weight is the embedding's where there is none of its own.
  void write_predictions(const std::string& hidden) {
    const std::string prefix = "cls.predictions.", transform = prefix + "transform.";
    const std::string raised = head(transform + "dense", hidden);
    if (raised.empty()) return;
    const std::string x = norm(gelu(raised, at::kFloat), transform + "LayerNorm");
    const Layer& words = *layers_.find(prefix_ + "embeddings.word_embeddings");
    const bool own = layers_.parameter(prefix + "decoder.weight") != nullptr;
    b_.enter("cls.predictions");
    std::string scores = own ? b_.node("MatMul", {x, parameter(prefix + "decoder.weight", at::kFloat, true)})
                             : b_.cast(layers_.score_rows(words, b_.cast(x, at::kFloat, b_.work()), ids_),
                                       b_.work(), at::kFloat);
    for (const char* bias : {"decoder.bias", "bias"})
      if (layers_.parameter(prefix + bias)) {
        scores = b_.add(scores, parameter(prefix + bias, at::kFloat));
        break;
      }
    give("logits", scores, {kBatch, kPositions, fixed_size(words.weight().rows())});
  }

  const Model& model_;
  OnnxLayers& layers_;
  OnnxBuilder& b_;
  std::string prefix_;
  std::int64_t hidden_size_, head_size_ = 0;
  double epsilon_;
  bool tanh_gelu_;
  std::string ids_, visible_;
};

}  // namespace

void write_bert_graph(const Model& model, OnnxLayers& layers, OnnxBuilder& builder) {
  BertGraph(model, layers, builder).write();
}

}  // namespace wring
