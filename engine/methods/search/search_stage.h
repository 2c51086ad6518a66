// What stages that search for a plan share: the search's parameters, and its life in a stage.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/methods/method.h"
#include "engine/methods/search/evolution.h"
#include "engine/methods/search/level_database.h"

namespace wring {

// Of generations, offspring, switches, survivors and tokens, and samples and sequence_length beside them.
// Throws Error(kInvalidArgument, "OUT_OF_RANGE") naming the one that cannot be.
EvolutionOptions evolution_options(const Params& params);

// Throws as evolution_options() where a selection takes more tokens than there are.
void check_tokens(const EvolutionOptions& options, std::int64_t there, const Params& params);

// That candidates are measured on, all together.
std::int64_t searched_tokens(const EvolutionOptions& options);

// Searches by CandidateKl from the best of first_points(), or from the generation that the stage's snapshot
// holds, which keeps each, beside what else its state says. Throws Error(kInvalidArgument, "NOT_FINITE")
// naming `field` where no plan has a finite divergence.
SearchState search_plan(const StageInput& stage, const EvolutionOptions& options, const LevelSpace& space,
                        const std::vector<LayerVersions>& layers,
                        const std::function<std::vector<Assignment>()>& first_points,
                        const std::string& field);

}  // namespace wring
