// How much each layer of a model would lose at each of some levels.
#pragma once

#include <memory>
#include <vector>

#include "engine/methods/levels.h"

namespace wring {

// A method that changes nothing: one pass over the statistics of the model as it is, each layer compressed to
// each level that takes it and put back. Its report: {"layers": [one a layer, in model order:
//   {"layer", "class", "weights", "bytes": stored as it is,
//    "levels": [{"level": index, "bytes", "error": relative_error() by the Hessian, "kl"}]}]}.
// With `kl_ids` (int64 [sequences, positions]; undefined: no "kl") the layer's level of the middle bytes,
// "kl_level", is put into the model alone, and the KL divergence that follows is measured; those of the other
// levels are that one's in proportion to their errors, as a squared error's consequences are near the
// optimum. Layers that no input reaches (an embedding that is not the head) are left out.
std::unique_ptr<Method> layer_sensitivity(std::vector<Level> levels, at::Tensor kl_ids);

}  // namespace wring
