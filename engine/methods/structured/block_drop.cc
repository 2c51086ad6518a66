// Block drop: the blocks that turn the residual stream least go whole (Men et al., ShortGPT, 2024).
#include <algorithm>
#include <numeric>

#include "common/error.h"
#include "engine/calibrate/block_walk.h"
#include "engine/methods/method.h"
#include "engine/methods/structured/block_influence.h"
#include "engine/model/model.h"

namespace wring {
namespace {

class BlockDrop final : public Method {
 public:
  explicit BlockDrop(const Params& params)
      : count_(params.get<std::int64_t>("blocks")), field_(params.field("blocks")) {}

  bool reads_data() const override { return true; }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    const auto candidates = droppable(model, targets);
    const auto most = std::min(candidates.size(), model.block_count() - 1);
    if (static_cast<std::size_t>(count_) > most)
      throw Error(
          ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
          std::to_string(count_) + " of the model's " + std::to_string(model.block_count()) +
              " blocks are too many",
          field_,
          "At most " + std::to_string(most) + ": one must stay, and all of a block's layers be targeted.");
  }

  Json run(const StageInput& stage) const override {
    const auto cosine = measure(stage);
    auto order = droppable(stage.model, stage.targets);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return cosine[a] > cosine[b]; });
    std::vector<std::size_t> dropped(order.begin(), order.begin() + count_);
    std::sort(dropped.begin(), dropped.end());
    Json lines = Json::array();
    for (std::size_t block = 0; block < cosine.size(); ++block)
      lines.push_back({{"layer", "block " + std::to_string(block)},
                       {"cosine", cosine[block]},
                       {"dropped", std::binary_search(dropped.begin(), dropped.end(), block)}});
    std::for_each(dropped.rbegin(), dropped.rend(),
                  [&](std::size_t block) { stage.model.drop_block(block); });
    return {{"layers", lines}, {"dropped", dropped}};
  }

 private:
  // Blocks all of whose layers are targeted.
  static std::vector<std::size_t> droppable(const Model& model, const std::set<const Layer*>& targets) {
    std::vector<std::size_t> blocks(model.block_count());
    std::iota(blocks.begin(), blocks.end(), 0);
    const auto layers = model.layers();
    std::erase_if(blocks, [&](std::size_t block) {
      const std::string prefix = "L" + std::to_string(block) + ".";
      return std::any_of(layers.begin(), layers.end(), [&](const Layer* layer) {
        return layer->input_tap().starts_with(prefix) && !targets.contains(layer);
      });
    });
    return blocks;
  }

  // Of each block.
  static std::vector<double> measure(const StageInput& stage) {
    const auto measured = walk_blocks(stage, [&](std::size_t block, BlockStream& stream) -> BlockTensors {
      const double cosine = cosine_across(stream, stage.calibration, [&] { stream.advance(block); });
      return {{"cosine", at::tensor({cosine}, at::kDouble)}};
    });
    std::vector<double> cosine;
    for (const auto& block : measured) cosine.push_back(block.at("cosine").item<double>());
    return cosine;
  }

  std::int64_t count_;
  std::string field_;
};

WRING_METHOD("block-drop", BlockDrop);

}  // namespace
}  // namespace wring
