// One layer through a method, with what a person should know of it afterwards.
#pragma once

#include "common/json.h"
#include "engine/methods/method.h"

namespace wring {

// Swaps the layer's weight for the method's; `x` and `reference` as in LayerInput. Returns the layer's report
// (see compress_layers). Throws Error(kInvalidArgument) NO_STATISTICS, NOT_FINITE.
Json compress_layer(Layer& layer, const LayerMethod& method, const Statistics* x, const WeightRep* reference);

}  // namespace wring
