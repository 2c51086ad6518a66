// Quantisation of a graph to int8: what its methods share.
#pragma once

#include "engine/methods/graph/value_ranges.h"
#include "engine/methods/graph_method.h"

namespace wring {

struct GraphRounding {
  CodeTypes types;
  RangeRule rule;
  std::int64_t examples = 128;
  Normalisation normalisation;

  static GraphRounding from(const Params& params);
};

// Throws Error(kInvalidArgument) "OLD_OPSET", where files know no scales a channel, and
// "NOTHING_TO_QUANTIZE".
void check_rounding(const Graph& graph);

// The graph with its batch normalisations folded and its values rounded between operators, by their ranges
// over the examples; weights are rounded but still floats. Layers that are not targeted compute with floats.
// Throws Error(kInvalidArgument, "NO_TARGETS") where no weight is left to round. Puts "examples", "values"
// (how many are rounded) and "layers" (a line a weight) into the report.
OnnxModel rounded_graph(const Graph& graph, const GraphExamples& examples, const GraphRounding& rounding,
                        const GraphTargets& targets, Progress& progress, Json& report);

// The same with integers for weights and biases. Puts "relative_error" into the report: of the first output
// over some examples beside `graph`, as a share of its root mean square.
OnnxModel stored_graph(const Graph& graph, const GraphExamples& examples, OnnxModel rounded, Json& report);

}  // namespace wring
