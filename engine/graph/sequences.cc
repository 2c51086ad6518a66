// SplitToSequence and SequenceAt by their definition: piece i is what lies between the sums of sizes before
// and after.
#include "engine/graph/sequences.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/graph/call.h"
#include "engine/graph/onnx_tensor.h"

namespace wring {
namespace {

using Makers = std::map<std::string, OnnxNode>;

std::optional<std::vector<std::int64_t>> numbers(const OnnxGraph& graph, const std::string& name) {
  const auto it = std::find_if(graph.initializers.begin(), graph.initializers.end(),
                               [&](const OnnxTensor& tensor) { return tensor.name == name; });
  if (it == graph.initializers.end()) return std::nullopt;
  return to_integers(to_tensor(*it, name));
}

std::int64_t integer(const OnnxNode& node, const char* name, std::int64_t fallback) {
  const auto* attribute = node.find(name);
  const auto* value = attribute ? std::get_if<std::int64_t>(&attribute->value) : nullptr;
  return value ? *value : fallback;
}

// Where piece `index` begins and ends. One size is that of all pieces.
std::optional<std::pair<std::int64_t, std::int64_t>> bounds(const std::vector<std::int64_t>& sizes,
                                                            bool equal, std::int64_t index) {
  if (index < 0 || (!equal && index >= static_cast<std::int64_t>(sizes.size())) || sizes.empty())
    return std::nullopt;
  if (equal) return std::pair(index * sizes[0], (index + 1) * sizes[0]);
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < index; ++i) begin += sizes[static_cast<std::size_t>(i)];
  return std::pair(begin, begin + sizes[static_cast<std::size_t>(index)]);
}

std::string add_number(OnnxGraph& graph, const std::string& name, std::int64_t value) {
  graph.initializers.push_back(to_onnx(name, at::tensor({value}, at::kLong)));
  return name;
}

void replace(OnnxGraph& graph, OnnxNode& node, const OnnxNode& source) {
  if (source.inputs.size() < 2 || node.inputs.size() < 2) return;
  const auto sizes = numbers(graph, source.inputs[1]), index = numbers(graph, node.inputs[1]);
  if (!sizes || !index || index->size() != 1) return;
  const auto scalar = std::any_of(
      graph.initializers.begin(), graph.initializers.end(),
      [&](const OnnxTensor& tensor) { return tensor.name == source.inputs[1] && tensor.shape.empty(); });
  const auto piece = bounds(*sizes, scalar, index->front());
  if (!piece) return;
  const std::string stem = node.outputs.at(0);
  node.operation = "Slice";
  node.inputs = {source.inputs[0], add_number(graph, stem + "/start", piece->first),
                 add_number(graph, stem + "/end", piece->second),
                 add_number(graph, stem + "/axis", integer(source, "axis", 0))};
}

}  // namespace

void replace_sequences(OnnxGraph& graph) {
  Makers makers;
  for (const auto& node : graph.nodes)
    if (node.operation == "SplitToSequence" && node.domain.empty() && !node.outputs.empty())
      makers.emplace(node.outputs[0], node);
  if (makers.empty()) return;
  for (auto& node : graph.nodes)
    if (node.operation == "SequenceAt" && !node.inputs.empty())
      if (const auto it = makers.find(node.inputs[0]); it != makers.end()) replace(graph, node, it->second);
  const auto is_read = [&](const std::string& name) {
    return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const OnnxNode& node) {
      return std::find(node.inputs.begin(), node.inputs.end(), name) != node.inputs.end();
    });
  };
  std::erase_if(graph.nodes, [&](const OnnxNode& node) {
    return node.operation == "SplitToSequence" && !node.outputs.empty() && !is_read(node.outputs[0]);
  });
}

}  // namespace wring
