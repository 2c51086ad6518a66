// The scheduler: a pure state machine of jobs, leases and workers. No I/O and no clock: every input carries
// the time.
//
// step() is the only way the state changes. It throws Error and changes nothing where the input is refused.
// The caller stores the outcome's records and events in one transaction before anyone hears of them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/error.h"
#include "server/scheduler/holders.h"
#include "server/scheduler/prefixes.h"
#include "server/scheduler/queue.h"
#include "server/scheduler/records.h"

namespace wring {

struct SchedulerOptions {
  TimeMs lease_ms = 15'000;
  TimeMs backoff_ms = 1'000;  // after the first infrastructure failure; doubles; up to half is drawn off
  TimeMs max_backoff_ms = 60'000;
  TimeMs worker_gone_ms = 60'000;               // not seen for so long: not present
  TimeMs forget_worker_ms = 30 * 86'400'000LL;  // not seen for so long: forgotten
  TimeMs preferred_ms = 500;  // a job is left to a worker that asked so recently and has its inputs
};

struct SchedulerState {
  SchedulerOptions options;
  std::uint64_t epoch = 1, next_fence = 1, next_sequence = 1;
  std::map<std::string, JobRecord> jobs;               // the caller may drop ended ones once they are stored
  JobQueue queue;                                      // of the queued ones
  std::set<std::pair<std::string, std::string>> held;  // (worker, job) of each lease
  std::set<std::pair<TimeMs, std::string>> expiries;   // (lease_until, job) of each lease
  std::set<std::pair<TimeMs, std::string>> deadlines;  // when the next timeout of each open job is over
  Shares shares;
  Prefixes prefixes;
  Holders holders;
  std::map<std::string, WorkerRecord> workers;
  TimeMs forgets_next = 0;  // when it is looked again for workers to forget
  std::set<std::string> paused_projects, paused_workers;
  std::map<std::string, Quota> quotas;  // by project
};

// Inputs.
struct SubmitInput {
  std::string id;
  JobNeeds needs;
  std::uint32_t max_attempts = 0;  // 0: the default
  std::int32_t priority = 0;
  std::string project = kDefaultProject;
  TimeMs queued_timeout = 0, total_timeout = 0;  // 0: none
  std::vector<std::string> prefixes;
  std::string request_id = {};
  TimeMs max_runtime = 0;  // of one attempt; 0: no limit
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
// What other jobs can expect of a step's output.
enum class Reach {
  kComes,   // their workers have it, or will
  kNever,   // it stays with its worker
  kNowhere  // it was not made: a later one was at hand
};
struct StageInput {
  std::string job;
  Fence fence;
  std::uint32_t index = 0;
  std::string state;  // pending (planned: no event), running, done, cached
  Json payload;
  bool is_prefix = false;  // makes the next of the job's prefixes
  Reach reach = Reach::kComes;
};
// Workers may have what this prefix names.
struct SharedInput {
  std::string prefix;
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
// Told again, they change nothing.
struct PauseJobInput {
  std::string job;
  bool paused = true;  // false: resumes it
};
struct PauseProjectInput {
  std::string project;
  bool paused = true;
};
struct QuotaInput {
  std::string project;
  Quota quota;  // takes the place of the one before; jobs that are queued or run already stay so
};
struct PauseWorkerInput {
  std::string worker;
  bool paused = true;
};
struct TickInput {};  // lets leases and timeouts run out

using SchedulerInput = std::variant<SubmitInput, RegisterInput, LeaseInput, RenewInput, StageInput,
                                    FinishInput, CancelInput, RetryInput, PauseJobInput, PauseProjectInput,
                                    PauseWorkerInput, QuotaInput, SharedInput, TickInput>;

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
  std::optional<PauseRecord> pause;
  std::optional<std::pair<std::string, Quota>> quota;  // a project's new one
  std::optional<JobRecord> leased;                     // answer to LeaseInput
  std::vector<LeaseAction> renewed;                    // answers to RenewInput, in order
  std::vector<std::string> forgotten;                  // workers
};

// Whether a worker with these devices free can run a job.
bool fits(const JobNeeds& needs, const WorkerRecord& worker,
          const std::map<std::string, std::uint32_t>& free);

// Whether a job waits before it is tried again. A backoff longer than any that is given means that the clock
// was set back since: it is over.
bool backs_off(const JobRecord& job, TimeMs now, const SchedulerOptions& options);

// Whether the worker is there and asks for jobs.
bool is_present(const WorkerRecord& worker, TimeMs now, const SchedulerOptions& options);
// Whether it may be leased jobs, too.
bool takes_jobs(const WorkerRecord& worker, TimeMs now, const SchedulerState& state);

// Applies one input at time `now`. Throws Error: NOT_FOUND (JOB_NOT_FOUND, WORKER_NOT_FOUND),
// FAILED_PRECONDITION (STALE_LEASE, JOB_ENDED, JOB_NOT_ENDED, JOB_CANCELLING), RESOURCE_EXHAUSTED
// (QUOTA_QUEUED).
Outcome step(const SchedulerInput& input, TimeMs now, SchedulerState& state);

// Jobs of the project that workers have.
std::uint64_t running_jobs(const std::string& project, const SchedulerState& state);
// Whether these are as many as its quota lets it run.
bool runs_all_it_may(const std::string& project, const SchedulerState& state);

// Puts a job that was stored back into the state (at start, after the workers).
void restore(JobRecord job, SchedulerState& state);

}  // namespace wring
