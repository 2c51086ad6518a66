// What a graph computes of its initializers alone, or can compute with them, written into them.
#pragma once

#include "formats/onnx/onnx.h"

namespace wring {

// Of graphs in normal form. Each leaves what the graph computes as it is, but for rounding.

// Replaces nodes that only move an initializer's values (a transposed weight) by what they make.
void fold_moved_initializers(OnnxModel& model);

// Multiplies batch normalisations into the convolutions before them, where nobody else reads what those make.
void fold_batch_norms(OnnxGraph& graph);

// Takes out initializers that nobody reads.
void drop_unread_initializers(OnnxGraph& graph);

}  // namespace wring
