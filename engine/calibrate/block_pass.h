// A calibrated stage block by block, which can be cut off at any of them and goes on there.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/calibrate/block_stream.h"
#include "engine/methods/method.h"
#include "engine/run/snapshot.h"

namespace wring {

// Of the snapshot's part with a block.
std::string block_part_name(std::size_t block);

// What a stage does with one block.
class BlockWork {
 public:
  virtual ~BlockWork() = default;

  // Observes the block's inputs, changes its weights, takes `stream` past it where `outputs_needed`. Adds its
  // reports, each with an "error". Returns what restore() needs to make the same change again.
  virtual Snapshot::Part run(std::size_t block, bool outputs_needed, BlockStream& stream,
                             std::vector<Json>& reports) = 0;

  // Reads what run() returned, and throws where it is damaged; the model is changed by what it returns.
  virtual std::function<void()> restore(std::size_t block, const Snapshot::Part& part) = 0;
};

// Runs `work` on the first `last` blocks, after those that the stage's snapshot holds, and keeps each there.
// Returns the hidden states after them, which are only there where `outputs_needed`.
BlockStream run_blocks(const StageInput& stage, std::size_t last, bool outputs_needed, BlockWork& work,
                       std::vector<Json>& reports);

}  // namespace wring
