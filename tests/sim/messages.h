// What simulated clients and workers ask the coordinator, and its answers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace wring::sim {

struct SubmitCall {
  std::string request_id, digest;
  std::uint32_t plan = 0;  // index of the JobPlan
  JobNeeds needs;
  std::uint32_t max_attempts = 0;
  std::int32_t priority = 0;
  std::string project;
  TimeMs queued_timeout = 0, total_timeout = 0, max_runtime = 0;
};
struct CancelCall {
  std::string job, etag;
};
struct RetryCall {
  std::string job, etag;
};
struct PauseJobCall {
  std::string job;
  bool paused = true;
};
struct DeleteCall {
  std::string job, etag;
};
struct WatchCall {
  std::string job;
  std::uint64_t after = 0;
};
struct LeaseCall {
  LeaseInput input;
  TimeMs wait_ms = 0;
};
struct HangUp {  // the caller no longer waits for `call`
  std::uint64_t call = 0;
};

using Request = std::variant<SubmitCall, CancelCall, RetryCall, PauseJobCall, DeleteCall, WatchCall,
                             PauseProjectInput, PauseWorkerInput, QuotaInput, RegisterInput, LeaseCall,
                             RenewInput, StageInput, FinishInput, HangUp>;

// Who asks: the answer finds its way back by this.
struct Caller {
  std::uint32_t actor = 0, generation = 0;
  std::uint64_t call = 0;
};

struct Answer {
  bool away = false;    // the server could not be reached, or so it seems
  std::string refused;  // reason of its error; empty: done
  std::string job;
  std::uint64_t version = 0;
  JobPhase phase = JobPhase::kQueued;
  std::optional<JobRecord> leased;
  std::vector<LeaseAction> renewed;
  bool register_again = false;
  std::vector<JobEvent> events;  // of a watch, after its cursor
  bool ended = false;            // a watch has nothing more to wait for
};

}  // namespace wring::sim
