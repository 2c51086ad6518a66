// Cuts units out of a graph: slices of tensors, and the numbers in nodes that count them.
#include <c10/core/GradMode.h>

#include <algorithm>
#include <set>
#include <utility>

#include "common/error.h"
#include "engine/graph/labels.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/graph/own_initializer.h"

namespace wring {
namespace {

void check_left(const GraphLabels& labels, const std::vector<bool>& gone) {
  for (const auto& family : labels.families)
    if (std::all_of(family.units.begin(), family.units.end(), [&](std::size_t unit) { return gone[unit]; })) {
      const GraphSlice& slice = labels.units[family.units.front()].slices.front();
      throw Error(ErrorCode::kInvalidArgument, "NOTHING_LEFT",
                  "all units of axis " + std::to_string(slice.axis) + " would leave", slice.tensor,
                  "Keep at least one unit of each family.");
    }
}

at::Tensor without(const at::Tensor& tensor, std::int64_t axis, const std::set<std::int64_t>& indices) {
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < tensor.size(axis); ++i)
    if (!indices.contains(i)) kept.push_back(i);
  return tensor.index_select(axis, at::tensor(kept, at::kLong));
}

void cut_tensors(OnnxModel& model, const GraphLabels& labels, const std::vector<std::size_t>& removed) {
  std::map<std::string, std::map<std::int64_t, std::set<std::int64_t>>> cuts;
  for (const auto unit : removed)
    for (const auto& slice : labels.units.at(unit).slices)
      cuts[slice.tensor][slice.axis].insert(slice.indices.begin(), slice.indices.end());
  for (auto& file : model.graph.initializers) {
    const auto it = cuts.find(file.name);
    if (it == cuts.end()) continue;
    at::Tensor tensor = to_tensor(file, file.name);
    for (const auto& [axis, indices] : it->second) tensor = without(tensor, axis, indices);
    file = to_onnx(file.name, tensor);
  }
}

void set_number(OnnxGraph& graph, const CountedNumber& number, std::int64_t value) {
  OnnxNode& node = graph.nodes.at(number.node);
  if (number.attribute.empty()) {
    OnnxTensor& file = *own_initializer(graph, node, number.input);
    const at::Tensor tensor = to_tensor(file, file.name);
    tensor.view({-1}).select(0, static_cast<std::int64_t>(number.element)).fill_(value);
    file = to_onnx(file.name, tensor);
    return;
  }
  for (auto& attribute : node.attributes) {
    if (attribute.name != number.attribute) continue;
    if (auto* list = std::get_if<std::vector<std::int64_t>>(&attribute.value))
      list->at(number.element) = value;
    else
      attribute.value = value;
  }
}

}  // namespace

OnnxModel erase_units(const Graph& graph, const GraphLabels& labels,
                      const std::vector<std::size_t>& removed) {
  std::vector<bool> gone(labels.units.size());
  for (const auto unit : removed) gone.at(unit) = true;
  check_left(labels, gone);
  OnnxModel model = graph.to_onnx();
  cut_tensors(model, labels, removed);
  for (const auto& number : labels.numbers)
    set_number(model.graph, number, std::count_if(number.units.begin(), number.units.end(), [&](int unit) {
                 return unit < 0 || !gone[static_cast<std::size_t>(unit)];
               }));
  return model;
}

void zero_units(Graph& graph, const GraphLabels& labels, const std::vector<std::size_t>& units) {
  const c10::NoGradGuard no_grad;
  for (const auto unit : units)
    for (const auto& slice : labels.units.at(unit).producers)
      graph.find_tensor(slice.tensor)
          ->index_fill_(slice.axis, at::tensor(slice.indices, at::kLong).to(graph.device()), 0);
}

}  // namespace wring
