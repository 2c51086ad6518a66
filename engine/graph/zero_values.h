// Values of a graph that are zero whatever the graph is given.
#pragma once

#include <map>
#include <set>
#include <string>

#include "engine/graph/graph.h"

namespace wring {

// Whether the node's outputs are all zero where these of its inputs are. False where that is not known of the
// operator. `constants`: the graph's initializers.
bool makes_zeros(const OnnxNode& node, const std::set<std::string>& zeros,
                 const std::map<std::string, TracedValue>& constants);

}  // namespace wring
