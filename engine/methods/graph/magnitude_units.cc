// One-shot structured pruning of a graph without data: the units of least norm, alone or with what reads them
// (Fang et al. 2023), or of least batch-norm scale (Liu et al. 2017), are cut.
#include <limits>
#include <set>

#include "common/error.h"
#include "engine/graph/graph_file.h"
#include "engine/methods/graph/units.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

class MagnitudeUnits final : public GraphMethod {
 public:
  explicit MagnitudeUnits(const Params& params)
      : cut_(OneShot::from(params)),
        norm_(params.get<std::string>("norm")),
        norm_field_(params.field("norm")) {}

  void check(const Graph& graph) const override { (void)example_inputs(graph, 2); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const NamedValues example = example_inputs(stage.graph, 2);
    const GraphLabels labels = units_of(stage, example);
    const auto units = least_units(labels, scores(values_of(stage.graph, labels), stage.graph), cut_);
    stage.progress.report(1, 1, "graphs");
    return cut_units(stage.graph, labels, units, example, report);
  }

 private:
  UnitValues values_of(Graph& graph, const GraphLabels& labels) const {
    return {graph, labels, norm_ == "group-l2" ? UnitValues::Of::kAllSlices : UnitValues::Of::kProducers};
  }

  // The norm; among units of several lengths over its root (l2) or itself (l1): values' mean size.
  at::Tensor scores(const UnitValues& values, const Graph& graph) const {
    if (norm_ == "l2" || norm_ == "group-l2") return (values.squares() / values.lengths()).sqrt();
    if (norm_ == "bn-scale") return norm_scales(values, graph);
    std::vector<at::Tensor> x;
    for (const auto& parameter : graph.parameters()) x.push_back(parameter.value);
    return values.sum([&](std::size_t i) { return x[i].abs(); }) / values.lengths();
  }

  // The mean size of a unit's gains; a unit without one stays.
  at::Tensor norm_scales(const UnitValues& values, const Graph& graph) const {
    std::set<std::string> gains;
    for (const auto& node : graph.nodes().nodes)
      if (node.operation == "BatchNormalization") gains.insert(node.inputs.at(1));
    std::vector<at::Tensor> sizes, ones;  // undefined: no gain
    for (const auto& parameter : graph.parameters()) {
      const bool gain = gains.contains(parameter.name);
      sizes.push_back(gain ? parameter.value.abs() : at::Tensor());
      ones.push_back(gain ? at::ones_like(parameter.value) : at::Tensor());
    }
    const at::Tensor counts = values.sum([&](std::size_t i) { return ones[i]; });
    if (counts.max().item<double>() == 0)
      throw Error(ErrorCode::kInvalidArgument, "NO_NORMS",
                  "no unit of this graph goes through a batch normalisation with a gain of its own",
                  norm_field_,
                  "Take l1 or l2; exporters fold norms away unless training=TrainingMode.PRESERVE.");
    const at::Tensor sums = values.sum([&](std::size_t i) { return sizes[i]; });
    return at::where(counts > 0, sums / counts.clamp_min(1),
                     at::full_like(sums, std::numeric_limits<double>::infinity()));
  }

  OneShot cut_;
  std::string norm_, norm_field_;
};

WRING_GRAPH_METHOD("magnitude-units", MagnitudeUnits);

}  // namespace
}  // namespace wring
