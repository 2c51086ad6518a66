// BERT's embeddings with kinds of tokens, the model's own blocks, and transformers' heads on top.
#include "engine/export/encoder_outputs.h"

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "common/error.h"

namespace wring {
namespace {

class Outputs {
 public:
  explicit Outputs(const Model& model) : model_(model) {
    for (const auto& parameter : model.parameters()) parameters_[parameter.name] = parameter.value;
    prefix_ = parameters_.contains("bert.embeddings.LayerNorm.weight") ? "bert." : "";
    epsilon_ = json_or<double>(model.config(), "layer_norm_eps", 1e-12, "config.json");
  }

  std::map<std::string, at::Tensor> make(const at::Tensor& ids, const at::Tensor& mask,
                                         const at::Tensor& types, InputObserver* observer) {
    at::Tensor hidden = embed(ids, types);
    ForwardContext context;
    context.attention_mask = mask;
    context.observer = observer;
    for (std::size_t i = 0; i < model_.block_count(); ++i) hidden = model_.run_block(i, hidden, context);
    hidden = hidden.to(at::kFloat);
    made_["last_hidden_state"] = hidden;
    add_pooled(hidden);
    add_answer_spans(hidden);
    add_words(hidden);
    check_all_used();
    return made_;
  }

 private:
  // Undefined where the model has none of this name.
  at::Tensor find(const std::string& name) {
    const auto it = parameters_.find(name);
    if (it == parameters_.end()) return {};
    used_.insert(name);
    return it->second.to(at::kFloat);
  }

  const Layer& words() const {
    const auto layers = model_.layers();
    return **std::find_if(layers.begin(), layers.end(), [](const Layer* layer) {
      return layer->name().ends_with("embeddings.word_embeddings");
    });
  }

  at::Tensor norm(const at::Tensor& x, const std::string& name) {
    return at::layer_norm(x, {x.size(-1)}, find(name + ".weight"), find(name + ".bias"), epsilon_);
  }

  at::Tensor embed(const at::Tensor& ids, const at::Tensor& types) {
    const std::string tables = prefix_ + "embeddings.";
    const at::Tensor positions =
        find(tables + "position_embeddings.weight").narrow(0, 0, ids.size(1)).unsqueeze(0);
    const at::Tensor kinds = find(tables + "token_type_embeddings.weight");
    return norm(words().look_up(ids, at::kFloat) + positions + at::embedding(kinds, types),
                tables + "LayerNorm");
  }

  std::optional<at::Tensor> linear(const at::Tensor& x, const std::string& name) {
    const at::Tensor weight = find(name + ".weight");
    if (!weight.defined()) return std::nullopt;
    return at::linear(x, weight, find(name + ".bias"));
  }

  // A class for tokens may come with a pooler that it does not read.
  bool classifies_tokens() const {
    for (const auto& name :
         json_or<std::vector<std::string>>(model_.config(), "architectures", {}, "config.json"))
      if (name.ends_with("ForTokenClassification")) return true;
    return false;
  }

  void add_pooled(const at::Tensor& hidden) {
    at::Tensor read = hidden;
    if (const auto pooled = linear(hidden.select(1, 0), prefix_ + "pooler.dense")) {
      made_["pooler_output"] = pooled->tanh();
      if (!classifies_tokens()) read = made_["pooler_output"];
      if (const auto next = linear(made_["pooler_output"], "cls.seq_relationship"))
        made_["seq_relationship_logits"] = *next;
    }
    if (const auto classes = linear(read, "classifier")) made_["logits"] = *classes;
  }

  void add_answer_spans(const at::Tensor& hidden) {
    const auto both = linear(hidden, "qa_outputs");
    if (!both) return;
    made_["start_logits"] = both->select(-1, 0);
    made_["end_logits"] = both->select(-1, 1);
  }

  void add_words(const at::Tensor& hidden) {
    const std::string head = "cls.predictions.";
    auto x = linear(hidden, head + "transform.dense");
    if (!x) return;
    const bool exact = json_or<std::string>(model_.config(), "hidden_act", "gelu", "config.json") == "gelu";
    x = norm(at::gelu(*x, exact ? "none" : "tanh"), head + "transform.LayerNorm");
    const at::Tensor own = find(head + "decoder.weight");
    at::Tensor bias = find(head + "decoder.bias");
    // transformers ties the two, and saves either or both.
    if (const at::Tensor alone = find(head + "bias"); !bias.defined()) bias = alone;
    made_["logits"] = at::linear(*x, own.defined() ? own : words().weight().decode(at::kFloat), bias);
  }

  void check_all_used() const {
    for (const auto& [name, value] : parameters_)
      if (!used_.contains(name) && !name.starts_with(prefix_ + "encoder."))
        throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                    "this parameter is no part of a head as transformers has them, and would be lost", name,
                    "Export to huggingface, or take it out of the checkpoint.");
  }

  const Model& model_;
  std::string prefix_;
  double epsilon_;
  std::map<std::string, at::Tensor> parameters_, made_;
  std::set<std::string> used_;
};

}  // namespace

std::map<std::string, at::Tensor> encoder_outputs(const Model& model, const at::Tensor& ids,
                                                  const at::Tensor& mask, const at::Tensor& types,
                                                  InputObserver* observer) {
  return Outputs(model).make(ids, mask, types, observer);
}

}  // namespace wring
