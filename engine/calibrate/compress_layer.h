// One layer through a method, with what a person should know of it afterwards.
#pragma once

#include "common/json.h"
#include "engine/methods/method.h"

namespace wring {

// Swaps the layer's weight for the method's; `x` and `reference` as in LayerInput. Returns the layer's report
// (see compress_layers). Throws Error(kInvalidArgument) NO_STATISTICS, NOT_FINITE.
Json compress_layer(Layer& layer, const LayerMethod& method, const Statistics* x, const WeightRep* reference);

// {"layer", "shape", "error", "sparsity", "bits": stored bits a weight, ...extra} of the layer as it is.
Json layer_report(const Layer& layer, double error, Json extra);

// tr(D H D^T) / tr(W H W^T) of W = `meant`, D = meant - held, both [out, in] fp32 where the statistics are: H
// is the Hessian, or without one the squares of the input's norms, or without statistics the identity.
double relative_error(const at::Tensor& meant, const at::Tensor& held, const Statistics* x,
                      bool with_hessian);

}  // namespace wring
