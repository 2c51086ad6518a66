// Which layers of a graph a stage may change: its recipe's `targets` and `ignore`.
#pragma once

#include <set>
#include <string>
#include <utility>

#include "engine/graph/graph.h"
#include "engine/graph/labels.h"
#include "recipe/recipe.h"

namespace wring {

// Layers are nodes that multiply by weights. One goes by the node's name, by its weight's, and by that
// without
// ".weight" behind it; its classes are its operator (Conv, Gemm, ...) and Linear.
class GraphTargets {
 public:
  GraphTargets() { stage_.targets = {"Linear"}; }  // all
  GraphTargets(const StageSpec& stage, std::string field) : stage_(stage), field_(std::move(field)) {}

  bool takes_all() const;  // as a recipe that names none

  // `weight`: the initializer's name; empty where the node multiplies values.
  bool takes(const OnnxNode& node, const std::string& weight) const;

  // Throws Error(kInvalidArgument, "NO_TARGETS") where no layer of the graph is taken.
  void check(const Graph& graph) const;
  [[noreturn]] void throw_none(const Graph& graph, const std::string& message) const;  // the same

  // The weights of layers that are not taken.
  std::set<std::string> left_out(const Graph& graph) const;

  // Without the families of whose makers a layer is not taken: who asks for half of a residual stream gets
  // none of it. Throws the same where nothing is left.
  GraphLabels chosen(const Graph& graph, const GraphLabels& labels) const;

 private:
  bool takes(const std::vector<std::string>& names, const std::string& operation) const;
  StageSpec stage_;
  std::string field_;
};

}  // namespace wring
