// The scheduler: a pure state machine of jobs, leases and workers. No I/O and no clock: every input carries
// the time.
//
// step() is the only way the state changes. It throws Error and changes nothing where the input is refused.
// The caller stores the outcome's records and events in one transaction before anyone hears of them.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/clock.h"
#include "common/error.h"
#include "common/json.h"

namespace wring {

enum class JobPhase {
  kQueued = 1,
  kRunning = 2,
  kCancelling = 3,
  kSucceeded = 4,
  kFailed = 5,
  kCancelled = 6
};

bool is_terminal(JobPhase phase);
std::string_view to_string(JobPhase phase);

// Of a lease. `epoch` rises when a database is restored, `n` with every lease; a commit under an older one is
// refused.
struct Fence {
  std::uint64_t epoch = 0, n = 0;
  auto operator<=>(const Fence&) const = default;
};

// What a job needs of a worker.
struct JobNeeds {
  std::string device = "cpu";
  std::uint32_t device_count = 1;
  std::uint64_t memory_bytes = 0;
  std::vector<std::string> methods;  // "gptq@1"
};

// All that the scheduler knows of a job.
struct JobRecord {
  std::string id;
  std::uint64_t sequence = 0;  // order of submission
  std::int32_t priority = 0;   // a higher one goes first
  JobPhase phase = JobPhase::kQueued;
  JobNeeds needs;
  std::uint32_t attempt = 0;       // leases so far that count
  std::uint32_t attempt_base = 0;  // of them, those before the last RetryJob
  std::uint32_t max_attempts = 5;
  std::uint32_t failures = 0;  // of infrastructure, in a row
  std::string worker;
  Fence fence;
  TimeMs lease_until = 0;
  TimeMs not_before = 0;  // backoff
  TimeMs create_time = 0, start_time = 0, end_time = 0;
  std::string crash_signature;  // of the last attempt that failed without an explanation
  std::string told_outcome;     // of the newest lease, as its worker told it; empty: not told
  std::set<std::pair<std::uint32_t, std::string>> reported;  // (stage, state) under the newest lease
  std::string result;                                        // artifact digest
  std::optional<Json> error;                                 // Error::to_json plus stage, signal, last_log
  std::uint64_t last_event = 0;
  std::uint64_t version = 0;  // rises with every change: the etag
};

// Where a queued job stands: by priority, then by submission.
struct QueuePlace {
  std::int32_t priority = 0;
  std::uint64_t sequence = 0;
  bool operator==(const QueuePlace&) const = default;
  bool operator<(const QueuePlace& other) const {
    return priority != other.priority ? priority > other.priority : sequence < other.sequence;
  }
};
inline QueuePlace queue_place(const JobRecord& job) {
  return {job.priority, job.sequence};
}

struct WorkerRecord {
  std::string id;
  std::map<std::string, std::uint32_t> devices;  // kind -> count
  std::uint64_t memory_bytes = 0;
  std::set<std::string> methods;
  TimeMs last_seen = 0;
  bool draining = false;
  std::set<std::string> jobs;  // leased to it
};

struct SchedulerOptions {
  TimeMs lease_ms = 15'000;
  TimeMs backoff_ms = 1'000;  // after the first infrastructure failure; doubles
  TimeMs max_backoff_ms = 60'000;
  TimeMs worker_gone_ms = 60'000;  // not seen for so long: not present
};

struct SchedulerState {
  SchedulerOptions options;
  std::uint64_t epoch = 1, next_fence = 1, next_sequence = 1;
  std::map<std::string, JobRecord> jobs;    // the caller may drop ended ones once they are stored
  std::map<QueuePlace, std::string> queue;  // ids of queued jobs
  std::set<std::string> held;               // ids of leased jobs
  std::map<std::string, WorkerRecord> workers;
};

// Inputs.
struct SubmitInput {
  std::string id;
  JobNeeds needs;
  std::uint32_t max_attempts = 0;  // 0: the default
  std::int32_t priority = 0;
};
struct RegisterInput {
  WorkerRecord worker;
};
// A worker whose devices are all free has no job: leases that it held, or whose answer it never got, are
// over.
struct LeaseInput {
  std::string worker;
  std::map<std::string, std::uint32_t> free_devices;
};
struct RenewInput {
  std::string worker;
  std::vector<std::pair<std::string, Fence>> leases;
  bool draining = false;
};
struct StageInput {
  std::string job;
  Fence fence;
  std::uint32_t index = 0;
  std::string state;  // pending (planned: no event), running, done, cached
  Json payload;
};
struct FinishInput {
  std::string job;
  Fence fence;
  std::string outcome;  // succeeded, failed, cancelled, released
  std::string result;
  std::optional<Json> error;
};
struct CancelInput {
  std::string job;
};
struct RetryInput {
  std::string job;
};
struct TickInput {};  // lets leases run out

using SchedulerInput = std::variant<SubmitInput, RegisterInput, LeaseInput, RenewInput, StageInput,
                                    FinishInput, CancelInput, RetryInput, TickInput>;

// One entry of a job's log.
struct JobEvent {
  std::string job;
  std::uint64_t number = 0;  // from 1, without holes
  TimeMs time = 0;
  std::string type;
  JobPhase phase = JobPhase::kQueued;
  std::uint32_t attempt = 0;
  Json payload = Json::object();
};

enum class LeaseAction { kContinue, kCancel, kLost };

// Nothing changed where an input was told a second time (an answer had been lost).
struct Outcome {
  std::vector<JobRecord> changed;  // new contents of these jobs' rows
  std::vector<JobEvent> events;
  std::optional<JobRecord> leased;   // answer to LeaseInput
  std::vector<LeaseAction> renewed;  // answers to RenewInput, in order
};

// Whether the worker is there and asks for jobs.
bool takes_jobs(const WorkerRecord& worker, TimeMs now, const SchedulerOptions& options);

// Applies one input at time `now`. Throws Error: NOT_FOUND (JOB_NOT_FOUND, WORKER_NOT_FOUND),
// FAILED_PRECONDITION (STALE_LEASE, JOB_ENDED, JOB_NOT_ENDED).
Outcome step(const SchedulerInput& input, TimeMs now, SchedulerState& state);

// Puts a job that was stored back into the state (at start, after the workers).
void restore(JobRecord job, SchedulerState& state);

// Why a queued job waits, for people. `job` is as it is on disk, which may be a step behind the state.
std::string waiting_reason(const JobRecord& job, TimeMs now, const SchedulerState& state);

}  // namespace wring
