// What a model's configuration means for what it computes, whatever file format it stands in.
#pragma once

#include "common/json.h"
#include "engine/model/model.h"

namespace wring {

// Sizes that do not show in tensors' shapes, epsilons, the activation, rotary angles: {name: number, string
// or list of numbers}.
Json meaning_of(const Model& model);

// The name of the first member in which they differ, numbers by more than 1e-5 of their size (formats store
// them as floats); empty where they do not.
std::string difference_in_meaning(const Json& meant, const Json& found);

}  // namespace wring
