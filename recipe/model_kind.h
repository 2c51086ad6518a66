// Whether what a recipe names takes the kind of model that it is to be run on.
#pragma once

#include <string>
#include <vector>

#include "recipe/recipe.h"

namespace wring {

// `kinds`: what the model may be, as specs say what they take ("decoder-lm", "encoder", "graph"): one kind,
// or several where that is not known yet. Throws Error(kInvalidArgument, "WRONG_MODEL_KIND") naming the first
// stage, suite or format that takes none of them, with those that do.
void check_model_kind(const Recipe& recipe, const std::vector<std::string>& kinds,
                      const Catalogue& catalogue = Catalogue::embedded());

}  // namespace wring
