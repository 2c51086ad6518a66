// w' = w g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + shift, in fp64.
#include "engine/graph/fold.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "engine/graph/onnx_tensor.h"
#include "engine/graph/operator_table.h"
#include "engine/graph/own_initializer.h"

namespace wring {
namespace {

OnnxTensor* initializer(OnnxGraph& graph, const std::string& name) {
  const auto it = std::find_if(graph.initializers.begin(), graph.initializers.end(),
                               [&](const OnnxTensor& tensor) { return tensor.name == name; });
  return it == graph.initializers.end() ? nullptr : &*it;
}

bool only_moves(const OnnxNode& node) {
  constexpr std::array<std::string_view, 5> kOperators{"Identity", "Reshape", "Squeeze", "Transpose",
                                                       "Unsqueeze"};
  return std::find(kOperators.begin(), kOperators.end(), node.operation) != kOperators.end();
}

bool is_output(const OnnxGraph& graph, const std::string& name) {
  return std::any_of(graph.outputs.begin(), graph.outputs.end(),
                     [&](const OnnxValue& output) { return output.name == name; });
}

// Empty where the node reads more than initializers.
Tensors initializers_of(OnnxGraph& graph, const OnnxNode& node) {
  Tensors inputs;
  for (const auto& name : node.inputs) {
    const OnnxTensor* file = initializer(graph, name);
    if (!file) return {};
    inputs.push_back(to_tensor(*file, name));
  }
  return inputs;
}

at::Tensor values_of(OnnxGraph& graph, const std::string& name) {
  return to_tensor(*initializer(graph, name), name).to(at::kDouble);
}

// The convolution whose values the norm reads, where it can take the norm in.
OnnxNode* convolution_before(OnnxGraph& graph, const OnnxNode& norm) {
  for (std::size_t i = 1; i < 5; ++i)
    if (!initializer(graph, norm.inputs.at(i))) return nullptr;
  for (auto& node : graph.nodes)
    if (node.operation == "Conv" && node.outputs.front() == norm.inputs.front()) {
      const bool constant = initializer(graph, node.inputs.at(1)) &&
                            (node.inputs.size() < 3 || initializer(graph, node.inputs[2]));
      return constant && readers_of(graph, node.outputs.front()) == 1 ? &node : nullptr;
    }
  return nullptr;
}

void fold(OnnxGraph& graph, const OnnxNode& norm, OnnxNode& convolution) {
  const auto* epsilon = norm.find("epsilon");
  const at::Tensor deviation =
      (values_of(graph, norm.inputs[4]) + (epsilon ? std::get<float>(epsilon->value) : 1e-5F)).sqrt();
  const at::Tensor factor = values_of(graph, norm.inputs[1]) / deviation;
  at::Tensor shift = values_of(graph, norm.inputs[2]) - values_of(graph, norm.inputs[3]) * factor;
  OnnxTensor* weight = own_initializer(graph, convolution, 1);
  const std::string name = weight->name;
  const at::Tensor values = to_tensor(*weight, name);
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(values.dim()), 1);
  sizes[0] = -1;
  *weight = to_onnx(name, (values.to(at::kDouble) * factor.view(sizes)).to(values.scalar_type()));
  if (convolution.inputs.size() > 2) {
    shift = shift + values_of(graph, convolution.inputs[2]) * factor;
    convolution.inputs.pop_back();
  }
  convolution.inputs.push_back(free_name(graph, name + "/bias"));
  graph.initializers.push_back(to_onnx(convolution.inputs[2], shift.to(values.scalar_type())));
  convolution.outputs.front() = norm.outputs.front();
}

}  // namespace

void fold_moved_initializers(OnnxModel& model) {
  OnnxGraph& graph = model.graph;
  const Call::Branch no_branch;
  std::vector<OnnxNode> rest;
  for (auto& node : graph.nodes) {
    const Tensors inputs = only_moves(node) && !is_output(graph, node.outputs.front())
                               ? initializers_of(graph, node)
                               : Tensors();
    if (inputs.empty()) {
      rest.push_back(std::move(node));
      continue;
    }
    const Tensors made = find_operator(node)(Call(node, model.opsets.at(""), false, inputs, no_branch));
    graph.initializers.push_back(to_onnx(node.outputs.front(), made.front()));
  }
  graph.nodes = std::move(rest);
  drop_unread_initializers(graph);
}

void fold_batch_norms(OnnxGraph& graph) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const OnnxNode norm = graph.nodes[i];
    const auto* training = norm.find("training_mode");
    if (norm.operation != "BatchNormalization" || norm.outputs.size() != 1 ||
        (training && std::get<std::int64_t>(training->value) != 0))
      continue;
    OnnxNode* convolution = convolution_before(graph, norm);
    if (!convolution) continue;
    fold(graph, norm, *convolution);
    graph.nodes.erase(graph.nodes.begin() + static_cast<std::ptrdiff_t>(i--));
  }
  drop_unread_initializers(graph);
}

void drop_unread_initializers(OnnxGraph& graph) {
  std::erase_if(graph.initializers,
                [&](const OnnxTensor& tensor) { return readers_of(graph, tensor.name) == 0; });
}

}  // namespace wring
