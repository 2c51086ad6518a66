// Which slices of a graph's tensors leave together, found by what its operators do with each axis (OTOv2,
// Chen et al. 2023, in the form of union-find over indices).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/graph/graph.h"

namespace wring {

// Some indices of one axis of one initializer.
struct GraphSlice {
  std::string tensor;
  std::int64_t axis;
  std::vector<std::int64_t> indices;
};

// What leaves at once. With `producers` at zero, all that the unit carries is zero where other parts read it,
// so that cutting all of `slices` leaves the outputs as they are.
struct GraphUnit {
  std::vector<GraphSlice> slices;
  std::vector<GraphSlice> producers;  // those of them that make the unit's values
};

// Units of one kind: they touch the same axes of the same initializers.
struct UnitFamily {
  std::vector<std::size_t> units;  // in the order of their first index
};

// A number in a node (a size, a bound, a group count) that is the count of those `units` that are kept; none:
// -1, which always counts.
struct CountedNumber {
  std::size_t node;
  std::string attribute;    // of the node, or empty: then an initializer read as
  std::size_t input = 0;    // this input of it
  std::size_t element = 0;  // of a list
  std::vector<int> units;
};

struct GraphLabels {
  std::vector<GraphUnit> units;
  std::vector<UnitFamily> families;
  std::vector<CountedNumber> numbers;
};

// Shapes are taken from a run on `example`, one value a graph input; sizes that later inputs change stay
// free.
GraphLabels infer_labels(const Graph& graph, const NamedValues& example);

// The labels with some families alone, in their order; units of the others stay in the graph.
GraphLabels keep_families(const GraphLabels& labels, const std::vector<bool>& kept);

// The graph without some units: numbers of units, each at most once. Throws Error(kInvalidArgument,
// "NOTHING_LEFT") where a family would lose its last unit.
OnnxModel erase_units(const Graph& graph, const GraphLabels& labels, const std::vector<std::size_t>& removed);

// The graph with the producers of these units at zero.
void zero_units(Graph& graph, const GraphLabels& labels, const std::vector<std::size_t>& units);

}  // namespace wring
