// Ties, barriers and counted numbers of label inference.
#include "engine/graph/label_scope.h"

#include <algorithm>
#include <utility>

#include "engine/graph/own_initializer.h"

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

LabelScope::Origin LabelScope::origin_of(std::size_t node, std::size_t input, std::size_t element) const {
  const OnnxGraph& graph = graph_.nodes();
  Origin origin{node, input, element};
  while (true) {
    const std::string& name = graph.nodes[origin.node].inputs.at(origin.input);
    const std::size_t maker = maker_of(graph, name);
    if (maker == graph.nodes.size()) return origin;
    const OnnxNode& source = graph.nodes[maker];
    std::size_t from = 0;
    if (source.operation == "Concat")
      from = part_of(source, origin.element);
    else if (!passes_elements_on(source) && !keeps_its_size(source))
      return origin;
    origin.shared = origin.shared || readers_of(graph, name) > 1;
    origin.node = maker;
    origin.input = from;
  }
}

bool LabelScope::keeps_its_size(const OnnxNode& node) const {
  return node.operation == "Expand" && traced(node.inputs.at(0)).sizes == traced(node.outputs.at(0)).sizes;
}

std::size_t LabelScope::part_of(const OnnxNode& concat, std::size_t& element) const {
  for (std::size_t i = 0; i + 1 < concat.inputs.size(); ++i) {
    const auto& sizes = traced(concat.inputs[i]).sizes;
    const auto length = static_cast<std::size_t>(sizes.empty() ? 1 : sizes[0]);
    if (element < length) return i;
    element -= length;
  }
  return concat.inputs.size() - 1;
}

bool LabelScope::count_input(std::size_t node, std::size_t input, std::size_t element, const AtomIds& ids) {
  const Origin origin = origin_of(node, input, element);
  if (origin.shared || !is_initializer(graph_.nodes().nodes[origin.node].inputs[origin.input])) return false;
  numbers.push_back({origin.node, "", origin.input, origin.element, ids});
  return true;
}

void LabelScope::count_or_bar(std::size_t node, std::size_t input, std::size_t element, const AtomIds& ids) {
  if (!count_input(node, input, element, ids) && !tie_to_size(origin_of(node, input, element), ids))
    atoms.bar(ids);
}

const OnnxNode* LabelScope::maker(const std::string& name) const {
  const auto& nodes = graph_.nodes().nodes;
  const std::size_t index = maker_of(graph_.nodes(), name);
  return index == nodes.size() ? nullptr : &nodes[index];
}

// Of the output of Gather, or of Slice by steps of one: which element of its first input that is.
std::int64_t LabelScope::taken_element(const OnnxNode& node, std::int64_t element) const {
  const auto& places = traced(node.inputs.at(1)).integers;
  if (places.empty()) return -1;
  const bool gathers = node.operation == "Gather";
  const std::int64_t taken = gathers ? places.at(static_cast<std::size_t>(element)) : places[0] + element;
  return taken < 0 ? taken + traced(node.inputs[0]).sizes.at(0) : taken;
}

bool LabelScope::tie_to_size(const Origin& origin, const AtomIds& ids) {
  const OnnxNode* source = maker(graph_.nodes().nodes[origin.node].inputs[origin.input]);
  auto element = static_cast<std::int64_t>(origin.element);
  const bool gathers = source && source->operation == "Gather" && source->inputs.size() == 2;
  const bool slices =
      source && source->operation == "Slice" && (source->inputs.size() == 3 || source->inputs.size() == 4);
  if (gathers || slices) {
    element = taken_element(*source, element);
    source = maker(source->inputs[0]);
  }
  if (!source || source->operation != "Shape") return false;
  if (const auto* start = source->find("start")) element += std::get<std::int64_t>(start->value);
  const LabelledValue& x = values.at(source->inputs.at(0));
  if (element < 0 || element >= x.rank()) return false;
  const AtomIds& of_axis = x.axes[static_cast<std::size_t>(element)].atoms;
  if (of_axis.size() != ids.size()) return false;
  for (std::size_t i = 0; i < ids.size(); ++i) atoms.unite(ids[i], of_axis[i]);
  return true;
}

void LabelScope::count_attribute(std::size_t node, const std::string& attribute, std::size_t element,
                                 const AtomIds& ids) {
  numbers.push_back({node, attribute, 0, element, ids});
}

}  // namespace wring
