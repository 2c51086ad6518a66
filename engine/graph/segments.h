// Whole branches of a graph that can be erased: what ends at one input of a sum and nobody else reads (OTOv3,
// Chen et al. 2023; card C2, A, B and D).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/graph/graph.h"

namespace wring {

// With `parameters` at zero its value is zero whatever the graph is given, so that the joint adds nothing:
// the joint and `nodes` can leave.
struct GraphSegment {
  std::size_t joint;                    // an Add, Sub or Sum
  std::size_t input;                    // of it
  std::vector<std::size_t> nodes;       // in order; those of segments inside it are among them
  std::vector<std::string> parameters;  // that only these nodes read
};

// In the order of their joints. What is left of the joint depends on the graph's inputs and has its shape;
// shapes are taken from a run on `example`.
std::vector<GraphSegment> find_segments(const Graph& graph, const NamedValues& example);

// Whether each joint keeps an input, and each of the graph's outputs depends on one of its inputs.
bool can_erase(const Graph& graph, const std::vector<GraphSegment>& segments,
               const std::vector<std::size_t>& erased);

// The graph without some segments: numbers of them. Throws Error(kInvalidArgument, "NOTHING_LEFT") where
// can_erase() is false.
OnnxModel erase_segments(const Graph& graph, const std::vector<GraphSegment>& segments,
                         const std::vector<std::size_t>& erased);

// The graph with the parameters of these segments at zero: the other half of the self-test.
void zero_segments(Graph& graph, const std::vector<GraphSegment>& segments,
                   const std::vector<std::size_t>& erased);

}  // namespace wring
