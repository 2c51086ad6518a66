// Training or fine-tuning of a graph that scores classes.
#include "engine/methods/graph/graph_training.h"

namespace wring {
namespace {

class TrainClassifier final : public GraphMethod {
 public:
  explicit TrainClassifier(const Params& params) : training_(GraphTraining::from(params)) {}

  void check(const Graph& graph) const override { check_trainable_graph(graph, training_); }
  bool takes_targets() const override { return false; }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const Batches batches = stage.data(training_.normalisation);
    {
      GraphWeights weights(stage.graph);
      report["training"] = train_graph(stage, batches, training_, weights);
    }
    report["layers"] = Json::array();
    return stage.graph.to_onnx();
  }

 private:
  GraphTraining training_;
};

WRING_GRAPH_METHOD("train-classifier", TrainClassifier);

}  // namespace
}  // namespace wring
