// Multiply-adds of a graph, node by node.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/graph/graph.h"

namespace wring {

struct NodeMacs {
  std::string name, operation;  // see name_of()
  std::uint64_t macs;
};

// Of the nodes that multiply by weights or by each other (convolutions, Gemm, MatMul also of integers,
// Einsum, recurrent layers), for these inputs, in order; an Einsum of n factors has n - 1 times the product
// of all its axes; an If has those of the branch it took. Elementwise work counts nothing.
std::vector<NodeMacs> count_macs(const Graph& graph, const NamedValues& inputs);

// Their sum, of one example.
std::uint64_t macs_of(const Graph& graph, const NamedValues& inputs);

}  // namespace wring
