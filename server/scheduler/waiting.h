// Why a queued job waits, in words.
#pragma once

#include <string>

#include "server/scheduler/scheduler.h"

namespace wring {

inline constexpr const char* kNoWorker = "no worker is connected";

// Why a queued job waits, for people. `job` is as it is on disk, which may be a step behind the state.
std::string waiting_reason(const JobRecord& job, TimeMs now, const SchedulerState& state);

// Whether a job with these needs waits, as waiting_reason() says, for a worker like `like` to come.
bool lacks_worker_of(const WorkerRecord& like, const JobNeeds& needs, const std::string& reason);

}  // namespace wring
