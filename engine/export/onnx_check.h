// Whether an exported graph computes what the model does whose weights were read from it.
#pragma once

#include "engine/graph/graph.h"
#include "engine/model/model.h"

namespace wring {

// Runs both on a few tokens, one of two sequences padded, a decoder's graph with its cache too, an encoder's
// with all its kinds of tokens and all that its heads make. Where layers round their inputs the graph goes on
// with the model's codes, and what it would have rounded is compared (model_codes.h). Returns how far the
// output that is furthest off is from the model's: the root of the mean square difference over that of the
// outputs. Throws Error(kInternal, "EXPORT_DIFFERS") where that is more than the types explain.
double check_onnx_graph(OnnxModel onnx, const Model& model);

}  // namespace wring
