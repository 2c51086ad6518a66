// Levels that a layer may be compressed to, as methods.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/methods/method.h"

namespace wring {

// A stage of a list of them (recipe/levels.h) with its method.
struct Level {
  StageSpec stage;
  std::shared_ptr<const LayerMethod> method;

  bool takes(const Layer& layer) const { return stage.takes(layer.name(), layer.class_name()); }
  bool can_take(const Layer& layer) const;  // and the method can: its group size divides
};

// Of the parameter `name`. Throws Error(kInvalidArgument, "NO_LEVEL") for a method that does not go layer by
// layer.
std::vector<Level> make_levels(const Params& params, const char* name);

// A layer as one of the levels has it.
struct Version {
  std::size_t level = 0;  // its index
  std::shared_ptr<const WeightRep> weight;
  double error = 0;  // relative_error() by the Hessian
};

// Of each level that takes the layer and can, in their order. `x` has the Hessian; the layer stays as it is.
std::vector<Version> versions_of(const std::vector<Level>& levels, const Layer& layer, const Statistics& x);

}  // namespace wring
