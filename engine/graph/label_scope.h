// What the rules of label inference work on: the labelled values of a graph on their way through its nodes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/graph/atoms.h"
#include "engine/graph/graph.h"

namespace wring {

struct LabelledAxis {
  AtomIds atoms;
  bool zero = false;  // the value is zero at an index whose unit's producers are
  std::int64_t size() const { return static_cast<std::int64_t>(atoms.size()); }
};

struct LabelledValue {
  std::vector<LabelledAxis> axes;
  std::string initializer;            // whose view this is, or empty
  std::vector<int> initializer_axes;  // for each axis the initializer's; -1: none of its
  std::int64_t rank() const { return static_cast<std::int64_t>(axes.size()); }
};

// A number in a node that counts kept atoms.
struct CountedAtoms {
  std::size_t node;
  std::string attribute;
  std::size_t input, element;
  AtomIds atoms;
};

class LabelScope {
 public:
  LabelScope(const Graph& graph, const std::map<std::string, TracedValue>& traced)
      : graph_(graph), traced_(traced) {}

  Atoms atoms;
  std::map<std::string, LabelledValue> values;
  std::map<std::string, std::vector<bool>> made;  // axes of initializers that make a unit's values
  std::vector<CountedAtoms> numbers;

  std::int64_t opset() const { return graph_.opset(); }
  const TracedValue& traced(const std::string& name) const { return traced_.at(name); }
  bool is_initializer(const std::string& name) const;

  // A value of this shape whose axes nothing can leave.
  LabelledValue barred_value(const std::string& name);
  LabelledAxis barred_axis(std::int64_t size) { return {atoms.make_barred(size), false}; }
  void bar(const LabelledAxis& axis) { atoms.bar(axis.atoms); }
  void bar(const LabelledValue& value);
  bool is_free(const LabelledAxis& axis);  // some index can leave, as far as is known

  // Ties two axes of one size, index by index.
  void tie(const LabelledAxis& a, const LabelledAxis& b);

  // Ties the same place of each of `parts` equal parts of an axis.
  void tie_parts(const LabelledAxis& axis, std::int64_t parts);

  // Something multiplies by this axis' values and sums over it: only what is zero there can leave.
  void consume(const LabelledAxis& axis);

  // The axis of an initializer (through a view of it) makes values: its slices are zeroed with the unit.
  // False where the value is no view of an initializer's whole axis.
  bool produce(const LabelledValue& value, std::size_t axis);

  // Notes that element `element` of the integers that node `node` has as input `input` counts these atoms.
  // False where it is no number in an initializer, or one that other nodes read on its way here.
  bool count_input(std::size_t node, std::size_t input, std::size_t element, const AtomIds& ids);
  // The same; else ties the atoms to the axis whose size it is, or bars them where it is computed otherwise.
  void count_or_bar(std::size_t node, std::size_t input, std::size_t element, const AtomIds& ids);
  void count_attribute(std::size_t node, const std::string& attribute, std::size_t element,
                       const AtomIds& ids);

 private:
  // Where an element of a node's input comes from through nodes that only hand it on.
  struct Origin {
    std::size_t node, input, element;
    bool shared = false;  // a value on the way has other readers
  };
  Origin origin_of(std::size_t node, std::size_t input, std::size_t element) const;
  std::size_t part_of(const OnnxNode& concat, std::size_t& element) const;  // which input has it, and where
  const OnnxNode* maker(const std::string& name) const;                     // null where no node makes it
  std::int64_t taken_element(const OnnxNode& node, std::int64_t element) const;
  bool keeps_its_size(const OnnxNode& node) const;
  // The size of an axis, read off it when the graph runs: ties its atoms to these.
  bool tie_to_size(const Origin& origin, const AtomIds& ids);

  const Graph& graph_;
  const std::map<std::string, TracedValue>& traced_;
};

// Labels the node's outputs by its operator's rule; what has none is a barrier on all its axes.
void label_node(LabelScope& scope, std::size_t node_index, const OnnxNode& node);

}  // namespace wring
