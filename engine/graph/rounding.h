// Rounding of a graph's values and weights to integer codes: which of them, and the nodes that do it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "formats/onnx/onnx.h"

namespace wring {

// A weight, in the place of an operator's input 1, with a scale for each index of an axis.
struct RoundedWeight {
  std::size_t node;
  std::int64_t axis;
};

struct RoundingPlan {
  // Values that become codes, and whose range each takes: its own, or that of the value it was moved from.
  std::map<std::string, std::string> values;
  std::set<std::string> made;   // those of them that an operator makes as codes
  std::set<std::size_t> nodes;  // that compute with codes
  std::vector<RoundedWeight> weights;
};

// What onnxruntime computes with codes: Conv, Gemm and MatMul, with Relu or Clip behind them; Add, Concat and
// average pools between such; and what only moves codes (MaxPool, Reshape, Pad with zeros, ...). Everything
// else stays in floats, and so do a Conv of which a weight is computed and what `takes` is false of (null: of
// nothing), of the Conv, Gemm and MatMul. `graph` is in normal form.
RoundingPlan plan_rounding(const OnnxGraph& graph, const std::function<bool(const OnnxNode&)>& takes = {});

// Of values: between the least and the greatest that codes stand for.
struct ValueRange {
  double low = 0, high = 0;
};

struct CodeTypes {
  int weight_bits = 8;         // symmetric, a scale a channel
  bool signed_values = false;  // int8 in place of uint8 between operators, with a zero point
};

// Puts a QuantizeLinear and a DequantizeLinear behind each value of the plan and each weight. Weights stay
// floats, so that they can be trained. `ranges`: of the values whose own ranges are taken.
void insert_rounding(OnnxGraph& graph, const RoundingPlan& plan,
                     const std::map<std::string, ValueRange>& ranges, const CodeTypes& types);

// The scale of each index along an axis: the greatest size over the greatest code of so many bits.
at::Tensor weight_scales(const at::Tensor& weight, std::int64_t axis, int bits);

// Makes integers of what insert_rounding() left as floats: codes of the weights, and the biases of their
// operators at 32 bits by the product of both scales, as onnxruntime adds them. A channel whose bias would
// not fit gets a larger scale.
void store_codes(OnnxModel& model);

// The scale of each weight that insert_rounding() left as floats: initializers' names.
struct ScaledWeight {
  std::string weight, scale;
  std::int64_t axis;
};
std::vector<ScaledWeight> scaled_weights(const OnnxGraph& graph);

}  // namespace wring
