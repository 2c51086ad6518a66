// A block's versions are a part of the stage's snapshot.
#include "engine/methods/search/level_database.h"

#include <functional>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/block_pass.h"
#include "engine/calibrate/calibrate.h"
#include "engine/run/team.h"

namespace wring {
namespace {

constexpr std::uint64_t kMostTimesDense = 5;

std::string version_name(const Layer& layer, std::size_t level) {
  return layer.name() + "@" + std::to_string(level);
}

Snapshot::Part part_of(const std::vector<LayerVersions>& layers) {
  Snapshot::Part part{Json::array(), {}};
  for (const auto& [layer, versions] : layers) {
    Json kept = Json::array();
    for (const auto& [level, weight, error] : versions) {
      kept.push_back({{"level", level},
                      {"error", error},
                      {"rep", weight->format()},
                      {"attributes", weight->attributes()}});
      for (auto& named : weight->tensors())
        part.tensors[version_name(*layer, level) + "." + named.suffix] = std::move(named.tensor);
    }
    part.attributes.push_back({{"layer", layer->name()}, {"versions", std::move(kept)}});
  }
  return part;
}

std::vector<LayerVersions> layers_of(const Snapshot::Part& part, Model& model) {
  std::vector<LayerVersions> layers;
  for (const auto& entry : part.attributes) {
    Layer* const layer = model.find_layer(json_at<std::string>(entry, "layer", "snapshot"));
    if (!layer) throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "the model has no such layer");
    layers.push_back({layer, {}});
    for (const auto& kept : json_at<std::vector<Json>>(entry, "versions", "snapshot")) {
      const auto level = json_at<std::size_t>(kept, "level", "snapshot");
      const std::string name = version_name(*layer, level);
      const auto lookup = [&](const std::string& suffix) {
        const auto it = part.tensors.find(name + "." + suffix);
        return it == part.tensors.end() ? at::Tensor() : it->second;
      };
      auto weight = load_weight_rep(name, json_at<std::string>(kept, "rep", "snapshot"),
                                    json_at<Json>(kept, "attributes", "snapshot"), lookup);
      layers.back().versions.push_back(
          {level, std::move(weight), json_at<double>(kept, "error", "snapshot")});
    }
  }
  return layers;
}

class BuildBlock final : public BlockWork {
 public:
  BuildBlock(const StageInput& stage, const MakeVersions& make, std::string field)
      : stage_(stage),
        make_(make),
        field_(std::move(field)),
        left_(2 * kMostTimesDense * stage.model.parameter_count()) {}

  Snapshot::Part run(std::size_t block, bool, BlockStream& stream, std::vector<Json>& reports) override {
    map_last();
    TapObserver observer(stage_.targets, {Statistic::kHessian});
    stream.observe_and_advance(block, observer);
    std::vector<LayerVersions> layers;
    if (stage_.calibration.team().first()) {
      for (Layer* layer : stage_.model.block_layers(block)) {
        if (!stage_.targets.contains(layer)) continue;
        layers.push_back({layer, make_(*layer, *observer.of(*layer))});
        reports.push_back({{"layer", layer->name()}, {"error", layers.back().versions.front().error}});
      }
    }
    count(layers);
    blocks_.push_back(std::move(layers));
    return part_of(blocks_.back());
  }

  std::function<void()> restore(std::size_t, const Snapshot::Part& part) override {
    return [this, layers = layers_of(part, stage_.model)] {
      count(layers);
      blocks_.push_back(layers);
    };
  }

  std::vector<LayerVersions> take() {
    map_last();
    std::vector<LayerVersions> all;
    for (auto& block : blocks_)
      for (auto& layer : block) all.push_back(std::move(layer));
    return all;
  }

 private:
  // In place of those in memory.
  void map_last() {
    if (blocks_.empty() || !stage_.calibration.team().first()) return;
    const std::string name = block_part_name(blocks_.size() - 1);
    if (!stage_.snapshot.file(name).empty())
      blocks_.back() = layers_of(stage_.snapshot.part(name), stage_.model);
  }

  void count(const std::vector<LayerVersions>& layers) {
    std::uint64_t bytes = 0;
    for (const auto& layer : layers)
      for (const auto& version : layer.versions) bytes += version.weight->stored_bytes();
    if (bytes > left_)
      throw Error(ErrorCode::kInvalidArgument, "TOO_MANY_LEVELS",
                  "the layers at all levels take more than " + std::to_string(kMostTimesDense) +
                      " times the model's bytes in 16 bits",
                  field_, "Name fewer levels, or smaller ones.");
    left_ -= bytes;
  }

  const StageInput& stage_;
  const MakeVersions& make_;
  std::string field_;
  std::uint64_t left_;  // of the bytes that versions may take
  std::vector<std::vector<LayerVersions>> blocks_;
};

}  // namespace

std::vector<LayerVersions> make_level_database(const StageInput& stage, const MakeVersions& make,
                                               const std::string& field) {
  BuildBlock work(stage, make, field);
  std::vector<Json> progress;
  run_blocks(stage, stage.model.block_count(), /*outputs_needed=*/false, work, progress);
  return work.take();
}

}  // namespace wring
