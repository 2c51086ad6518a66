// Distillation of a graph that scores classes: it learns the scores of the graph that it was made of
// (Hinton et al. 2015), and the labels where they are given a weight.
#include <c10/core/GradMode.h>

#include <string>

#include "common/error.h"
#include "engine/methods/graph/graph_training.h"
#include "engine/train/losses.h"

namespace wring {
namespace {

class DistillClassifier final : public GraphMethod {
 public:
  explicit DistillClassifier(const Params& params)
      : training_(GraphTraining::from(params)),
        temperature_(params.get<double>("temperature")),
        logits_(params.get<double>("logits")),
        labels_(params.get<double>("labels")) {}

  void check(const Graph& graph) const override { check_trainable_graph(graph, training_); }
  bool takes_targets() const override { return false; }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const Batches batches = stage.data(training_.normalisation);
    const auto reference = stage.reference();
    const Classifier teacher(*reference);
    check_teacher(Classifier(stage.graph), teacher, batches);
    GraphHooks hooks;
    hooks.loss = [&](const at::Tensor& logits, const at::Tensor& inputs, const at::Tensor& labels) {
      const at::Tensor taught = [&] {
        const c10::NoGradGuard unrecorded;
        return teacher.logits(inputs, GraphMode::kInference);
      }();
      const at::Tensor loss = distillation_loss(logits, taught, temperature_) * logits_;
      return labels_ > 0 ? loss + label_loss(logits, labels, training_.label_smoothing) * labels_ : loss;
    };
    {
      GraphWeights weights(stage.graph);
      report["training"] = train_graph(stage, batches, training_, weights, hooks);
    }
    report["layers"] = Json::array();
    return stage.graph.to_onnx();
  }

 private:
  void check_teacher(const Classifier& student, const Classifier& teacher, const Batches& batches) const {
    if (student.example_sizes() != teacher.example_sizes())
      refuse("the reference takes examples of other sizes than this graph");
    if (teacher.fixed_batch() && *teacher.fixed_batch() != training_.loop.batch)
      refuse("the reference's file fixes the batch at " + std::to_string(*teacher.fixed_batch()) +
             ", the stage trains with " + std::to_string(training_.loop.batch));
    const auto classes = teacher.class_count(batches), own = student.class_count(batches);
    if (classes != own)
      refuse("the reference scores " + std::to_string(classes) + " classes, this graph " +
             std::to_string(own));
  }

  [[noreturn]] static void refuse(const std::string& why) {
    throw Error(ErrorCode::kInvalidArgument, "REFERENCE_MISMATCH", why, "reference",
                "Hand in a reference with the same input and classes.");
  }

  GraphTraining training_;
  double temperature_, logits_, labels_;
};

WRING_GRAPH_METHOD("distill-classifier", DistillClassifier);

}  // namespace
}  // namespace wring
