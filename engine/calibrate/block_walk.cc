// Two functions as the work on each block.
#include "engine/calibrate/block_walk.h"

#include "engine/calibrate/block_pass.h"
#include "engine/calibrate/calibrate.h"
#include "engine/run/team.h"

namespace wring {
namespace {

class Walk final : public BlockWork {
 public:
  Walk(const StageInput& stage, const std::function<BlockTensors(std::size_t, BlockStream&)>& measure,
       const std::function<void(std::size_t, const BlockTensors&)>& apply)
      : dense_(stage.calibration.propagate == Propagate::kDense), measure_(measure), apply_(apply) {}

  Snapshot::Part run(std::size_t block, bool outputs_needed, BlockStream& stream,
                     std::vector<Json>&) override {
    take(block, measure_(block, stream));
    if (!dense_ && outputs_needed) stream.advance(block);
    return {Json::object(), measured_.back()};
  }

  std::function<void()> restore(std::size_t block, const Snapshot::Part& part) override {
    return [this, block, tensors = part.tensors] { take(block, tensors); };
  }

  std::vector<BlockTensors> take_measured() { return std::move(measured_); }

 private:
  void take(std::size_t block, BlockTensors measured) {
    measured_.push_back(std::move(measured));
    if (apply_) apply_(block, measured_.back());
  }

  bool dense_;
  const std::function<BlockTensors(std::size_t, BlockStream&)>& measure_;
  const std::function<void(std::size_t, const BlockTensors&)>& apply_;
  std::vector<BlockTensors> measured_;
};

}  // namespace

BlockTensors found_by_all(Team& team, BlockTensors own) {
  if (team.alone()) return own;
  BlockTensors all;
  for (int rank = 0; rank < team.size(); ++rank) {
    Parcel parcel;
    if (rank == team.rank())
      for (const auto& [name, tensor] : own) parcel.tensors.push_back({name, tensor});
    for (auto& [name, tensor] : team.share(rank, std::move(parcel)).tensors) all[name] = std::move(tensor);
  }
  return all;
}

std::vector<BlockTensors> walk_blocks(const StageInput& stage,
                                      const std::function<BlockTensors(std::size_t, BlockStream&)>& measure,
                                      const std::function<void(std::size_t, const BlockTensors&)>& apply) {
  Walk walk(stage, measure, apply);
  std::vector<Json> none;
  run_blocks(stage, stage.model.block_count(), false, walk, none);
  return walk.take_measured();
}

}  // namespace wring
