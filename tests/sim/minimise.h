// Makes a failing world smaller while it fails in the same way.
#pragma once

#include <optional>

#include "tests/sim/plan.h"
#include "tests/sim/replay.h"

namespace wring::sim {

class World;

// Runs a world; what it breaks, if anything.
std::optional<Violation> violation_of(World& world);

// Fewer fault kinds, jobs and workers, a shorter time of faults; for about `seconds` at most.
Plan minimise(Plan plan, const Violation& violation, double seconds);

}  // namespace wring::sim
