// The calibration pass: embed once; for each block observe its layers' inputs, compress its layers, go on
// with its outputs.
#include "engine/calibrate/calibrate.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/block_pass.h"
#include "engine/calibrate/compress_layer.h"
#include "engine/run/hardware.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

std::vector<Json> data_free(const StageInput& stage, const LayerMethod& method) {
  auto layers = stage.model.layers();
  std::erase_if(layers, [&](Layer* layer) { return !stage.targets.contains(layer); });
  std::vector<Json> reports;
  double last_error = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    stage.progress.report(i, layers.size(), "layers", i ? "layer error" : "", last_error);
    reports.push_back(compress_layer(*layers[i], method, nullptr));
    last_error = reports.back().at("error").get<double>();
    if (i % 4 == 3) release_free_memory();
  }
  stage.progress.report(layers.size(), layers.size(), "layers", "layer error", last_error);
  return reports;
}

// Compresses a block's layers, and keeps their reps.
class CompressBlock final : public BlockWork {
 public:
  CompressBlock(const StageInput& stage, const LayerMethod& method) : stage_(stage), method_(method) {}

  Snapshot::Part run(std::size_t block, bool outputs_needed, BlockStream& stream,
                     std::vector<Json>& reports) override {
    const bool dense = stage_.calibration.propagate == Propagate::kDense;
    const auto layers = targeted(stage_.model.block_layers(block));
    TapObserver observer(stage_.targets, method_.needs());
    if (dense)
      stream.observe_and_advance(block, observer);
    else if (!layers.empty())
      stream.observe(block, observer);
    for (Layer* layer : layers) reports.push_back(compress_layer(*layer, method_, observer.of(*layer)));
    release_free_memory();
    if (!dense && outputs_needed) stream.advance(block);
    return part(layers);
  }

  std::function<void()> restore(std::size_t, const Snapshot::Part& part) override {
    std::vector<std::pair<Layer*, std::shared_ptr<const WeightRep>>> weights;
    for (const auto& [name, rep] : part.attributes.items()) {
      Layer* const layer = stage_.model.find_layer(name);
      if (!layer) throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "the model has no such layer", name);
      const auto lookup = [&part, layer](const std::string& suffix) {
        const auto it = part.tensors.find(layer->name() + "." + suffix);
        return it == part.tensors.end() ? at::Tensor() : it->second;
      };
      weights.emplace_back(layer, load_weight_rep(name, json_at<std::string>(rep, "rep", "snapshot"),
                                                  json_at<Json>(rep, "attributes", "snapshot"), lookup));
    }
    return [weights] {
      for (const auto& [layer, weight] : weights) layer->set_weight(weight);
    };
  }

  std::vector<Layer*> targeted(std::vector<Layer*> layers) const {
    std::erase_if(layers, [&](Layer* layer) { return !stage_.targets.contains(layer); });
    return layers;
  }

 private:
  static Snapshot::Part part(const std::vector<Layer*>& layers) {
    Snapshot::Part part{Json::object(), {}};
    for (const Layer* layer : layers) {
      const WeightRep& rep = layer->weight();
      part.attributes[layer->name()] = {{"rep", rep.format()}, {"attributes", rep.attributes()}};
      for (auto& named : rep.tensors())
        part.tensors[layer->name() + "." + named.suffix] = std::move(named.tensor);
    }
    return part;
  }

  const StageInput& stage_;
  const LayerMethod& method_;
};

std::vector<Json> calibrated(const StageInput& stage, const LayerMethod& method) {
  CompressBlock work(stage, method);
  const auto head = work.targeted(stage.model.head_layers());
  std::size_t last = 0;  // one past the last block that has to be run
  for (std::size_t block = 0; block < stage.model.block_count(); ++block)
    if (!head.empty() || !work.targeted(stage.model.block_layers(block)).empty()) last = block + 1;
  std::vector<Json> reports;
  const BlockStream stream = run_blocks(stage, last, !head.empty(), work, reports);
  for (Layer* layer : head) {
    TapObserver observer(stage.targets, method.needs());
    stream.observe_head(*layer, observer);
    reports.push_back(compress_layer(*layer, method, observer.of(*layer)));
  }
  return reports;
}

}  // namespace

std::vector<Json> compress_layers(const StageInput& stage, const LayerMethod& method) {
  return method.needs().empty() ? data_free(stage, method) : calibrated(stage, method);
}

}  // namespace wring
