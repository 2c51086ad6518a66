// Multiply-adds of a graph, node by node.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/graph/graph.h"

namespace wring {

struct NodeMacs {
  std::string name, operation;  // a node without a name goes by its first output's
  std::uint64_t macs;
};

// Of the nodes that multiply by weights or by each other (convolutions, Gemm, MatMul, recurrent layers), for
// these inputs, in order; elementwise work, Einsum and graphs inside nodes count nothing.
std::vector<NodeMacs> count_macs(const Graph& graph, const NamedValues& inputs);

// Their sum, of one example.
std::uint64_t macs_of(const Graph& graph, const NamedValues& inputs);

}  // namespace wring
