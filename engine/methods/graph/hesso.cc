// HESSO: while the network trains, the least salient units are chosen a portion at a time and shrunk to zero,
// then cut (Chen et al. 2024; card C3, parts A and B).
#include "engine/methods/graph/hybrid.h"
#include "engine/methods/graph/saliency.h"

namespace wring {
namespace {

class Hesso final : public GraphMethod {
 public:
  explicit Hesso(const Params& params)
      : training_(GraphTraining::from(params)),
        schedule_(HybridSchedule::from(params, training_.loop, params.get<std::int64_t>("pruning_periods"))),
        saliency_(SaliencyOptions::from(params)),
        target_(params.get<double>("target_group_sparsity")),
        multiple_(params.get<std::int64_t>("group_divisible")) {}

  void check(const Graph& graph) const override { check_trainable_graph(graph, training_); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const Batches batches = stage.data(training_.normalisation);
    const NamedValues example = example_of(stage.graph, batches);
    const GraphLabels labels = units_of(stage, example);
    const UnitValues values(stage.graph, labels);
    Hybrid hybrid(labels, values, schedule_);
    {
      GraphWeights weights(stage.graph);
      weights.keep("units", hybrid.state());
      GraphHooks hooks;
      hooks.before_update = [&](std::int64_t step, const Optimizer& optimizer) {
        if (schedule_.begins_period(step))
          choose_portion(labels, hybrid, schedule_.period(step),
                         saliency(values, weights, optimizer, saliency_));
      };
      hooks.after_update = [&](std::int64_t step) { hybrid.shrink(step); };
      report["training"] = train_graph(stage, batches, training_, weights, hooks);
    }
    return cut_units(stage.graph, labels, hybrid.removed(), example, report);
  }

 private:
  // M / P units a period; the last one takes what is left.
  void choose_portion(const GraphLabels& labels, Hybrid& hybrid, std::int64_t period,
                      const at::Tensor& scores) const {
    const std::size_t total = units_to_remove(labels, target_);
    const auto periods = static_cast<std::size_t>(schedule_.periods),
               done = static_cast<std::size_t>(period) + 1;
    std::vector<bool> removed = hybrid.chosen();
    hybrid.choose(
        choose_units(labels, scores, done == periods ? total : total / periods * done, multiple_, removed));
  }

  GraphTraining training_;
  HybridSchedule schedule_;
  SaliencyOptions saliency_;
  double target_;
  std::int64_t multiple_;
};

WRING_GRAPH_METHOD("hesso", Hesso);

}  // namespace
}  // namespace wring
