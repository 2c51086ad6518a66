// The family makes the model anew, of a source of tensors that gives zeros for what is not there.
#include "engine/export/pad.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "common/error.h"
#include "engine/model/block_sizes.h"

namespace wring {
namespace {

// "model.layers.3.mlp.up_proj" -> "mlp.up_proj"; what stands in no block is its own kind.
std::string kind_of(const std::string& layer) {
  for (const std::string_view blocks : {"model.layers.", "encoder.layer."}) {
    const auto at = layer.find(blocks);
    if (at == std::string::npos) continue;
    const auto dot = layer.find('.', at + blocks.size());
    if (dot != std::string::npos) return layer.substr(dot + 1);
  }
  return layer;
}

at::Tensor widened(const at::Tensor& values, std::int64_t rows, std::int64_t columns) {
  return at::constant_pad_nd(values, {0, columns - values.size(1), 0, rows - values.size(0)});
}

struct Heads {
  std::int64_t query, kv, size;
};

// As many as the block that has most; more, where they do not divide the hidden size as transformers wants
// it: its BERT makes its hidden size up of heads.
Heads uniform_heads(const Model& model) {
  const Json& config = model.config();
  const auto hidden = model.hidden_size();
  const auto query = json_at<std::int64_t>(config, "num_attention_heads", "config.json");
  const auto size = json_or<std::int64_t>(config, "head_dim", hidden / query, "config.json");
  if (model.family() == "bert") return {hidden / size, hidden / size, size};
  const auto kv = json_or<std::int64_t>(config, "num_key_value_heads", query, "config.json");
  for (std::int64_t more = kv, shared = query / kv; more * shared <= hidden; ++more)
    if (hidden % (more * shared) == 0) return {more * shared, more, size};
  return {query, kv, size};
}

class PaddedTensors final : public TensorSource {
 public:
  explicit PaddedTensors(const Model& model) {
    for (const Layer* layer : model.layers()) {
      layers_[layer->name()] = layer;
      Kind& kind = kinds_[kind_of(layer->name())];
      kind.rows = std::max(kind.rows, layer->weight().rows());
      kind.columns = std::max(kind.columns, layer->weight().columns());
      kind.bias = kind.bias || layer->bias().defined();
      kind.dtype = source_dtype(layer->weight());
    }
    for (const auto& parameter : model.parameters()) parameters_[parameter.name] = parameter.value;
    const auto [query, kv, size] = uniform_heads(model);
    for (const char* name : {"self_attn.q_proj", "attention.self.query"}) set_rows(name, query * size);
    for (const char* name :
         {"self_attn.k_proj", "self_attn.v_proj", "attention.self.key", "attention.self.value"})
      set_rows(name, kv * size);
    for (const char* name : {"self_attn.o_proj", "attention.output.dense"})
      if (const auto it = kinds_.find(name); it != kinds_.end()) it->second.columns = query * size;
  }

  bool has(const std::string& name) const override {
    if (parameters_.contains(name)) return true;
    const auto [layer, part] = split(name);
    const auto kind = kinds_.find(kind_of(layer));
    if (kind == kinds_.end() || (kind->first == layer && !layers_.contains(layer))) return false;
    return part == "weight" || (part == "bias" && kind->second.bias);
  }

  at::Tensor tensor(const std::string& name) const override {
    if (const auto it = parameters_.find(name); it != parameters_.end()) return it->second;
    if (!has(name)) throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "the model has no such tensor", name);
    const auto [layer, part] = split(name);
    if (part == "weight") return weight(layer)->decode(at::kFloat);
    const auto it = layers_.find(layer);
    const std::int64_t rows = kinds_.at(kind_of(layer)).rows;
    if (it == layers_.end() || !it->second->bias().defined()) return at::zeros({rows});
    const at::Tensor bias = it->second->bias().cpu();
    return at::constant_pad_nd(bias, {0, rows - bias.size(0)});
  }

  std::shared_ptr<const WeightRep> weight(const std::string& layer) const override {
    const auto kind = kinds_.find(kind_of(layer));
    if (kind == kinds_.end())
      throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "no block of the model has such a layer", layer);
    const auto [rows, columns, bias, dtype] = kind->second;
    const auto it = layers_.find(layer);
    if (it == layers_.end()) return dense_rep(at::zeros({rows, columns}, dtype));
    const WeightRep& rep = it->second->weight();
    if (rep.rows() == rows && rep.columns() == columns) return it->second->shared_weight();
    if (input_rounding(rep))
      throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                  "a layer that rounds its inputs is not padded", layer,
                  "Export it as onnx, or leave round-inputs out.");
    return dense_rep(widened(rep.decode(source_dtype(rep)), rows, columns));
  }

 private:
  struct Kind {
    std::int64_t rows = 0, columns = 0;  // of the widest
    bool bias = false;
    at::ScalarType dtype = at::kFloat;
  };

  void set_rows(const std::string& kind, std::int64_t rows) {
    if (const auto it = kinds_.find(kind); it != kinds_.end()) it->second.rows = rows;
  }

  static std::pair<std::string, std::string> split(const std::string& name) {
    const auto dot = name.rfind('.');
    return {name.substr(0, dot), name.substr(dot + 1)};
  }

  std::map<std::string, const Layer*> layers_;
  std::map<std::string, Kind> kinds_;
  std::map<std::string, at::Tensor> parameters_;
};

Json uniform_config(const Model& model) {
  Json config = model.config();
  for (const char* key : {"num_attention_heads", "num_key_value_heads", "intermediate_size"})
    config.erase(std::string(key) + "_per_layer");  // config.json has the largest under the plain name
  const auto [query, kv, size] = uniform_heads(model);
  config["num_attention_heads"] = query;
  if (config.contains("num_key_value_heads")) config["num_key_value_heads"] = kv;
  if (model.family() == "bert")
    config.erase("head_dim");
  else
    config["head_dim"] = size;
  return config;
}

}  // namespace

std::unique_ptr<Model> padded_model(const Model& model) {
  check_whole_heads(model.config(), "a padded model");
  return make_model(uniform_config(model), PaddedTensors(model));
}

}  // namespace wring
