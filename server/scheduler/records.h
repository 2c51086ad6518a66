// What the scheduler knows of jobs and workers.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/clock.h"
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
inline constexpr JobPhase kPhases[] = {JobPhase::kQueued,    JobPhase::kRunning, JobPhase::kCancelling,
                                       JobPhase::kSucceeded, JobPhase::kFailed,  JobPhase::kCancelled};

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
  std::uint64_t outgrown_bytes = 0;  // memory that was too little for it: only a worker with more fits
  std::string worker_class = {};     // only a worker of this class fits; empty: any
  auto operator<=>(const JobNeeds&) const = default;
};

inline constexpr const char* kDefaultProject = "default";

// All that the scheduler knows of a job.
struct JobRecord {
  std::string id;
  std::uint64_t sequence = 0;  // order of submission
  std::int32_t priority = 0;   // a higher one goes first
  std::string project = kDefaultProject;
  JobPhase phase = JobPhase::kQueued;
  bool paused = false;  // queued, and not to be leased
  JobNeeds needs;
  std::uint32_t attempt = 0;       // leases so far that count
  std::uint32_t attempt_base = 0;  // of them, those before the last RetryJob
  std::uint32_t max_attempts = 5;
  std::uint32_t failures = 0;  // of infrastructure, in a row
  std::string worker;
  Fence fence;
  TimeMs lease_until = 0;
  TimeMs not_before = 0;                         // backoff
  TimeMs queued_timeout = 0, total_timeout = 0;  // lengths; 0: none
  TimeMs max_runtime = 0;                        // of one attempt
  TimeMs queued_until = 0, total_until = 0;  // when those of this stay in the queue and of this run are over
  TimeMs attempt_until = 0;  // when that of this attempt is over, though its worker says nothing
  TimeMs create_time = 0, start_time = 0, end_time = 0;
  std::string crash_signature;  // of the last attempt that failed without an explanation
  std::string request_id;       // of the call that submitted it, for logs
  std::string told_outcome;     // of the newest lease, as its worker told it; empty: not told
  std::set<std::pair<std::uint32_t, std::string>> reported;  // (stage, state) under the newest lease
  std::vector<std::string> prefixes;                         // of prefix_names(); empty: not told
  std::uint32_t stages_made = 0;                             // of the prefixes, under the newest lease
  std::string result;                                        // artifact digest
  std::optional<Json> error;                                 // Error::to_json plus stage, signal, last_log
  std::uint64_t last_event = 0;
  std::uint64_t version = 0;  // rises with every change: the etag
};

struct WorkerRecord {
  std::string id;
  std::map<std::string, std::uint32_t> devices;  // kind -> count
  std::uint64_t memory_bytes = 0;
  std::set<std::string> methods;
  std::set<std::string> classes;  // kinds of machine that it says it is of
  TimeMs last_seen = 0;
  bool draining = false;
  std::set<std::string> jobs;  // leased to it
  bool had_job = false;        // since it registered
  TimeMs polled = 0;           // when it last asked and got nothing; 0: it has got a job since
  std::map<std::string, std::uint32_t> free_devices;  // that it asked for
};

// What a project may have; 0: no limit.
struct Quota {
  std::uint64_t queued = 0, running = 0;  // jobs
  std::uint64_t bytes = 0;                // of blobs; whoever takes them in sees to it
  bool operator==(const Quota&) const = default;
};

// A project or a worker whose pause began or ended.
struct PauseRecord {
  enum class Kind { kProject = 1, kWorker = 2 };
  Kind kind = Kind::kProject;
  std::string name;  // of a worker: its id
  bool paused = false;
};

}  // namespace wring
