// Which places of a pruned weight stay zero when it is quantised: a sparsity pattern outlasts its
// quantisation.
#pragma once

#include "engine/model/layer.h"

namespace wring {

// fp32, 1 where `weight`, the layer's decoded, stores a value, and 0 where it was pruned; undefined where
// nothing was.
inline at::Tensor kept_places(const Layer& layer, const at::Tensor& weight) {
  return layer.weight().format() == "masked" ? weight.ne(0).to(at::kFloat) : at::Tensor();
}

}  // namespace wring
