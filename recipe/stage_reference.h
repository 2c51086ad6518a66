// Parameters of type `stage`: by which a stage names an earlier one as the reference that it works towards.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "recipe/check.h"
#include "recipe/recipe.h"

namespace wring {

// Puts each such parameter into its normal form: "input", else the stage's method where no other stage before
// this one has it, else its index. Throws UNKNOWN_REFERENCE for what is no earlier stage, or NO_REFERENCE for
// the one right before, whose output the stage begins with.
void resolve_references(std::vector<StageSpec>& stages, const Source& source);

// Whether the stage works towards what an earlier one of its recipe makes.
bool names_reference(const StageSpec& stage);

// Which that is, by index; none where stages[index] does not. The stages are those of a parsed recipe.
std::optional<std::size_t> reference_index(const std::vector<StageSpec>& stages, std::size_t index);

}  // namespace wring
