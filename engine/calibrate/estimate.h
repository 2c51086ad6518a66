// What a stage will take, from running a small part of it.
#pragma once

#include <cstdint>
#include <set>

#include "engine/calibrate/calibrate.h"

namespace wring {

struct StageEstimate {
  double seconds = 0;
  std::uint64_t working_bytes = 0;  // of memory, highest, the new weights that are there by then included
  std::uint64_t stored_bytes = 0;   // the targeted layers' new weights
  double weights_kept = 1;          // share of the targeted layers' weights that are not cut out
  bool adds = false;                // to the weights that are there, which stay as they are stored
  bool streams = false;             // the whole model is run meanwhile
  int processes = 1;                // that each take that memory, for the time of the first one
};

// Of the method's run() on this machine at the present load: one batch goes through the first targeted block
// and that block's layers through the method (of large ones some rows); the rest is in proportion to weights,
// rows and tokens. The model stays as it is; of calibration.ids only the shape matters. `gathered`: its
// statistics will be at hand. `processes` share the work; this one may use as many threads as it will then.
StageEstimate estimate_stage(Model& model, const Method& method, const std::set<const Layer*>& targets,
                             const Calibration& calibration, bool gathered = false, int processes = 1);

}  // namespace wring
