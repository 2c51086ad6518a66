// The plan goes back from the products to what they read; the nodes are then put in by name.
#include "engine/graph/rounding.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/graph/fold.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/graph/operator_table.h"
#include "engine/graph/own_initializer.h"

namespace wring {
namespace {

constexpr double kMostBiasCode = 1 << 30;
constexpr double kLeastScale = 1e-12;

template <typename List>
bool holds(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

std::int64_t integer(const OnnxNode& node, const char* name, std::int64_t fallback) {
  const auto* attribute = node.find(name);
  return attribute ? std::get<std::int64_t>(attribute->value) : fallback;
}

float number(const OnnxNode& node, const char* name, float fallback) {
  const auto* attribute = node.find(name);
  return attribute ? std::get<float>(attribute->value) : fallback;
}

class Planner {
 public:
  Planner(const OnnxGraph& graph, const std::function<bool(const OnnxNode&)>& takes)
      : graph_(graph), takes_(takes) {
    for (const auto& tensor : graph.initializers) initializers_[tensor.name] = &tensor;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i)
      for (const auto& name : graph.nodes[i].inputs) readers_[name].push_back(i);
    for (const auto& output : graph.outputs) outputs_.insert(output.name);
  }

  RoundingPlan plan() {
    for (std::size_t i = graph_.nodes.size(); i-- > 0;) look_at(i);
    for (const auto& name : wanted_) plan_.values.emplace(name, name);
    for (const auto& node : graph_.nodes)  // sorted: what is moved comes before what it is moved to
      if (moves(node))
        for (const auto& output : node.outputs)
          if (const auto from = plan_.values.find(node.inputs.front());
              plan_.values.contains(output) && from != plan_.values.end())
            plan_.values[output] = from->second;
    std::reverse(plan_.weights.begin(), plan_.weights.end());
    return std::move(plan_);
  }

 private:
  const OnnxTensor* initializer(const OnnxNode& node, std::size_t i) const {
    const auto it = i < node.inputs.size() ? initializers_.find(node.inputs[i]) : initializers_.end();
    return it == initializers_.end() ? nullptr : it->second;
  }
  bool is_computed(const OnnxNode& node, std::size_t i) const {
    return i < node.inputs.size() && !node.inputs[i].empty() && !initializer(node, i);
  }

  // The node's value, behind a Relu or Clip at zero that alone reads it.
  std::string result_of(const OnnxNode& node) const {
    const std::string& name = node.outputs.front();
    const auto it = readers_.find(name);
    if (outputs_.contains(name) || it == readers_.end() || it->second.size() != 1) return name;
    const OnnxNode& reader = graph_.nodes[it->second.front()];
    const bool clips = reader.operation == "Relu" || (reader.operation == "Clip" && clips_at_zero(reader));
    return clips ? reader.outputs.front() : name;
  }
  bool clips_at_zero(const OnnxNode& clip) const {
    const OnnxTensor* least = initializer(clip, 1);
    return least && to_tensor(*least, least->name).to(at::kDouble).item<double>() == 0;
  }

  // The axis of the weight's scales; -1: it is none that is rounded.
  std::int64_t weight_axis(const OnnxNode& node) const {
    const OnnxTensor* weight = initializer(node, 1);
    if (!weight || weight->type != OnnxType::kFloat) return -1;
    if (node.operation == "Conv") return 0;
    if (weight->shape.size() != 2) return -1;
    return node.operation == "Gemm" && integer(node, "transB", 0) != 0 ? 0 : 1;
  }

  bool moves(const OnnxNode& node) const {
    constexpr std::array<std::string_view, 10> kOperators{"Expand",  "Flatten",  "Identity", "MaxPool",
                                                          "Pad",     "Reshape",  "Slice",    "Transpose",
                                                          "Squeeze", "Unsqueeze"};
    if (!holds(kOperators, node.operation) || node.outputs.size() != 1) return false;
    if (node.operation != "Pad") return true;
    const auto* mode = node.find("mode");
    const OnnxTensor* value = initializer(node, 2);
    const bool zero = value ? to_tensor(*value, value->name).to(at::kDouble).item<double>() == 0
                            : node.inputs.size() < 3 || node.inputs[2].empty();
    return zero && (!mode || std::get<std::string>(mode->value) == "constant");
  }

  bool joins(const OnnxNode& node) const {
    constexpr std::array<std::string_view, 4> kOperators{"Add", "AveragePool", "Concat", "GlobalAveragePool"};
    if (!holds(kOperators, node.operation)) return false;
    for (std::size_t i = 0; i < node.inputs.size(); ++i)
      if (!is_computed(node, i)) return false;
    return true;
  }

  void look_at(std::size_t index) {
    const OnnxNode& node = graph_.nodes[index];
    if (node.operation == "Conv" || node.operation == "Gemm" || node.operation == "MatMul")
      look_at_product(index);
    else if (joins(node) && wanted_.contains(result_of(node)))
      compute_with_codes(index, node.inputs, result_of(node));
    else if (moves(node) && wanted_.contains(node.outputs.front()) && is_computed(node, 0))
      compute_with_codes(index, {node.inputs.front()}, node.outputs.front());
  }

  void look_at_product(std::size_t index) {
    const OnnxNode& node = graph_.nodes[index];
    if (takes_ && !takes_(node)) return;
    const std::int64_t axis = weight_axis(node);
    const bool of_values = node.operation == "MatMul" && is_computed(node, 1);
    if (!is_computed(node, 0) || (axis < 0 && !of_values)) return;
    if (axis >= 0) plan_.weights.push_back({index, axis});
    const std::string made = result_of(node);
    if (node.operation == "Conv") wanted_.insert(made);  // onnxruntime has no int8 Conv that makes floats
    const auto values = node.inputs.begin() + (of_values ? 2 : 1);
    compute_with_codes(index, {node.inputs.begin(), values}, made);
  }

  void compute_with_codes(std::size_t index, const std::vector<std::string>& values,
                          const std::string& made) {
    plan_.nodes.insert(index);
    wanted_.insert(values.begin(), values.end());
    if (wanted_.contains(made)) plan_.made.insert(made);
  }

  const OnnxGraph& graph_;
  const std::function<bool(const OnnxNode&)>& takes_;
  std::map<std::string, const OnnxTensor*> initializers_;
  std::map<std::string, std::vector<std::size_t>> readers_;
  std::set<std::string> outputs_, wanted_;
  RoundingPlan plan_;
};

at::Tensor without_axis(const at::Tensor& weight, std::int64_t axis) {
  return weight.movedim(axis, 0).flatten(1);
}

// Names as they are asked for, each once.
class Writer {
 public:
  explicit Writer(OnnxGraph& graph, CodeTypes types = {}) : graph_(graph), types_(types) {}

  // The DequantizeLinear's output, behind a QuantizeLinear of `name`.
  std::string rounded(const std::string& name, const std::string& scale, const std::string& zero_point,
                      std::optional<std::int64_t> axis, const std::string& output = {}) {
    const std::string codes = free_name(graph_, name + "/codes");
    const std::string values = output.empty() ? free_name(graph_, name + "/rounded") : output;
    std::vector<OnnxAttribute> attributes;
    if (axis) attributes.push_back({"axis", *axis});
    graph_.nodes.push_back({codes, "QuantizeLinear", "", {name, scale, zero_point}, {codes}, attributes});
    graph_.nodes.push_back(
        {values, "DequantizeLinear", "", {codes, scale, zero_point}, {values}, attributes});
    return values;
  }

  // A tensor of the graph's, under a name beside `stem`.
  std::string add(const std::string& stem, const char* what, const at::Tensor& tensor) {
    const std::string name = free_name(graph_, stem + what);
    graph_.initializers.push_back(to_onnx(name, tensor));
    return name;
  }

  // Scale and zero point of a value; equal for all that take the range of `name`.
  std::pair<std::string, std::string> grid(const std::string& name, const ValueRange& range) {
    const auto it = grids_.find(name);
    if (it != grids_.end()) return it->second;
    const double low = std::min(range.low, 0.0), high = std::max(range.high, 0.0);
    const double scale = std::max((high - low) / 255, kLeastScale);
    const std::int64_t zero = std::clamp<std::int64_t>(std::llround(-low / scale), 0, 255);
    const at::Tensor zero_point =
        types_.signed_values ? at::scalar_tensor(zero - 128, at::kChar) : at::scalar_tensor(zero, at::kByte);
    return grids_[name] = {add(name, "/scale", at::scalar_tensor(scale, at::kFloat)),
                           add(name, "/zero_point", zero_point)};
  }

 private:
  OnnxGraph& graph_;
  CodeTypes types_;
  std::map<std::string, std::pair<std::string, std::string>> grids_;
};

void round_weight(OnnxGraph& graph, Writer& writer, const RoundedWeight& place, int bits) {
  OnnxNode& node = graph.nodes[place.node];
  const OnnxTensor* weight = own_initializer(graph, node, 1);
  const std::string name = weight->name;
  const at::Tensor values = to_tensor(*weight, name);
  const std::string scale = writer.add(name, "/scale", weight_scales(values, place.axis, bits));
  const std::string zero_point =
      writer.add(name, "/zero_point", at::zeros({values.size(place.axis)}, at::kChar));
  const std::string rounded = writer.rounded(name, scale, zero_point, place.axis);
  graph.nodes[place.node].inputs[1] = rounded;
}

// The DequantizeLinear that makes `name`; null where none does.
const OnnxNode* dequantizer(const OnnxGraph& graph, const std::string& name) {
  for (const auto& node : graph.nodes)
    if (node.operation == "DequantizeLinear" && node.outputs.front() == name) return &node;
  return nullptr;
}

OnnxTensor* find_initializer(OnnxGraph& graph, const std::string& name) {
  for (auto& tensor : graph.initializers)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

// Makes an int32 initializer of the operator's bias, where it has one that adds to its products as they are.
void store_bias(OnnxGraph& graph, std::size_t index) {
  OnnxNode& node = graph.nodes[index];
  if (node.inputs.size() < 3 || number(node, "alpha", 1) != 1 || number(node, "beta", 1) != 1) return;
  const OnnxNode *values = dequantizer(graph, node.inputs[0]), *weights = dequantizer(graph, node.inputs[1]);
  if (!values || !weights || !find_initializer(graph, node.inputs[2])) return;
  OnnxTensor* scales = find_initializer(graph, weights->inputs[1]);
  const at::Tensor step = to_tensor(*find_initializer(graph, values->inputs[1]), "scale").to(at::kDouble);
  at::Tensor weight_step = to_tensor(*scales, scales->name).to(at::kDouble);
  const at::Tensor bias = to_tensor(*find_initializer(graph, node.inputs[2]), node.inputs[2]).to(at::kDouble);
  if (bias.dim() != 1 || bias.sizes() != weight_step.sizes()) return;
  weight_step = at::maximum(weight_step, bias.abs() / (step * kMostBiasCode)).to(at::kFloat).to(at::kDouble);
  *scales = to_onnx(scales->name, weight_step.to(at::kFloat));
  const at::Tensor bias_step = (step * weight_step).to(at::kFloat);
  Writer writer(graph);
  const std::string stem = node.inputs[2];
  const std::string codes = writer.add(stem, "/codes", at::round(bias / bias_step).to(at::kInt));
  const std::string scale = writer.add(stem, "/scale", bias_step);
  const std::string zero_point = writer.add(stem, "/zero_point", at::zeros_like(bias, at::kInt));
  const std::string output = free_name(graph, stem + "/rounded");
  node.inputs[2] = output;
  graph.nodes.push_back(
      {output, "DequantizeLinear", "", {codes, scale, zero_point}, {output}, {{"axis", std::int64_t{0}}}});
}

}  // namespace

RoundingPlan plan_rounding(const OnnxGraph& graph, const std::function<bool(const OnnxNode&)>& takes) {
  return Planner(graph, takes).plan();
}

at::Tensor weight_scales(const at::Tensor& weight, std::int64_t axis, int bits) {
  const double most = static_cast<double>((1 << (bits - 1)) - 1);
  return (without_axis(weight, axis).abs().amax(1) / most).clamp_min(kLeastScale).to(at::kFloat);
}

void insert_rounding(OnnxGraph& graph, const RoundingPlan& plan,
                     const std::map<std::string, ValueRange>& ranges, const CodeTypes& types) {
  Writer writer(graph, types);
  const std::size_t count = graph.nodes.size();
  for (const auto& weight : plan.weights) round_weight(graph, writer, weight, types.weight_bits);
  for (const auto& [name, source] : plan.values) {
    const auto [scale, zero_point] = writer.grid(source, ranges.at(source));
    const bool made = plan.made.contains(name);  // then all read it as it is rounded
    const bool output = std::any_of(graph.outputs.begin(), graph.outputs.end(),
                                    [&](const OnnxValue& value) { return value.name == name; });
    std::string exact = name;
    if (made && output) {  // the graph's output keeps its name, what is rounded gets another
      exact = free_name(graph, name + "/exact");
      for (auto& node : graph.nodes) std::replace(node.outputs.begin(), node.outputs.end(), name, exact);
    }
    const std::string rounded =
        writer.rounded(exact, scale, zero_point, std::nullopt, exact == name ? std::string() : name);
    for (std::size_t i = 0; i < count; ++i)
      if (made || plan.nodes.contains(i))
        std::replace(graph.nodes[i].inputs.begin(), graph.nodes[i].inputs.end(), name, rounded);
  }
}

std::vector<ScaledWeight> scaled_weights(const OnnxGraph& graph) {
  std::vector<ScaledWeight> list;
  for (const auto& node : graph.nodes) {
    if (node.operation != "QuantizeLinear") continue;
    const bool constant =
        std::any_of(graph.initializers.begin(), graph.initializers.end(),
                    [&](const OnnxTensor& tensor) { return tensor.name == node.inputs[0]; });
    if (constant) list.push_back({node.inputs[0], node.inputs[1], integer(node, "axis", 1)});
  }
  return list;
}

void store_codes(OnnxModel& model) {
  OnnxGraph& graph = model.graph;
  for (std::size_t i = 0, count = graph.nodes.size(); i < count; ++i)
    if (graph.nodes[i].operation == "Conv" || graph.nodes[i].operation == "Gemm") store_bias(graph, i);
  const Call::Branch no_branch;
  std::vector<OnnxNode> rest;
  for (auto& node : graph.nodes) {
    const OnnxTensor* values =
        node.operation == "QuantizeLinear" ? find_initializer(graph, node.inputs[0]) : nullptr;
    if (!values) {
      rest.push_back(std::move(node));
      continue;
    }
    Tensors inputs;
    for (const auto& name : node.inputs) inputs.push_back(to_tensor(*find_initializer(graph, name), name));
    const Tensors codes = find_operator(node)(Call(node, model.opsets.at(""), false, inputs, no_branch));
    graph.initializers.push_back(to_onnx(node.outputs.front(), codes.front()));
  }
  graph.nodes = std::move(rest);
  drop_unread_initializers(graph);
}

}  // namespace wring
