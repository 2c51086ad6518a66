// The loss of a decoder with one layer changed, for many such changes at once.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "engine/model/model.h"

namespace wring {

struct LayerChange {
  Layer* layer;  // of a block; one layer may have several
  std::shared_ptr<const WeightRep> weight;
};

// -ln p of each token after the first, mean over all, of the model with each change alone; the model stays as
// it is. ids int64 [sequences, positions]. Goes through the blocks, each decoded to `dtype`, with the hidden
// states of the changes before it (ids x hidden size x 4 bytes each), once for as many as 256 MiB hold.
std::vector<double> changed_losses(Model& model, const at::Tensor& ids, at::ScalarType dtype,
                                   const std::vector<LayerChange>& changes);

}  // namespace wring
