// Evaluation suites of graphs: the same names, specs and rows as those of token models.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/eval/suite.h"
#include "engine/graph/graph.h"

namespace wring {

// What a suite may look at.
struct GraphEvaluation {
  const Graph& graph;
  const FileTree& files;                                         // of the model, for its size
  std::function<const FileTree&(const std::string& name)> data;  // throws kInvalidArgument "MISSING_DATA"
  std::uint64_t seed;
  Progress& progress;
};

using GraphSuite = std::vector<EvaluationRow> (*)(const Params& params, const GraphEvaluation& input);
bool register_graph_suite(const char* name, GraphSuite suite);
GraphSuite find_graph_suite(const std::string& name);  // throws kUnimplemented "UNKNOWN_SUITE"

#define WRING_GRAPH_SUITE(name, function) \
  [[maybe_unused]] const bool registered_##function = ::wring::register_graph_suite(name, function)

}  // namespace wring
