// Which nodes may be computed while a file is read, before anyone asked for it.
#pragma once

#include "engine/graph/call.h"

namespace wring {

// Whether the node makes at most a million elements of these integers on the way to its outputs: a file of a
// few bytes could else ask for any memory by a size or a pad. An upper bound from the inputs and attributes
// alone.
bool takes_little(const OnnxNode& node, const Tensors& inputs);

}  // namespace wring
