// Ties, barriers and counted numbers of label inference.
#include "engine/graph/label_scope.h"

#include <algorithm>
#include <utility>

namespace wring {
namespace {

// The node that makes `name`, or the number of nodes.
std::size_t maker_of(const OnnxGraph& graph, const std::string& name) {
  const auto it = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const OnnxNode& node) {
    return std::find(node.outputs.begin(), node.outputs.end(), name) != node.outputs.end();
  });
  return static_cast<std::size_t>(it - graph.nodes.begin());
}

bool passes_elements_on(const OnnxNode& node) {
  for (const char* name : {"Identity", "Unsqueeze", "Squeeze", "Cast", "Reshape"})
    if (node.operation == name) return true;
  return false;
}

}  // namespace

bool LabelScope::is_initializer(const std::string& name) const {
  const auto& list = graph_.nodes().initializers;
  return std::any_of(list.begin(), list.end(), [&](const OnnxTensor& tensor) { return tensor.name == name; });
}

LabelledValue LabelScope::barred_value(const std::string& name) {
  LabelledValue value;
  for (const auto size : traced(name).sizes) value.axes.push_back(barred_axis(size));
  return value;
}

void LabelScope::bar(const LabelledValue& value) {
  for (const auto& axis : value.axes) bar(axis);
}

bool LabelScope::is_free(const LabelledAxis& axis) {
  return std::any_of(axis.atoms.begin(), axis.atoms.end(), [&](int atom) { return !atoms.is_barred(atom); });
}

void LabelScope::tie(const LabelledAxis& a, const LabelledAxis& b) {
  if (a.size() != b.size()) {
    bar(a);
    bar(b);
    return;
  }
  for (std::size_t i = 0; i < a.atoms.size(); ++i) atoms.unite(a.atoms[i], b.atoms[i]);
}

void LabelScope::tie_parts(const LabelledAxis& axis, std::int64_t parts) {
  const auto width = static_cast<std::size_t>(axis.size() / parts);
  for (std::size_t i = width; i < axis.atoms.size(); ++i) atoms.unite(axis.atoms[i % width], axis.atoms[i]);
}

void LabelScope::consume(const LabelledAxis& axis) {
  if (!axis.zero) bar(axis);
}

bool LabelScope::produce(const LabelledValue& value, std::size_t axis) {
  if (value.initializer.empty() || value.initializer_axes.at(axis) < 0) return false;
  auto& axes = made[value.initializer];
  axes.resize(std::max(axes.size(), values.at(value.initializer).axes.size()));
  axes[static_cast<std::size_t>(value.initializer_axes[axis])] = true;
  return true;
}

bool LabelScope::count_input(std::size_t node, std::size_t input, std::size_t element, const AtomIds& ids) {
  const OnnxGraph& graph = graph_.nodes();
  const std::string& name = graph.nodes[node].inputs.at(input);
  if (is_initializer(name)) {
    numbers.push_back({node, "", input, element, ids});
    return true;
  }
  const std::size_t maker = maker_of(graph, name);
  if (maker == graph.nodes.size()) return false;
  const OnnxNode& source = graph.nodes[maker];
  if (passes_elements_on(source)) return count_input(maker, 0, element, ids);
  if (source.operation != "Concat") return false;
  for (std::size_t i = 0; i < source.inputs.size(); ++i) {
    const auto& sizes = traced(source.inputs[i]).sizes;
    const auto length = static_cast<std::size_t>(sizes.empty() ? 1 : sizes[0]);
    if (element < length) return count_input(maker, i, element, ids);
    element -= length;
  }
  return false;
}

void LabelScope::count_attribute(std::size_t node, const std::string& attribute, std::size_t element,
                                 const AtomIds& ids) {
  numbers.push_back({node, attribute, 0, element, ids});
}

}  // namespace wring
