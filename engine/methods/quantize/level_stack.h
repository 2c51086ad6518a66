// The levels of all residual weights of a model as one stack, of which as many stay as there is room for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model/model.h"

namespace wring {

// One level of a layer.
struct StackedLevel {
  Layer* layer;
  std::int64_t level;
  std::uint64_t bytes;
};

// In the order in which they are taken, a layer's own from the first on; empty where no weight is residual.
std::vector<StackedLevel> level_stack(Model& model);

// Cuts all residual weights down to the longest beginning of the stack with which the model's stored tensors
// take at most `bytes`, and at least one level of each layer. Throws Error(kInvalidArgument) naming `field`:
// "NO_LEVELS" where no weight is residual, "SIZE_TOO_SMALL" with the least that there is.
void fit_levels(Model& model, std::uint64_t bytes, const std::string& field);

}  // namespace wring
