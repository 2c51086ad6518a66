// Layers one by one, as a block's work that leaves the block alone.
#include "engine/eval/layer_sensitivity.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/block_pass.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/compress_layer.h"
#include "engine/eval/changed_kl.h"
#include "engine/model/exchanged_weights.h"

namespace wring {
namespace {

// The index of the version of the middle bytes.
std::size_t middle_of(const std::vector<Version>& versions) {
  std::vector<std::size_t> order(versions.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    return versions[a].weight->stored_bytes() < versions[b].weight->stored_bytes();
  });
  return order[order.size() / 2];
}

class MeasureBlock final : public BlockWork {
 public:
  MeasureBlock(const StageInput& stage, const std::vector<Level>& levels, const at::Tensor& kl_ids)
      : stage_(stage), levels_(levels) {
    if (kl_ids.defined()) kl_.emplace(stage.model, kl_ids);
  }

  Snapshot::Part run(std::size_t block, bool, BlockStream& stream, std::vector<Json>& reports) override {
    TapObserver observer(stage_.targets, {Statistic::kHessian});
    stream.observe_and_advance(block, observer);
    if (kl_) kl_->move_to(block);
    for (Layer* layer : stage_.model.block_layers(block))
      measure(
          *layer, observer, [this] { return kl_->from_block(); }, reports);
    return {Json::object(), {}};
  }

  std::function<void()> restore(std::size_t, const Snapshot::Part&) override {
    return [] {};
  }

  // After the last block. A tied embedding is before the first, too.
  void run_head(const BlockStream& stream, std::vector<Json>& reports) {
    for (Layer* layer : stage_.model.head_layers()) {
      TapObserver observer(stage_.targets, {Statistic::kHessian});
      if (stage_.targets.contains(layer)) stream.observe_head(*layer, observer);
      measure(
          *layer, observer, [this] { return kl_->from_start(); }, reports);
    }
  }

 private:
  template <typename Kl>
  void measure(Layer& layer, const TapObserver& observer, const Kl& kl, std::vector<Json>& reports) {
    const Statistics* const x = observer.of(layer);
    if (!stage_.targets.contains(&layer) || !x) return;
    const auto versions = versions_of(levels_, layer, *x);
    if (versions.empty()) return;
    Json report{{"layer", layer.name()},
                {"class", layer.class_name()},
                {"weights", layer.weight().rows() * layer.weight().columns()},
                {"bytes", layer.weight().stored_bytes()},
                {"error", versions.front().error},
                {"levels", Json::array()}};
    for (const auto& version : versions)
      report["levels"].push_back(
          {{"level", version.level}, {"bytes", version.weight->stored_bytes()}, {"error", version.error}});
    if (kl_) add_kl(layer, versions[middle_of(versions)], kl, report);
    reports.push_back(std::move(report));
  }

  template <typename Kl>
  void add_kl(Layer& layer, const Version& middle, const Kl& kl, Json& report) {
    const double measured = [&] {
      const ExchangedWeights exchanged({{&layer, middle.weight}});
      return kl();
    }();
    if (!std::isfinite(measured))
      throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                  "the KL divergence with " + layer.name() + " changed alone is not finite", "levels",
                  "Leave out the level that breaks this layer, or set kl_tokens to 0.");
    for (auto& level : report["levels"])
      level["kl"] =
          middle.error > 0 ? std::max(0.0, measured) * level["error"].get<double>() / middle.error : 0.0;
    report["kl_level"] = middle.level;
  }

  const StageInput& stage_;
  const std::vector<Level>& levels_;
  std::optional<ChangedKl> kl_;
};

class LayerSensitivity final : public Method {
 public:
  LayerSensitivity(std::vector<Level> levels, at::Tensor kl_ids)
      : levels_(std::move(levels)), kl_ids_(std::move(kl_ids)) {}

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }
  bool keeps_layers() const override { return true; }
  void check_model(const Model&, const std::set<const Layer*>&) const override {}

  Json run(const StageInput& stage) const override {
    MeasureBlock work(stage, levels_, kl_ids_);
    std::vector<Json> reports;
    const BlockStream stream =
        run_blocks(stage, stage.model.block_count(), /*outputs_needed=*/true, work, reports);
    work.run_head(stream, reports);
    for (auto& report : reports) report.erase("error");
    return {{"layers", std::move(reports)}};
  }

 private:
  std::vector<Level> levels_;
  at::Tensor kl_ids_;
};

}  // namespace

std::unique_ptr<Method> layer_sensitivity(std::vector<Level> levels, at::Tensor kl_ids) {
  return std::make_unique<LayerSensitivity>(std::move(levels), std::move(kl_ids));
}

}  // namespace wring
