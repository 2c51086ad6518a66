// The level database: a model's layers at each of some levels.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/methods/levels.h"

namespace wring {

struct LayerVersions {
  Layer* layer;
  std::vector<Version> versions;
};

// Of a layer, by the Hessian of its input.
using MakeVersions = std::function<std::vector<Version>(const Layer&, const Statistics& x)>;

// In one dense pass makes the versions of each of the stage's targets, all in blocks; the model stays as it
// is. What the stage's snapshot keeps lies in its files, which the weights map: memory holds a block's. Goes
// on after the last block that the snapshot holds. Of a team the first process gets them, the others nothing.
// Throws Error(kInvalidArgument, "TOO_MANY_LEVELS") naming `field` where all of them would take more than
// five times the bytes of the model's weights in 16 bits.
std::vector<LayerVersions> make_level_database(const StageInput& stage, const MakeVersions& make,
                                               const std::string& field);

}  // namespace wring
