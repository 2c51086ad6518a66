// The calibration pass: embed once; for each block observe its layers' inputs, compress its layers, go on
// with its outputs.
#include "engine/calibrate/calibrate.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "common/error.h"
#include "engine/math/matmul.h"

namespace wring {
namespace {

constexpr std::int64_t kTokensPerBatch = 2048;  // bounds the activations of one forward step

// Gathers the statistics of each tap once, whichever of its layers comes first.
class TapObserver final : public InputObserver {
 public:
  TapObserver(const std::set<const Layer*>& targets, std::set<Statistic> wanted)
      : targets_(targets), wanted_(std::move(wanted)) {}

  // Rows of padding are left out: `keep` int64 indices of real rows in the coming batch, or undefined.
  void set_rows(at::Tensor keep) { keep_ = std::move(keep); }

  void on_input(const Layer& layer, const at::Tensor& x) override {
    if (!targets_.contains(&layer)) return;
    const auto [owner, fresh] = owners_.try_emplace(layer.input_tap(), &layer);
    if (owner->second != &layer) return;
    auto& statistics = statistics_[layer.input_tap()];
    if (fresh) statistics = std::make_unique<Statistics>(x.size(1), wanted_, x.device());
    statistics->add(keep_.defined() ? x.index_select(0, keep_) : x);
  }

  const Statistics* of(const Layer& layer) const {
    const auto it = statistics_.find(layer.input_tap());
    return it == statistics_.end() ? nullptr : it->second.get();
  }

 private:
  const std::set<const Layer*>& targets_;
  std::set<Statistic> wanted_;
  at::Tensor keep_;
  std::map<std::string, const Layer*> owners_;
  std::map<std::string, std::unique_ptr<Statistics>> statistics_;
};

// tr(D H D^T), with H the Hessian where there is one, else the identity.
double energy(const at::Tensor& d, const Statistics* x, bool with_hessian) {
  if (with_hessian) return (wring::matmul(d, x->hessian()) * d).sum(at::kDouble).item<double>();
  if (x) return (d * x->input_norm()).square().sum(at::kDouble).item<double>();
  return d.square().sum(at::kDouble).item<double>();
}

Json layer_report(const Layer& layer, const at::Tensor& before, const at::Tensor& after, const Statistics* x,
                  bool with_hessian, Json extra) {
  const double whole = energy(before, x, with_hessian);
  Json report = std::move(extra);
  report["layer"] = layer.name();
  report["shape"] = {before.size(0), before.size(1)};
  report["error"] = whole > 0 ? energy(before - after, x, with_hessian) / whole : 0.0;
  report["sparsity"] = 1.0 - static_cast<double>(at::count_nonzero(after).item<std::int64_t>()) /
                                 static_cast<double>(after.numel());
  report["bits"] =
      8.0 * static_cast<double>(layer.weight().stored_bytes()) / static_cast<double>(before.numel());
  return report;
}

class Pass {
 public:
  Pass(Model& model, const LayerMethod& method, const std::set<const Layer*>& targets,
       const Calibration& calibration, Progress& progress)
      : model_(model),
        method_(method),
        targets_(targets),
        calibration_(calibration),
        progress_(progress),
        with_hessian_(method.needs().contains(Statistic::kHessian)) {}

  void data_free() {
    const auto layers = model_.layers();
    std::vector<Layer*> chosen;
    std::copy_if(layers.begin(), layers.end(), std::back_inserter(chosen),
                 [&](Layer* l) { return targets_.contains(l); });
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      progress_.report(i, chosen.size(), "layers", i ? "layer error" : "", last_error_);
      compress(*chosen[i], nullptr);
    }
    progress_.report(chosen.size(), chosen.size(), "layers", "layer error", last_error_);
  }

  void calibrated() {
    embed();
    const auto blocks = model_.block_count(), last = last_targeted_block();
    for (std::size_t block = 0; block < last; ++block) {
      progress_.report(block, blocks, "blocks", reports_.empty() ? "" : "layer error", last_error_);
      run_block(block, block + 1 < blocks || head_is_targeted());
    }
    if (head_is_targeted()) compress_head();
    progress_.report(blocks, blocks, "blocks", "layer error", last_error_);
  }

  std::vector<Json> take_reports() { return std::move(reports_); }

 private:
  struct Batch {
    at::Tensor hidden, mask, rows;  // rows: indices of real tokens, or undefined
  };

  void embed() {
    const at::Tensor &ids = calibration_.ids, &mask = calibration_.mask;
    const DecodedLayers decoded(model_.embedding_layers(), at::kFloat);
    const std::int64_t step = std::max<std::int64_t>(1, kTokensPerBatch / ids.size(1));
    for (std::int64_t start = 0; start < ids.size(0); start += step) {
      const std::int64_t count = std::min(step, ids.size(0) - start);
      Batch batch{model_.embed(ids.narrow(0, start, count), at::kFloat), {}, {}};
      if (mask.defined()) {
        batch.mask = mask.narrow(0, start, count);
        batch.rows = at::nonzero(batch.mask.reshape({-1})).reshape({-1});
      }
      batches_.push_back(std::move(batch));
    }
  }

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
    if (targeted || dense) {
      const DecodedLayers decoded(layers, dense ? calibration_.forward : calibration_.observe);
      for (auto& batch : batches_) {
        observer.set_rows(batch.rows);
        auto output = model_.run_block(block, batch.hidden, {batch.mask, nullptr, &observer, !dense});
        if (dense) batch.hidden = std::move(output);
      }
    }
    for (Layer* layer : layers)
      if (targets_.contains(layer)) compress(*layer, observer.of(*layer));
    if (dense || !outputs_needed) return;
    const DecodedLayers decoded(layers, calibration_.forward);
    for (auto& batch : batches_)
      batch.hidden = model_.run_block(block, batch.hidden, {batch.mask, nullptr, nullptr});
  }

  void compress_head() {
    TapObserver observer(targets_, method_.needs());
    for (Layer* layer : model_.head_layers()) {
      for (const auto& batch : batches_) {
        observer.set_rows(batch.rows);
        const auto normed = model_.final_norm(batch.hidden);
        observer.on_input(*layer, normed.reshape({-1, normed.size(-1)}));
      }
      if (targets_.contains(layer)) compress(*layer, observer.of(*layer));
    }
  }

  void compress(Layer& layer, const Statistics* x) {
    if (!method_.needs().empty() && !x)
      throw Error(ErrorCode::kInvalidArgument, "NO_STATISTICS", "no calibration input reaches this layer",
                  layer.name(), "Leave it out with 'ignore', or use a data-free method such as rtn.");
    Json extra = Json::object();
    const at::Tensor before = layer.weight().decode(at::kFloat);
    if (!at::isfinite(before.sum(at::kDouble)).item<bool>())
      throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the weight holds NaN or infinity",
                  layer.name() + ".weight");
    layer.set_weight(method_.compress(layer, x, extra));
    reports_.push_back(
        layer_report(layer, before, layer.weight().decode(at::kFloat), x, with_hessian_, std::move(extra)));
    last_error_ = reports_.back().at("error").get<double>();
  }

  Model& model_;
  const LayerMethod& method_;
  const std::set<const Layer*>& targets_;
  const Calibration& calibration_;
  Progress& progress_;
  bool with_hessian_;
  std::vector<Batch> batches_;
  std::vector<Json> reports_;
  double last_error_ = 0;
};

}  // namespace

std::vector<Json> compress_layers(Model& model, const LayerMethod& method,
                                  const std::set<const Layer*>& targets, const Calibration& calibration,
                                  Progress& progress) {
  Pass pass(model, method, targets, calibration, progress);
  if (method.needs().empty())
    pass.data_free();
  else
    pass.calibrated();
  return pass.take_reports();
}

}  // namespace wring
