// Counts readers, and copies under a name that is free.
#include "engine/graph/own_initializer.h"

#include <algorithm>
#include <utility>

#include "engine/graph/normal_form.h"

namespace wring {
namespace {

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_taken(const OnnxGraph& graph, const std::string& name) {
  const auto named = [&](const auto& entry) { return entry.name == name; };
  return std::any_of(graph.initializers.begin(), graph.initializers.end(), named) ||
         std::any_of(graph.inputs.begin(), graph.inputs.end(), named) ||
         std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [&](const OnnxNode& node) { return has(node.outputs, name); });
}

// What an input comes to behind nodes that only hand it on.
std::string source_of(const OnnxGraph& graph, std::string name) {
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node)  // sorted: makers come before
    if (node->operation == "Identity" && has(node->outputs, name)) name = node->inputs.at(0);
  return name;
}

}  // namespace

std::string free_name(const OnnxGraph& graph, const std::string& stem) {
  std::string name = stem;
  for (int i = 2; is_taken(graph, name); ++i) name = stem + "/" + std::to_string(i);
  return name;
}

std::size_t readers_of(const OnnxGraph& graph, const std::string& name) {
  std::size_t count = 0;
  for (const auto& node : graph.nodes) {
    count += static_cast<std::size_t>(std::count(node.inputs.begin(), node.inputs.end(), name));
    count += captured_names(node).count(name);
  }
  return count + static_cast<std::size_t>(
                     std::count_if(graph.outputs.begin(), graph.outputs.end(),
                                   [&](const OnnxValue& output) { return output.name == name; }));
}

OnnxTensor* own_initializer(OnnxGraph& graph, OnnxNode& node, std::size_t input) {
  const std::string name = node.inputs.at(input);
  const auto it = std::find_if(graph.initializers.begin(), graph.initializers.end(),
                               [&](const OnnxTensor& tensor) { return tensor.name == name; });
  if (it == graph.initializers.end()) return nullptr;
  if (readers_of(graph, name) == 1) return &*it;
  OnnxTensor copy = *it;
  copy.name = free_name(graph, name + "/" + node.name);
  node.inputs[input] = copy.name;
  return &graph.initializers.emplace_back(std::move(copy));
}

void own_running_statistics(OnnxGraph& graph) {
  for (auto& node : graph.nodes) {
    if (node.operation != "BatchNormalization") continue;
    for (std::size_t input = 3; input < node.inputs.size(); ++input) {
      const std::string source = source_of(graph, node.inputs[input]);
      if (readers_of(graph, source) > 1 || readers_of(graph, node.inputs[input]) > 1)
        node.inputs[input] = source;
      own_initializer(graph, node, input);
    }
  }
}

}  // namespace wring
