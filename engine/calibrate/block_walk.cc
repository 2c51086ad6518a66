// Blocks in order, each kept in the snapshot as it is finished.
#include "engine/calibrate/block_walk.h"

#include <optional>
#include <utility>

#include "common/logger.h"
#include "engine/run/hardware.h"

namespace wring {
namespace {

std::string part_name(std::size_t block) {
  return "block-" + std::to_string(block);
}

// The blocks that the snapshot holds, all or none; the stream is then before the first that is left to do.
std::vector<BlockTensors> resume(const StageInput& stage, std::optional<BlockStream>& stream) {
  if (!stage.snapshot.state()) return {};
  try {
    const auto done = json_at<std::size_t>(*stage.snapshot.state(), "blocks", "snapshot");
    std::vector<BlockTensors> measured;
    for (std::size_t block = 0; block < done; ++block)
      measured.push_back(stage.snapshot.part(part_name(block)).tensors);
    if (done < stage.model.block_count()) stream->set_hidden(stage.snapshot.part("hidden").tensors);
    stage.snapshot.note_resumed(done);
    return measured;
  } catch (const std::exception& error) {
    log_warning(std::string("the stage starts anew, as its snapshot is damaged: ") + error.what());
    stage.snapshot.clear();
    stream.emplace(stage.model, stage.calibration);
    return {};
  }
}

void keep(Snapshot& snapshot, std::size_t block, const BlockTensors& measured, const BlockStream* ahead) {
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : measured) tensors.push_back({name, tensor});
  snapshot.put(part_name(block), tensors);
  if (ahead) snapshot.put("hidden", ahead->hidden());
  snapshot.commit({{"blocks", block + 1}});
}

}  // namespace

std::vector<BlockTensors> walk_blocks(const StageInput& stage,
                                      const std::function<BlockTensors(std::size_t, BlockStream&)>& measure,
                                      const std::function<void(std::size_t, const BlockTensors&)>& apply) {
  std::optional<BlockStream> stream(std::in_place, stage.model, stage.calibration);
  const bool dense = stage.calibration.propagate == Propagate::kDense;
  const auto blocks = stage.model.block_count();
  auto measured = resume(stage, stream);
  for (std::size_t block = 0; apply && block < measured.size(); ++block) apply(block, measured[block]);
  for (std::size_t block = measured.size(); block < blocks; ++block) {
    stage.progress.report(block, blocks, "blocks");
    measured.push_back(measure(block, *stream));
    if (apply) apply(block, measured.back());
    const bool last = block + 1 == blocks;
    if (!dense && !last) stream->advance(block);
    keep(stage.snapshot, block, measured.back(), last ? nullptr : &*stream);
    release_free_memory();
  }
  stage.progress.report(blocks, blocks, "blocks");
  return measured;
}

}  // namespace wring
