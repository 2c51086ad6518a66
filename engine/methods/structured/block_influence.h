// How much a block turns the residual stream (Men et al., ShortGPT, 2024).
#pragma once

#include <functional>

#include "engine/calibrate/block_stream.h"

namespace wring {

// Runs `advance`, which takes the stream past one block. Returns the mean over all tokens of the calibration
// set, in all processes, of the cosine between what went in and what came out: 1 less the block's influence.
double cosine_across(BlockStream& stream, const Calibration& calibration,
                     const std::function<void()>& advance);

}  // namespace wring
