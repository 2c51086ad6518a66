// Post-training quantisation of a graph: weights and the values between operators become int8 codes.
#include <utility>

#include "engine/methods/graph/graph_rounding.h"

namespace wring {
namespace {

class Ptq final : public GraphMethod {
 public:
  explicit Ptq(const Params& params) : rounding_(GraphRounding::from(params)) {}

  void check(const Graph& graph) const override { check_rounding(graph); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const GraphExamples examples = drawn_examples(stage, rounding_.examples, rounding_.normalisation);
    OnnxModel rounded =
        rounded_graph(stage.graph, examples, rounding_, stage.targets, stage.progress, report);
    return stored_graph(stage.graph, examples, std::move(rounded), report);
  }

 private:
  GraphRounding rounding_;
};

WRING_GRAPH_METHOD("ptq", Ptq);

}  // namespace
}  // namespace wring
