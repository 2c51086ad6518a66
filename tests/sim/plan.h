// What one seed does: how large its world is, which faults it has, and what each worker and job is like.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace wring::sim {

enum class Fault {
  kLoss,
  kDuplicate,
  kDelay,
  kPartition,
  kToldFailed,  // applied, but the caller hears that the server is away
  kWorkerKill,
  kWorkerPause,    // SIGSTOP, and later SIGCONT
  kWorkerDrain,    // SIGTERM
  kCrash,          // of the coordinator, at any moment
  kCrashAtCommit,  // before the fsync, after it, or between two answers
  kClockForward,   // of the coordinator's wall clock
  kClockBack,
  kDiskFull,
  kEngine,   // engines that crash, run out of something, or refuse the recipe
  kRestore,  // a backup is taken, and later takes the place of the database
};
inline constexpr int kFaultKinds = 15;
std::string_view to_string(Fault fault);

struct WorkerPlan {
  std::map<std::string, std::uint32_t> devices;
  std::uint64_t memory_bytes = 0;
  std::set<std::string> methods;
};

struct JobPlan {
  JobNeeds needs;
  std::uint32_t max_attempts = 0;
  std::int32_t priority = 0;
  std::string project;
  TimeMs queued_timeout = 0, total_timeout = 0, max_runtime = 0;
  bool ends_in_time = true;  // its workers see to max_runtime; else it is left to the coordinator
  TimeMs submit_at = 0, cancel_at = -1, retry_at = -1, pause_at = -1, delete_at = -1;  // -1: never
  bool cancel_with_etag = false, delete_with_etag = false, submit_again = false, reuse_request = false;
  bool watched = false;
  std::vector<TimeMs> stages;
};

// Of a project or a worker: begins at a moment, and ends before the world is over.
struct PausePlan {
  PauseRecord::Kind kind = PauseRecord::Kind::kProject;
  std::string name;
  TimeMs at = 0, length = 0;
};

struct QuotaPlan {
  QuotaInput input;
  TimeMs at = 0;
};

// How an attempt at a job ends when nothing disturbs it.
enum class Ending { kSuccess, kUnavailable, kUserError, kOutOfMemory, kSameCrash, kOtherCrash };

// Everything is drawn from the seed; a smaller plan is a part of the larger one, which is how a failing seed
// is made short.
struct Plan {
  std::uint64_t seed = 0;
  std::uint32_t workers = 1, jobs = 1, clients = 1;
  TimeMs faults_end = 0;   // from then on the world is quiet
  bool late_jobs = false;  // some come when no fault has an effect any more
  std::array<bool, kFaultKinds> faults{};
  double loss = 0, duplicate = 0, delay = 0, told_failed = 0, crash_at_commit = 0;
  SchedulerOptions options;
  // Of the coordinator and its workers; a large world is slower, to stay affordable.
  TimeMs heartbeat_ms = 3'000, busy_ms = 750, poll_ms = 200, wake_ms = 2, tick_ms = 200, drain_ms = 5'000;

  TimeMs settled() const { return faults_end + 60'000; }  // from here on no fault has an effect
  bool has(Fault fault) const { return faults[static_cast<std::size_t>(fault)]; }
  WorkerPlan worker(std::uint32_t index) const;
  JobPlan job(std::uint32_t index) const;
  std::vector<PausePlan> pauses() const;
  std::vector<QuotaPlan> quotas() const;
  Ending ending(std::uint32_t job, std::uint32_t attempt) const;
};

// `workers` and `jobs`: 0 lets the seed choose, up to 50 workers.
Plan make_plan(std::uint64_t seed, std::uint32_t workers, std::uint32_t jobs);

}  // namespace wring::sim
