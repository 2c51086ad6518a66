// Whether an exported graph computes what the model does whose weights were read from it.
#pragma once

#include "engine/graph/graph.h"
#include "engine/model/model.h"

namespace wring {

// Runs both on a few tokens, one of two sequences padded, and a decoder's graph with its cache too. Returns
// how far its outputs are from the model's: the root of the mean square difference over that of the outputs.
// Throws Error(kInternal, "EXPORT_DIFFERS") where that is more than the types and roundings explain.
double check_onnx_graph(const Graph& graph, const Model& model);

}  // namespace wring
