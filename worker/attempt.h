// One attempt at a leased job: inputs fetched, the engine run, its result handed in, the server told how it
// went.
#pragma once

#include "worker/cache.h"
#include "worker/coordinator.h"
#include "worker/lease_keeper.h"
#include "worker/metrics.h"
#include "worker/options.h"
#include "worker/sandbox.h"
#include "worker/stage_sharer.h"
#include "worker/stop_signal.h"

namespace wring {

struct Workplace {
  const WorkerOptions& options;
  Coordinator& coordinator;
  Cache& cache;
  LeaseKeeper& keeper;
  StageSharer& sharer;
  WorkerMetrics& metrics;
  const Sandbox* sandbox;  // of engines; nullptr: none
};

// Runs the attempt to its end, whatever that is; failures are told to the server, not thrown. `stop` ends it
// early. `leave` is set once nothing more may be waited for. The engine dies with the calling thread. Returns
// whether this machine's disk had room for it.
bool run_attempt(const Workplace& workplace, const v1::LeaseJobResponse& lease, const v1::Device& device,
                 StopSignal& stop, const StopSignal& leave);

}  // namespace wring
