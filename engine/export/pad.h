// A model whose blocks differ in width, made uniform with zeros, for formats that hold one width for all.
#pragma once

#include <memory>

#include "engine/model/model.h"

namespace wring {

// Computes what `model` does: heads, KV groups and FFN channels that a block lacks are zeros behind its own,
// a module that was cut out is all zeros. Weights that become wider are plain values; all others are shared.
std::unique_ptr<Model> padded_model(const Model& model);

}  // namespace wring
