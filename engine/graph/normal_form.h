// The form that graphs are run and changed in: constants as initializers, which are no inputs; what integers
// alone make computed; no node in training; nodes in an order in which they can run.
#pragma once

#include <set>
#include <string>

#include "formats/onnx/onnx.h"

namespace wring {

// Also of the graphs inside nodes. Throws Error(kInvalidArgument, "BAD_GRAPH") naming the node and the value:
// one that nobody makes, one that two make, or a cycle; and as find_operator() does.
void bring_to_normal_form(OnnxGraph& graph, std::int64_t opset);

// What the graphs inside a node read of the scopes around them, beside the node's own inputs.
std::set<std::string> captured_names(const OnnxNode& node);

}  // namespace wring
