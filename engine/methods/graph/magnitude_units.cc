// One-shot structured pruning of a graph: the units of least norm are cut; no data, no training.
#include <algorithm>
#include <cmath>

#include "engine/graph/graph_file.h"
#include "engine/methods/graph/units.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

class MagnitudeUnits final : public GraphMethod {
 public:
  explicit MagnitudeUnits(const Params& params)
      : target_(params.get<double>("target_group_sparsity")),
        l1_(params.get<std::string>("norm") == "l1"),
        by_family_(params.get<std::string>("scope") == "family"),
        multiple_(params.get<std::int64_t>("group_divisible")) {}

  void check(const Graph& graph) const override { (void)example_inputs(graph, 2); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const NamedValues example = example_inputs(stage.graph, 2);
    const GraphLabels labels = units_of(stage.graph, example);
    const at::Tensor sizes = scores(UnitValues(stage.graph, labels), stage.graph);
    std::vector<bool> removed(labels.units.size());
    std::vector<std::size_t> units;
    if (by_family_)
      for (const auto& family : labels.families) add(units, of_family(labels, family, sizes));
    else
      add(units, choose_units(labels, sizes, share_of(labels.units.size()), multiple_, removed));
    stage.progress.report(1, 1, "graphs");
    return cut_units(stage.graph, labels, units, example, report);
  }

 private:
  std::size_t share_of(std::size_t count) const {
    return static_cast<std::size_t>(std::floor(target_ * static_cast<double>(count)));
  }

  // The norm; among units of several lengths over its root (l2) or itself (l1): values' mean size.
  at::Tensor scores(const UnitValues& values, const Graph& graph) const {
    if (!l1_) return (values.squares() / values.lengths()).sqrt();
    std::vector<at::Tensor> x;
    for (const auto& parameter : graph.parameters()) x.push_back(parameter.value);
    return values.sum([&](std::size_t i) { return x[i].abs(); }) / values.lengths();
  }

  std::vector<std::size_t> of_family(const GraphLabels& labels, const UnitFamily& family,
                                     const at::Tensor& scores) const {
    GraphLabels alone;
    UnitFamily numbers;
    std::vector<double> own;
    for (const auto unit : family.units) {
      numbers.units.push_back(alone.units.size());
      alone.units.push_back(labels.units[unit]);
      own.push_back(scores[static_cast<std::int64_t>(unit)].item<double>());
    }
    alone.families = {numbers};
    std::vector<bool> removed(own.size());
    std::vector<std::size_t> units;
    for (const auto i :
         choose_units(alone, at::tensor(own, at::kDouble), share_of(own.size()), multiple_, removed))
      units.push_back(family.units[i]);
    return units;
  }

  static void add(std::vector<std::size_t>& units, const std::vector<std::size_t>& more) {
    units.insert(units.end(), more.begin(), more.end());
  }

  double target_;
  bool l1_, by_family_;
  std::int64_t multiple_;
};

WRING_GRAPH_METHOD("magnitude-units", MagnitudeUnits);

}  // namespace
}  // namespace wring
