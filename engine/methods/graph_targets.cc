// Layers are told by the initializers that they read, also behind nodes that only move values.
#include "engine/methods/graph_targets.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::string_view kSuffix = ".weight";

template <std::size_t n>
bool is_one_of(const std::array<std::string_view, n>& operators, const OnnxNode& node) {
  return std::find(operators.begin(), operators.end(), node.operation) != operators.end();
}

bool is_layer(const OnnxNode& node) {
  constexpr std::array<std::string_view, 8> kLayers{"Conv",   "ConvTranspose", "Gemm", "MatMul",
                                                    "Gather", "LSTM",          "GRU",  "RNN"};
  return is_one_of(kLayers, node);
}

bool moves(const OnnxNode& node) {
  constexpr std::array<std::string_view, 6> kMoves{"Cast",    "Identity",  "Reshape",
                                                   "Squeeze", "Transpose", "Unsqueeze"};
  return is_one_of(kMoves, node);
}

struct LayerNode {
  const OnnxNode* node;
  std::string weight;  // the initializer; empty where all that it reads is computed
};

std::vector<LayerNode> layers_of(const Graph& graph) {
  std::map<std::string, std::string> moved;  // values that are an initializer's, and which one's
  for (const auto& tensor : graph.nodes().initializers) moved[tensor.name] = tensor.name;
  std::vector<LayerNode> layers;
  for (const auto& node : graph.nodes().nodes) {  // sorted: what is moved comes first
    const auto read = std::find_if(node.inputs.begin(), node.inputs.end(),
                                   [&](const std::string& name) { return moved.contains(name); });
    const std::string weight = read == node.inputs.end() ? "" : moved.at(*read);
    if (moves(node) && read == node.inputs.begin() && !weight.empty())
      for (const auto& output : node.outputs) moved[output] = weight;
    if (is_layer(node)) layers.push_back({&node, weight});
  }
  return layers;
}

}  // namespace

bool GraphTargets::takes_all() const {
  return stage_.targets == std::vector<std::string>{"Linear"} &&
         (stage_.ignore.empty() || stage_.ignore == std::vector<std::string>{"lm_head"});
}

bool GraphTargets::takes(const std::vector<std::string>& names, const std::string& operation) const {
  const auto match = [&](const std::vector<std::string>& patterns) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
      return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        return pattern_matches(pattern, name, operation) || pattern_matches(pattern, name, "Linear");
      });
    });
  };
  return match(stage_.targets) && !match(stage_.ignore);
}

bool GraphTargets::takes(const OnnxNode& node, const std::string& weight) const {
  std::vector<std::string> names{name_of(node)};
  if (!weight.empty()) names.push_back(weight);
  if (weight.ends_with(kSuffix)) names.push_back(weight.substr(0, weight.size() - kSuffix.size()));
  return takes(names, node.operation);
}

void GraphTargets::throw_none(const Graph& graph, const std::string& message) const {
  std::string example;
  for (const auto& layer : layers_of(graph))
    if (!layer.weight.empty()) example = ", e.g. " + layer.weight;
  throw Error(ErrorCode::kInvalidArgument, "NO_TARGETS", message, field_ + ".targets",
              "Layers go by their node's or their weight's name" + example +
                  ", by their operator (Conv, Gemm, MatMul), or by re:PATTERN.");
}

void GraphTargets::check(const Graph& graph) const {
  if (takes_all()) return;
  const auto layers = layers_of(graph);
  if (std::none_of(layers.begin(), layers.end(),
                   [&](const LayerNode& layer) { return takes(*layer.node, layer.weight); }))
    throw_none(graph, "no layer of this graph matches");
}

std::set<std::string> GraphTargets::left_out(const Graph& graph) const {
  std::set<std::string> weights;
  if (takes_all()) return weights;
  for (const auto& layer : layers_of(graph))
    if (!takes(*layer.node, layer.weight)) weights.insert(layer.weight);
  return weights;
}

GraphLabels GraphTargets::chosen(const Graph& graph, const GraphLabels& labels) const {
  if (takes_all()) return labels;
  const auto stay = left_out(graph);
  std::vector<bool> kept;
  for (const auto& family : labels.families) {
    const auto& makers = labels.units[family.units.front()].producers;
    kept.push_back(std::none_of(makers.begin(), makers.end(),
                                [&](const GraphSlice& slice) { return stay.contains(slice.tensor); }));
  }
  if (std::find(kept.begin(), kept.end(), true) == kept.end())
    throw_none(graph, "nothing can be cut whose layers are all targeted");
  return keep_families(labels, kept);
}

}  // namespace wring
