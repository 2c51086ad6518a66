// Channels made larger for the weights that read them, with the model's function as it was.
#pragma once

#include <ATen/ATen.h>

#include "engine/model/model.h"

namespace wring {

// Divides what makes the tap's channels by `scales` ([channels] fp32), and multiplies the columns of all that
// reads them. A norm's gain that is stored in 16 bits is rounded, and its readers undo the rounding. Channels
// that come from one row of a producer must have one scale. Throws Error(kInvalidArgument,
// "ALREADY_COMPRESSED") naming a layer whose storage cannot hold rescaled values; `method` is for its hint.
void rescale(const char* method, const ScalableTap& tap, const at::Tensor& scales);

// Root mean squares of the tap's channels, equal for the channels of one producer's row: [channels] fp64.
// `squares`: their means, [channels] fp64.
at::Tensor magnitudes(const ScalableTap& tap, const at::Tensor& squares);

// `weight` in the type in which the layer's was stored, where that was plain; else fp32.
void set_plain(Layer& layer, const at::Tensor& weight);

}  // namespace wring
