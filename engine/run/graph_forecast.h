// What a stage of a graph will take, from its own first steps.
#pragma once

#include <cstdint>

#include "engine/methods/graph_method.h"

namespace wring {

struct GraphEstimate {
  double seconds = 0;
  std::uint64_t resident_bytes = 0;  // of this process, highest
};

// On this machine at the present load: `stage` is run, for the method as it will be, until it has trained a
// few steps; the rest is in proportion to their number. A method that trains none is run to its end.
// stage.graph does not stay as it is, and stage's progress and snapshot are not used.
GraphEstimate estimate_graph_stage(const GraphMethod& method, const GraphStage& stage);

[[noreturn]] void throw_no_forecast(const std::string& data);

// Black examples, for a forecast of what would be trained on the data `name`. Throws Error(kInvalidArgument,
// "NO_FORECAST") naming it where the network leaves its input's sizes free.
Batches blank_batches(const Classifier& classifier, const std::string& name,
                      const Normalisation& normalisation);

}  // namespace wring
