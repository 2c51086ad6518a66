// A walk through all blocks of a model for methods that look at more than one layer at a time.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/calibrate/block_stream.h"
#include "engine/methods/method.h"

namespace wring {

// What a method remembers of a block: small tensors by name.
using BlockTensors = std::map<std::string, at::Tensor>;

// Takes the blocks in order, with the calibration set's hidden states before each.
//   measure(block, stream)   looks at the block; where the stage propagates densely it must take the stream
//   past
//                            it (observe_and_advance, advance), else the walk does so after apply().
//   apply(block, measured)   changes the block. May be empty.
// Goes on after the last block that the stage's snapshot holds, for which apply() alone is called, and keeps
// each that it finishes there. Returns all that was measured, by block.
std::vector<BlockTensors> walk_blocks(
    const StageInput& stage, const std::function<BlockTensors(std::size_t, BlockStream&)>& measure,
    const std::function<void(std::size_t, const BlockTensors&)>& apply = {});

}  // namespace wring
