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
};

// Of the parameter `name`. Throws Error(kInvalidArgument, "NO_LEVEL") for a method that does not go layer by
// layer.
std::vector<Level> make_levels(const Params& params, const char* name);

}  // namespace wring
