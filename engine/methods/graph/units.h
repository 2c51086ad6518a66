// Removal units of a graph for its structured methods: their values side by side, a choice among them, the
// cut.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "engine/graph/labels.h"
#include "engine/methods/graph_method.h"

namespace wring {

// Where units lie in a graph's parameters: what makes them (card C1's zero-invariant groups), or all that
// leaves with them, what reads them, too (DepGraph, Fang et al. 2023). Running statistics are no values of a
// unit. Refers to the graph.
class UnitValues {
 public:
  enum class Of { kProducers, kAllSlices };
  UnitValues(Graph& graph, const GraphLabels& labels, Of of = Of::kProducers);

  // Of each unit, the sum over its values of what `value` gives for parameter i, in its shape (undefined: 0):
  // fp64 [units].
  at::Tensor sum(const std::function<at::Tensor(std::size_t parameter)>& value) const;

  at::Tensor squares() const;  // of the parameters
  const at::Tensor& lengths() const { return lengths_; }

  at::Tensor dot(const std::vector<at::Tensor>& others) const;  // with tensors of the parameters' shapes

  // Multiplies each unit's values, or adds so much of other tensors of the parameters' shapes: factors
  // [units].
  void scale(const at::Tensor& factors) const;
  void add(const at::Tensor& factors, const std::vector<at::Tensor>& others) const;

 private:
  struct Place {
    std::size_t parameter;
    std::int64_t axis;
    at::Tensor indices, units;  // int64, side by side
  };

  std::vector<at::Tensor> parameters() const;
  // The factors of a place's units along its axis; `others` where no unit lies.
  at::Tensor spread(const Place& place, const at::Tensor& factors, double others,
                    const at::Tensor& like) const;

  Graph& graph_;
  std::int64_t count_;
  std::vector<Place> places_;
  at::Tensor lengths_;
};

// The units that the stage may cut, of which there are some. Throws Error(kInvalidArgument) "NOTHING_TO_CUT"
// or "NO_TARGETS".
GraphLabels units_of(const GraphStage& stage, const NamedValues& example);

// Adds to `removed` those of least score until `total` units are gone in all, but leaves each family one unit
// at least and a multiple of `multiple`; then fewer leave. scores fp64 [units]. Returns those that were
// added.
std::vector<std::size_t> choose_units(const GraphLabels& labels, const at::Tensor& scores, std::size_t total,
                                      std::int64_t multiple, std::vector<bool>& removed);

// What one-shot methods cut: a share of each family alike, or of all units.
struct OneShot {
  double target;  // share
  bool by_family;
  std::int64_t multiple;

  static OneShot from(const Params& params);  // target_group_sparsity, scope, group_divisible
};

// The units of least score; those that are infinite stay.
std::vector<std::size_t> least_units(const GraphLabels& labels, const at::Tensor& scores, const OneShot& cut);

// Takes units out of `removed`, the last first, until what is left of each family is a multiple of
// `multiple`.
void keep_multiples(const GraphLabels& labels, std::int64_t multiple, std::vector<std::size_t>& removed);

// Checks that a graph gives what it gives with all that left it at zero. Puts "parameters" and "macs" (before
// and after) and "difference" of the outputs (relative where they are above 1) into the report. Throws
// Error(kInternal, "CUT_CHANGED_OUTPUTS") where that is above 1e-3.
void check_cut(const Graph& zeroed, const OnnxModel& cut, const NamedValues& example, Json& report);

// The graph without the units, after that check. Puts "units", "removed" and "layers" (a line a family) into
// the report, too.
OnnxModel cut_units(Graph& graph, const GraphLabels& labels, const std::vector<std::size_t>& removed,
                    const NamedValues& example, Json& report);

}  // namespace wring
