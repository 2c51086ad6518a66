// The calibration pass: embed once; for each block observe its layers' inputs, compress its layers, go on
// with its outputs.
#include "engine/calibrate/calibrate.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "common/error.h"
#include "common/logger.h"
#include "engine/calibrate/block_stream.h"
#include "engine/calibrate/compress_layer.h"
#include "engine/calibrate/tap_observer.h"
#include "engine/run/hardware.h"

namespace wring {
namespace {

// The targeted layers among `layers` have the reference model's weights for its lifetime.
class ReferenceWeights {
 public:
  ReferenceWeights(const std::vector<Layer*>& layers, const std::set<const Layer*>& targets,
                   Model& reference) {
    for (Layer* layer : layers) {
      if (!targets.contains(layer)) continue;
      held_.emplace_back(layer, layer->shared_weight());
      layer->set_weight(reference.find_layer(layer->name())->shared_weight());
    }
  }
  ~ReferenceWeights() {
    for (auto& [layer, weight] : held_) layer->set_weight(std::move(weight));
  }
  ReferenceWeights(const ReferenceWeights&) = delete;
  ReferenceWeights& operator=(const ReferenceWeights&) = delete;

 private:
  std::vector<std::pair<Layer*, std::shared_ptr<const WeightRep>>> held_;
};

std::string shape_of(const WeightRep& weight) {
  return "[" + std::to_string(weight.rows()) + ", " + std::to_string(weight.columns()) + "]";
}

void check_reference(Model& reference, const std::set<const Layer*>& targets) {
  for (const Layer* layer : targets) {
    const Layer* const other = reference.find_layer(layer->name());
    if (other && other->weight().rows() == layer->weight().rows() &&
        other->weight().columns() == layer->weight().columns())
      continue;
    throw Error(ErrorCode::kInvalidArgument, "REFERENCE_MISMATCH",
                layer->name() + " is " + shape_of(layer->weight()) + ", in the reference model " +
                    (other ? shape_of(other->weight()) : "there is no such layer"),
                "reference",
                "Stages before this one have changed shapes: run them as a recipe of their own, and hand in "
                "what comes out as the model of this one.");
  }
}

class Pass {
 public:
  Pass(const LayerMethod& method, const StageInput& stage)
      : model_(stage.model),
        method_(method),
        targets_(stage.targets),
        calibration_(stage.calibration),
        progress_(stage.progress),
        snapshot_(stage.snapshot),
        reference_(stage.reference) {
    if (reference_) check_reference(*reference_, targets_);
  }

  void data_free() {
    const auto layers = model_.layers();
    std::vector<Layer*> chosen;
    std::copy_if(layers.begin(), layers.end(), std::back_inserter(chosen),
                 [&](Layer* l) { return targets_.contains(l); });
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      progress_.report(i, chosen.size(), "layers", i ? "layer error" : "", last_error_);
      compress(*chosen[i], nullptr);
      if (i % 4 == 3) release_free_memory();
    }
    progress_.report(chosen.size(), chosen.size(), "layers", "layer error", last_error_);
  }

  void calibrated() {
    stream_.emplace(model_, calibration_);
    const auto blocks = model_.block_count(), last = last_targeted_block();
    for (std::size_t block = resume(); block < last; ++block) {
      progress_.report(block, blocks, "blocks", reports_.empty() ? "" : "layer error", last_error_);
      const bool outputs_needed = block + 1 < last || head_is_targeted();
      run_block(block, outputs_needed);
      keep(block, outputs_needed);
    }
    if (head_is_targeted()) compress_head();
    progress_.report(blocks, blocks, "blocks", "layer error", last_error_);
  }

  std::vector<Json> take_reports() { return std::move(reports_); }

 private:
  // Takes up the blocks that the snapshot holds, all or none. Returns the first that is left to do.
  std::size_t resume() {
    if (!snapshot_.state()) return 0;
    try {
      const Json& state = *snapshot_.state();
      const auto done = json_at<std::size_t>(state, "blocks", "snapshot");
      std::vector<std::pair<Layer*, std::shared_ptr<const WeightRep>>> weights;
      for (std::size_t block = 0; block < done; ++block) read_block(block, weights);
      auto reports = json_at<std::vector<Json>>(state, "reports", "snapshot");
      if (json_at<bool>(state, "hidden", "snapshot")) stream_->set_hidden(snapshot_.part("hidden").tensors);
      for (auto& [layer, weight] : weights) layer->set_weight(std::move(weight));
      reports_ = std::move(reports);
      if (!reports_.empty()) last_error_ = json_at<double>(reports_.back(), "error", "snapshot");
      snapshot_.note_resumed(done);
      return done;
    } catch (const std::exception& error) {
      log_warning(std::string("the stage starts anew, as its snapshot is damaged: ") + error.what());
      snapshot_.clear();
      stream_.emplace(model_, calibration_);
      return 0;
    }
  }

  void read_block(std::size_t block,
                  std::vector<std::pair<Layer*, std::shared_ptr<const WeightRep>>>& weights) {
    const auto part = snapshot_.part(part_name(block));
    for (const auto& [name, rep] : part.attributes.items()) {
      Layer* const layer = model_.find_layer(name);
      if (!layer) throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "the model has no such layer", name);
      weights.emplace_back(layer, load_weight_rep(name, json_at<std::string>(rep, "rep", "snapshot"),
                                                  json_at<Json>(rep, "attributes", "snapshot"),
                                                  [&](const std::string& suffix) {
                                                    const auto it = part.tensors.find(name + "." + suffix);
                                                    return it == part.tensors.end() ? at::Tensor()
                                                                                    : it->second;
                                                  }));
    }
  }

  void keep(std::size_t block, bool outputs_needed) {
    std::vector<NamedTensor> tensors;
    Json reps = Json::object();
    for (Layer* layer : model_.block_layers(block)) {
      if (!targets_.contains(layer)) continue;
      const WeightRep& rep = layer->weight();
      reps[layer->name()] = {{"rep", rep.format()}, {"attributes", rep.attributes()}};
      for (auto& named : rep.tensors())
        tensors.push_back({layer->name() + "." + named.suffix, std::move(named.tensor)});
    }
    snapshot_.put(part_name(block), tensors, reps);
    if (outputs_needed) snapshot_.put("hidden", stream_->hidden());
    snapshot_.commit({{"blocks", block + 1}, {"hidden", outputs_needed}, {"reports", reports_}});
  }

  static std::string part_name(std::size_t block) { return "block-" + std::to_string(block); }

  bool head_is_targeted() const {
    const auto head = model_.head_layers();
    return std::any_of(head.begin(), head.end(), [&](Layer* l) { return targets_.contains(l); });
  }

  // One past the last block that has to be run.
  std::size_t last_targeted_block() const {
    std::size_t last = 0;
    for (std::size_t block = 0; block < model_.block_count(); ++block)
      for (Layer* layer : model_.block_layers(block))
        if (targets_.contains(layer)) last = block + 1;
    return head_is_targeted() ? model_.block_count() : last;
  }

  void run_block(std::size_t block, bool outputs_needed) {
    const bool dense = calibration_.propagate == Propagate::kDense;
    const auto layers = model_.block_layers(block);
    TapObserver observer(targets_, method_.needs());
    const bool targeted =
        std::any_of(layers.begin(), layers.end(), [&](Layer* l) { return targets_.contains(l); });
    if (dense)
      stream_->observe_and_advance(block, observer);
    else if (targeted)
      observe(block, observer);
    for (Layer* layer : layers)
      if (targets_.contains(layer)) compress(*layer, observer.of(*layer));
    release_free_memory();
    if (!dense && outputs_needed) stream_->advance(block);
  }

  void observe(std::size_t block, TapObserver& observer) {
    std::optional<ReferenceWeights> exchanged;
    if (calibration_.propagate == Propagate::kReference)
      exchanged.emplace(model_.block_layers(block), targets_, *reference_);
    stream_->observe(block, observer);
  }

  void compress_head() {
    TapObserver observer(targets_, method_.needs());
    for (Layer* layer : model_.head_layers()) {
      stream_->observe_head(*layer, observer);
      if (targets_.contains(layer)) compress(*layer, observer.of(*layer));
    }
  }

  void compress(Layer& layer, const Statistics* x) {
    const Layer* const original = reference_ ? reference_->find_layer(layer.name()) : nullptr;
    reports_.push_back(compress_layer(layer, method_, x, original ? &original->weight() : nullptr));
    last_error_ = reports_.back().at("error").get<double>();
  }

  Model& model_;
  const LayerMethod& method_;
  const std::set<const Layer*>& targets_;
  const Calibration& calibration_;
  Progress& progress_;
  Snapshot& snapshot_;
  Model* reference_;
  std::optional<BlockStream> stream_;
  std::vector<Json> reports_;
  double last_error_ = 0;
};

}  // namespace

std::vector<Json> compress_layers(const LayerMethod& method, const StageInput& stage) {
  Pass pass(method, stage);
  if (method.needs().empty())
    pass.data_free();
  else
    pass.calibrated();
  return pass.take_reports();
}

}  // namespace wring
