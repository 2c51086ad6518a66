// What an engine reads, on its way from the store into the worker's cache.
#pragma once

#include <filesystem>
#include <string>

#include "common/json.h"
#include "formats/manifest.h"
#include "proto/rpc/transfer.h"
#include "worker/cache.h"
#include "worker/coordinator.h"
#include "worker/stop_signal.h"

namespace wring {

// Of one attempt: what was fetched is held in the cache until it ends. One thread.
class Inputs {
 public:
  // Manifests are written into `scratch`. All outlive this.
  Inputs(Coordinator& coordinator, Cache& cache, const std::filesystem::path& scratch,
         const StopSignal& stop);

  // An input as the pipe has it (docs/pipe.md), once all its chunks are in the cache; `name` is for messages.
  // An artifact's has its label. Waits while the server is away. Throws its errors, CACHE_TOO_SMALL, and
  // kCancelled "STOPPED".
  Json fetch_artifact(const std::string& digest, const std::string& name);
  Json fetch(const Manifest& manifest, const std::string& name);

  Cache::Hold& hold() { return hold_; }
  const StopSignal& stop() const { return stop_; }

 private:
  Coordinator& coordinator_;
  Cache& cache_;
  const std::filesystem::path& scratch_;
  const StopSignal& stop_;
  Cache::Hold hold_;
};

// Of transfers that wait for a server that is away until `stop` is set.
TransferOptions patient(const StopSignal& stop);

}  // namespace wring
