// The outputs of finished steps by key, as an attempt sees them: the worker's own, then those of the project.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "worker/cache.h"
#include "worker/coordinator.h"
#include "worker/inputs.h"

namespace wring {

// Of one attempt. One thread.
class StageCache {
 public:
  // A lease of the job under `fence` says which project may be asked. All outlive this.
  StageCache(Coordinator& coordinator, Cache& cache, Inputs& inputs, const v1::Job& job,
             const v1::Fence& fence);

  // The output under `key` as an input of docs/pipe.md, in the cache and held; nullopt where nobody has it,
  // or it cannot be had now: a step can always be run instead. Throws kCancelled "STOPPED" alone.
  std::optional<Json> find(const Digest& key);

  // Says of a cached step where its output came from and what it saved.
  void describe(v1::StageStatus& stage) const;

 private:
  struct Found {
    Json input;
    const char* where;  // StageStatus.cached_in
    std::uint64_t bytes = 0;
    double seconds = 0;
  };
  std::optional<Found> find_in_project(const Digest& key);

  Coordinator& coordinator_;
  Cache& cache_;
  Inputs& inputs_;
  const std::string &job_id_, &project_;
  const v1::Fence& fence_;
  std::map<std::string, Found> found_;  // by the key's digits
};

}  // namespace wring
