// How long one token takes through the layers of a decoder, as they are and at each of some levels.
#pragma once

#include <vector>

#include "engine/methods/levels.h"
#include "engine/methods/search/latency_table.h"

namespace wring {

// [{"layers": names, "rows", "columns", "seconds": as it is, "levels": [{"level": index, "seconds"}]}]: one
// entry for all layers that are of one shape, stored alike and taken by the same levels. Seconds are of one
// token, medians of `repeats` passes, all in turn. Weights are those that the levels make without looking at
// data: what a kernel takes depends on their encoding and not on their values. Layers that multiply nothing
// (an embedding that is no head) and those that no level takes are left out.
Json level_times(Model& model, const std::vector<Level>& levels, std::int64_t repeats, Progress& progress,
                 const Timer& timer = wall_seconds);

}  // namespace wring
