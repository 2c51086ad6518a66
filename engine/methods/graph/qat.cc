// Quantisation-aware training: the graph is trained with its weights and values rounded, gradients passing
// straight through, and then stored as codes (Jacob et al. 2018).
#include <c10/core/GradMode.h>

#include "engine/methods/graph/graph_rounding.h"
#include "engine/methods/graph/graph_training.h"

namespace wring {
namespace {

class Qat final : public GraphMethod {
 public:
  explicit Qat(const Params& params)
      : rounding_(GraphRounding::from(params)), training_(GraphTraining::from(params)) {}

  void check(const Graph& graph) const override {
    check_trainable_graph(graph, training_);
    check_rounding(graph);
  }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const auto batches = std::make_shared<const Batches>(stage.data(training_.normalisation));
    const GraphExamples examples =
        drawn_examples(stage, rounding_.examples, rounding_.normalisation, batches);
    Graph graph(rounded_graph(stage.graph, examples, rounding_, stage.targets, stage.progress, report));
    graph.compute_on(stage.graph.device());
    const auto scaled = scaled_weights(graph.nodes());
    {
      GraphWeights weights(graph);
      GraphHooks hooks;
      hooks.after_update = [&](std::int64_t) { follow(graph, scaled); };
      report["training"] = train_graph({graph, stage.data, stage.progress, stage.snapshot, stage.seed},
                                       *batches, training_, weights, hooks);
    }
    return stored_graph(stage.graph, examples, graph.to_onnx(), report);
  }

 private:
  // Scales follow the weights.
  void follow(Graph& graph, const std::vector<ScaledWeight>& scaled) const {
    const c10::NoGradGuard unrecorded;
    for (const auto& place : scaled)
      graph.find_tensor(place.scale)
          ->copy_(weight_scales(*graph.find_tensor(place.weight), place.axis, rounding_.types.weight_bits));
  }

  GraphRounding rounding_;
  GraphTraining training_;
};

WRING_GRAPH_METHOD("qat", Qat);

}  // namespace
}  // namespace wring
