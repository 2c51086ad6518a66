// A walk through all blocks for methods that remember a few small tensors of each.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/calibrate/block_stream.h"
#include "engine/methods/method.h"

namespace wring {

using BlockTensors = std::map<std::string, at::Tensor>;

// Takes the blocks in order, with the calibration set's hidden states before each; kept and resumed as
// run_blocks() does.
//   measure(block, stream)   looks at the block; where the stage propagates densely it must take the stream
//                            past it (observe_and_advance, advance), else the walk does so after apply().
//   apply(block, measured)   changes the block; called alone for blocks that were measured before a kill. May
//                            be empty.
// Returns all that was measured, by block.
std::vector<BlockTensors> walk_blocks(
    const StageInput& stage, const std::function<BlockTensors(std::size_t, BlockStream&)>& measure,
    const std::function<void(std::size_t, const BlockTensors&)>& apply = {});

// What each process of the team has found of a block, in all of them.
BlockTensors found_by_all(Team& team, BlockTensors own);

}  // namespace wring
