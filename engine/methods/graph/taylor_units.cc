// One-shot structured pruning of a graph by what the loss would change without a unit, to first order
// (Molchanov et al. 2019); no training.
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

#include "engine/methods/graph/graph_training.h"
#include "engine/methods/graph/units.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

class TaylorUnits final : public GraphMethod {
 public:
  explicit TaylorUnits(const Params& params)
      : cut_(OneShot::from(params)),
        examples_(params.get<std::int64_t>("examples")),
        batch_(params.get<std::int64_t>("batch")),
        normalisation_(Normalisation::from(params)) {}

  void check(const Graph& graph) const override { (void)Classifier(graph); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const Batches batches = stage.data(normalisation_);
    const NamedValues example = example_of(stage.graph, batches);
    const GraphLabels labels = units_of(stage, example);
    const UnitValues values(stage.graph, labels);
    const at::Tensor scores = changes(stage, batches, values);
    return cut_units(stage.graph, labels, least_units(labels, scores, cut_), example, report);
  }

 private:
  // The square of <x, g> over a unit's values x and the gradient g of the mean cross entropy of a batch, as a
  // mean over the batches. Norms take their running statistics.
  at::Tensor changes(const GraphStage& stage, const Batches& batches, const UnitValues& values) const {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(stage.seed);
    const at::Tensor drawn = at::randperm(batches.count(), generator, at::TensorOptions(at::kLong))
                                 .narrow(0, 0, std::min(examples_, batches.count()));
    const Classifier classifier(stage.graph);
    const std::int64_t at_once = classifier.fixed_batch().value_or(std::min(batch_, drawn.size(0)));
    const std::int64_t count = std::max<std::int64_t>(drawn.size(0) / at_once, 1);
    const GraphWeights weights(stage.graph);
    at::Tensor sum;
    for (std::int64_t i = 0; i < count; ++i) {
      const at::Tensor examples =
          drawn.index_select(0, (at::arange(at_once, at::kLong) + i * at_once).remainder(drawn.size(0)));
      const at::Tensor logits = classifier.logits(batches.inputs(examples), GraphMode::kInference);
      at::cross_entropy_loss(logits, batches.labels(examples).to(logits.device())).backward();
      const auto& x = weights.leaves();
      const at::Tensor change = values.sum([&](std::size_t p) {
        const at::Tensor& gradient = x[p].grad();
        return gradient.defined() ? x[p] * gradient : gradient;
      });
      sum = sum.defined() ? sum + change.square() : change.square();
      for (const auto& leaf : x) leaf.mutable_grad() = at::Tensor();
      stage.progress.report(static_cast<std::uint64_t>(i + 1), static_cast<std::uint64_t>(count), "batches");
    }
    return sum / count;
  }

  OneShot cut_;
  std::int64_t examples_, batch_;
  Normalisation normalisation_;
};

WRING_GRAPH_METHOD("taylor-units", TaylorUnits);

}  // namespace
}  // namespace wring
