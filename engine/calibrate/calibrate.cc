// The calibration pass: embed once; for each block observe its layers' inputs, compress its layers, go on
// with its outputs.
#include "engine/calibrate/calibrate.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/block_pass.h"
#include "engine/calibrate/compress_layer.h"
#include "engine/model/exchanged_weights.h"
#include "engine/run/hardware.h"
#include "engine/run/progress.h"
#include "engine/run/team.h"

namespace wring {
namespace {

ExchangedWeights::Weights weights_of(Model& reference, const std::vector<Layer*>& layers) {
  ExchangedWeights::Weights weights;
  for (Layer* layer : layers)
    weights.emplace_back(layer, reference.find_layer(layer->name())->shared_weight());
  return weights;
}

std::string shape_of(const WeightRep& weight) {
  return "[" + std::to_string(weight.rows()) + ", " + std::to_string(weight.columns()) + "]";
}

[[noreturn]] void throw_mismatch(const std::string& what) {
  throw Error(
      ErrorCode::kInvalidArgument, "REFERENCE_MISMATCH", what, "reference",
      "A stage since the reference prunes or rescales what several layers share: compare with what that "
      "makes (the parameter reference).");
}

// Weights are compared one by one, which means something only where all that is no weight is the same.
void check_reference(const Model& model, Model& reference, const std::set<const Layer*>& targets) {
  for (const Layer* layer : targets) {
    const Layer* const other = reference.find_layer(layer->name());
    if (other && other->weight().rows() == layer->weight().rows() &&
        other->weight().columns() == layer->weight().columns())
      continue;
    throw_mismatch(layer->name() + " is " + shape_of(layer->weight()) + ", in the reference model " +
                   (other ? shape_of(other->weight()) : "there is no such layer"));
  }
  for (const Parameter& parameter : model.parameters())
    for (const Parameter& other : reference.parameters())
      if (other.name == parameter.name &&
          !at::equal(other.value.to(at::kFloat), parameter.value.to(at::kFloat)))
        throw_mismatch(parameter.name + " has other values in the reference model");
}

Json compress(const StageInput& stage, const LayerMethod& method, Layer& layer, const Statistics* x) {
  const Layer* const original = stage.reference ? stage.reference->find_layer(layer.name()) : nullptr;
  return compress_layer(layer, method, x, original ? &original->weight() : nullptr);
}

std::vector<Json> data_free(const StageInput& stage, const LayerMethod& method) {
  auto layers = stage.model.layers();
  std::erase_if(layers, [&](Layer* layer) { return !stage.targets.contains(layer); });
  std::vector<Json> reports;
  double last_error = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    stage.progress.report(i, layers.size(), "layers", i ? "layer error" : "", last_error);
    reports.push_back(compress(stage, method, *layers[i], nullptr));
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
      observe(block, layers, stream, observer);
    compress_all(block, layers, observer, reports);
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
  // Each process compresses some of the layers; then all have all.
  void compress_all(std::size_t block, const std::vector<Layer*>& layers, const TapObserver& observer,
                    std::vector<Json>& reports) {
    Team& team = stage_.calibration.team();
    const auto owners = owners_of(layers, team.size());
    std::vector<Json> made(layers.size());
    std::vector<Layer*> mine;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (owners[i] != team.rank()) continue;
      made[i] = compress(stage_, method_, *layers[i], observer.of(*layers[i]));
      mine.push_back(layers[i]);
    }
    for (int rank = 0; !team.alone() && rank < team.size(); ++rank) {
      Parcel parcel;
      if (rank == team.rank()) parcel = parcel_of(mine, made);
      parcel = team.share(rank, std::move(parcel));
      if (rank == team.rank()) continue;
      Snapshot::Part theirs{parcel.json.at("layers"), {}};
      for (auto& [name, tensor] : parcel.tensors) theirs.tensors.emplace(name, tensor);
      restore(block, theirs)();
      for (std::size_t i = 0; i < layers.size(); ++i)
        if (owners[i] == rank) made[i] = parcel.json.at("reports").at(i);
    }
    for (auto& report : made) reports.push_back(std::move(report));
  }

  static Parcel parcel_of(const std::vector<Layer*>& layers, const std::vector<Json>& reports) {
    const Snapshot::Part own = part(layers);
    Parcel parcel{{{"layers", own.attributes}, {"reports", reports}}, {}};
    for (const auto& [name, tensor] : own.tensors) parcel.tensors.push_back({name, tensor});
    return parcel;
  }

  // The process that compresses each layer: those of one tap stay together, as they share its factor; the
  // most costly go first, each to whoever has least to do.
  static std::vector<int> owners_of(const std::vector<Layer*>& layers, int processes) {
    std::map<std::string, double> costs;
    for (const Layer* layer : layers) {
      const auto rows = static_cast<double>(layer->weight().rows()),
                 columns = static_cast<double>(layer->weight().columns());
      costs[layer->input_tap()] += (rows + columns / 3) * columns * columns;
    }
    std::vector<std::string> taps;
    for (const auto& [tap, cost] : costs) taps.push_back(tap);
    std::stable_sort(taps.begin(), taps.end(),
                     [&](const auto& a, const auto& b) { return costs.at(a) > costs.at(b); });
    std::vector<double> load(static_cast<std::size_t>(processes));
    std::map<std::string, int> owner;
    for (const auto& tap : taps) {
      const auto least = std::min_element(load.begin(), load.end());
      *least += costs.at(tap);
      owner[tap] = static_cast<int>(least - load.begin());
    }
    std::vector<int> owners;
    for (const Layer* layer : layers) owners.push_back(owner.at(layer->input_tap()));
    return owners;
  }

  void observe(std::size_t block, const std::vector<Layer*>& layers, const BlockStream& stream,
               TapObserver& observer) const {
    std::optional<ExchangedWeights> exchanged;
    if (stage_.calibration.propagate == Propagate::kReference)
      exchanged.emplace(weights_of(*stage_.reference, layers));
    stream.observe(block, observer);
  }

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
    // Nothing comes after it: the other processes' model is not kept.
    if (stage.calibration.team().first())
      reports.push_back(compress(stage, method, *layer, observer.of(*layer)));
  }
  return reports;
}

}  // namespace

Team& Calibration::team() const {
  static Team alone;
  return processes ? *processes : alone;
}

std::vector<Json> compress_layers(const StageInput& stage, const LayerMethod& method) {
  if (stage.reference) check_reference(stage.model, *stage.reference, stage.targets);
  return method.needs().empty() ? data_free(stage, method) : calibrated(stage, method);
}

}  // namespace wring
