// A model's layers as ONNX nodes, each weight in the form that onnxruntime multiplies by.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/export/onnx_builder.h"
#include "engine/model/model.h"

namespace wring {

struct OnnxLayerOptions {
  bool packed = true;               // integer grids stay integers
  std::int64_t accuracy_level = 0;  // of MatMulNBits; 0: its default
  bool fast_products = false;       // weights stay int8 where inputs are rounded
};

// Names and layouts: engine/model/onnx_source.h. Everything that is added is claimed. Throws
// Error(kInvalidArgument, "NOT_EXPRESSIBLE") naming the layer.
class OnnxLayers {
 public:
  OnnxLayers(const Model& model, OnnxBuilder& builder, Claims& claims, OnnxLayerOptions options);

  const Layer* find(const std::string& name) const;  // null where there is none
  const at::Tensor* parameter(const std::string& name) const;

  // x [..., in] -> [..., out], both in the builder's working type.
  std::string linear(const Layer& layer, const std::string& x);
  // ids [...] -> [..., features]
  std::string look_up(const Layer& embedding, const std::string& ids);
  // x [batch, positions, features] times the embedding's rows, `like` [batch, positions] -> [..., vocabulary]
  std::string score_rows(const Layer& embedding, const std::string& x, const std::string& like);

 private:
  struct Input {
    std::string values, codes, scale, zero;  // the others of one that is rounded, zero on one scale alone
  };
  struct Product {
    std::string value;
    std::shared_ptr<const WeightRep> meant;
  };
  Input rounded(const std::string& x, const InputRounding& rounding, const std::string& layer);
  Input round(const std::string& x, const std::string& name);
  Input round_on(const std::string& x, const InputRounding& rounding, const std::string& name);
  Input dequantized(const Input& x, const std::string& name);
  Product part(const std::string& name, const std::shared_ptr<const WeightRep>& rep, const Input& x);
  Product thin(const std::string& name, const WeightRep& rep, const Input& x);
  Product blocks(const std::string& name, const WeightRep& rep, const Input& x);
  Product whole_rows(const std::string& name, const WeightRep& rep, const Input& x);
  Product plain(const std::string& name, const std::shared_ptr<const WeightRep>& rep, const Input& x);
  std::string rows_of(const Layer& embedding);

  OnnxBuilder& builder_;
  Claims& claims_;
  OnnxLayerOptions options_;
  std::map<std::string, const Layer*> layers_;
  std::map<std::string, const at::Tensor*> parameters_;
  std::map<std::string, std::vector<std::pair<InputRounding, Input>>> rounded_;  // by what was rounded
};

// The families' graphs, from input_ids to the outputs.
void write_llama_graph(const Model& model, OnnxLayers& layers, OnnxBuilder& builder);
void write_bert_graph(const Model& model, OnnxLayers& layers, OnnxBuilder& builder);

// What both need. x [batch, positions, heads * size] -> [batch, heads, positions, size].
std::string split_heads(OnnxBuilder& builder, const std::string& x, std::int64_t heads, std::int64_t size);
// softmax(query key^T) value where `visible` (bool, to be broadcast to the scores): several query heads may
// share a KV head, queries are scaled already. -> [batch, positions, heads * size]
std::string attend(OnnxBuilder& builder, const std::string& query, const std::string& key,
                   const std::string& value, const std::string& visible, std::int64_t heads,
                   std::int64_t kv_heads, std::int64_t size);
// Size `axis` of x, as a tensor of one integer.
std::string size_of(OnnxBuilder& builder, const std::string& x, std::int64_t axis);

}  // namespace wring
