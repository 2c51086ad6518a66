// Sequences of pieces as slices: PyTorch's exporter writes chunks so.
#pragma once

#include "formats/onnx/onnx.h"

namespace wring {

// Makes a Slice of each SequenceAt of a SplitToSequence where sizes and index are numbers in initializers;
// others stay, to be refused by name.
void replace_sequences(OnnxGraph& graph);

}  // namespace wring
