// Whether an exported graph computes what the model does whose weights were read from it.
#pragma once

#include "engine/graph/graph.h"
#include "engine/model/model.h"

namespace wring {

// Runs both on a few tokens, with the codes that the model rounds its inputs to in place of the graph's own,
// which are compared with them: so nothing hangs on which way a value falls that lies between two codes;, one
// of two sequences padded, a decoder's graph with its cache too, an encoder's with all its kinds of tokens
// and all that its heads make. Returns how far the output that is furthest off is from the model's: the root
// of the mean square difference over that of the outputs. Throws Error(kInternal, "EXPORT_DIFFERS") where
// that is more than the types and roundings explain.
double check_onnx_graph(OnnxModel onnx, const Model& model);

}  // namespace wring
