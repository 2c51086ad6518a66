// Runs the label rules over a graph and gathers what can leave into units.
#include "engine/graph/labels.h"

#include <algorithm>
#include <set>
#include <utility>

#include "engine/graph/label_scope.h"
#include "engine/graph/onnx_tensor.h"

namespace wring {
namespace {

using Place = std::pair<std::string, std::int64_t>;  // an axis of an initializer

LabelledValue initializer_value(LabelScope& scope, const OnnxTensor& tensor) {
  const bool floats =
      at::isFloatingType(scalar_type(tensor.type, tensor.name));  // others are sizes and indices
  LabelledValue value;
  value.initializer = tensor.name;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    value.axes.push_back(
        {floats ? scope.atoms.make(tensor.shape[i]) : scope.atoms.make_barred(tensor.shape[i]), false});
    value.initializer_axes.push_back(static_cast<int>(i));
  }
  return value;
}

void label_graph(LabelScope& scope, const Graph& graph) {
  for (const auto& tensor : graph.nodes().initializers)
    scope.values[tensor.name] = initializer_value(scope, tensor);
  for (const auto& input : graph.inputs()) {
    scope.values[input.name] = scope.barred_value(input.name);
    scope.values[input.name].initializer_axes.resize(scope.values[input.name].axes.size(), -1);
  }
  for (std::size_t i = 0; i < graph.nodes().nodes.size(); ++i) label_node(scope, i, graph.nodes().nodes[i]);
  for (const auto& output : graph.outputs()) scope.bar(scope.values.at(output.name));
}

// Numbers the classes that initializers make and nothing bars.
class UnitBuilder {
 public:
  UnitBuilder(LabelScope& scope, GraphLabels& labels) : scope_(scope), labels_(labels) {
    for (const auto& [name, axes] : scope.made)
      for (std::size_t axis = 0; axis < axes.size(); ++axis)
        for (const int atom : scope.values.at(name).axes[axis].atoms)
          if (axes[axis]) made_.insert(scope.atoms.find(atom));
  }

  void add(const OnnxTensor& tensor) {
    const auto& axes = scope_.values.at(tensor.name).axes;
    const auto made = scope_.made.find(tensor.name);
    for (std::size_t axis = 0; axis < axes.size(); ++axis) {
      std::map<int, std::vector<std::int64_t>> indices;  // by unit
      for (std::size_t i = 0; i < axes[axis].atoms.size(); ++i)
        if (const int unit = unit_of(axes[axis].atoms[i], true); unit >= 0)
          indices[unit].push_back(static_cast<std::int64_t>(i));
      const bool makes = made != scope_.made.end() && axis < made->second.size() && made->second[axis];
      for (auto& [unit, list] : indices) {
        GraphUnit& entry = labels_.units[static_cast<std::size_t>(unit)];
        entry.slices.push_back({tensor.name, static_cast<std::int64_t>(axis), std::move(list)});
        if (makes) entry.producers.push_back(entry.slices.back());
      }
    }
  }

  // -1: of none.
  int unit_of(int atom, bool make) {
    const int root = scope_.atoms.find(atom);
    if (scope_.atoms.is_barred(atom) || !made_.contains(root)) return -1;
    const auto it = numbers_.find(root);
    if (it != numbers_.end()) return it->second;
    if (!make) return -1;
    labels_.units.emplace_back();
    return numbers_[root] = static_cast<int>(labels_.units.size()) - 1;
  }

 private:
  LabelScope& scope_;
  GraphLabels& labels_;
  std::set<int> made_;
  std::map<int, int> numbers_;  // of units by their classes
};

std::vector<UnitFamily> families_of(const std::vector<GraphUnit>& units) {
  std::map<std::vector<Place>, std::size_t> known;
  std::vector<UnitFamily> families;
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    std::vector<Place> places;
    for (const auto& slice : units[unit].slices) places.emplace_back(slice.tensor, slice.axis);
    const auto [it, fresh] = known.emplace(std::move(places), families.size());
    if (fresh) families.emplace_back();
    families[it->second].units.push_back(unit);
  }
  return families;
}

}  // namespace

GraphLabels infer_labels(const Graph& graph, const NamedValues& example) {
  const auto traced = graph.trace(example);
  LabelScope scope(graph, traced);
  label_graph(scope, graph);
  GraphLabels labels;
  UnitBuilder builder(scope, labels);
  for (const auto& tensor : graph.nodes().initializers) builder.add(tensor);
  for (const auto& number : scope.numbers) {
    CountedNumber counted{number.node, number.attribute, number.input, number.element, {}};
    for (const int atom : number.atoms) counted.units.push_back(builder.unit_of(atom, false));
    if (std::any_of(counted.units.begin(), counted.units.end(), [](int unit) { return unit >= 0; }))
      labels.numbers.push_back(std::move(counted));
  }
  labels.families = families_of(labels.units);
  return labels;
}

GraphLabels keep_families(const GraphLabels& labels, const std::vector<bool>& kept) {
  GraphLabels some;
  std::vector<int> numbers(labels.units.size(), -1);  // that always counts
  for (std::size_t f = 0; f < labels.families.size(); ++f) {
    if (!kept.at(f)) continue;
    UnitFamily family;
    for (const auto unit : labels.families[f].units) {
      numbers[unit] = static_cast<int>(some.units.size());
      family.units.push_back(some.units.size());
      some.units.push_back(labels.units[unit]);
    }
    some.families.push_back(std::move(family));
  }
  some.numbers = labels.numbers;
  for (auto& number : some.numbers)
    for (int& unit : number.units) unit = unit < 0 ? unit : numbers[static_cast<std::size_t>(unit)];
  return some;
}

}  // namespace wring
