// Rows of sweeps and of their trials. Functions that write run within JobStore::change(), those that read
// within JobStore::read().
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/store/job_store.h"
#include "wring/v1/sweeps.pb.h"

namespace wring {

enum class SweepPhase {
  kRunning = 1,
  kPaused = 2,
  kStopping = 3,
  kCancelling = 4,
  kSucceeded = 5,
  kFailed = 6,
  kStopped = 7,
  kCancelled = 8
};

inline bool has_ended(SweepPhase phase) {
  return phase >= SweepPhase::kSucceeded;
}

// What changes of a sweep.
struct SweepRecord {
  std::string id;
  std::uint64_t sequence = 0;
  std::string project;
  SweepPhase phase = SweepPhase::kRunning;
  TimeMs create_time = 0, end_time = 0;
  std::uint64_t version = 1;
  std::uint64_t trials = 0, bytes = 0;  // bounds; 0: none
  double seconds = 0;
  std::vector<std::uint64_t> extents;  // trials that were asked for at first, and by each extension
  bool exhausted = false;              // the strategy has nothing more to try
  std::string end_reason;
};

struct StoredSweep {
  SweepRecord record;
  v1::SweepSpec spec;
};

// A trial as it is stored. `phase` is 0 until its end is noted; `outcome` then holds {metrics: [{suite,
// metric, value, unit, baseline, stderr}], result, bytes, seconds, error}.
struct TrialRow {
  std::string sweep;
  std::uint64_t number = 0;
  std::string job;  // empty: none could be made
  int phase = 0;
  Json point, outcome;
};

// An end that is not noted yet: of a trial whose job has ended, or is not there any more (phase 0).
struct TrialEnd {
  std::string sweep, job;
  std::uint64_t number = 0;
  int phase = 0;
};

struct TrialCounts {
  std::uint64_t made = 0, queued = 0, running = 0, succeeded = 0, failed = 0, cancelled = 0, bytes = 0;
};

// What stages of trials took from caches.
struct TrialSavings {
  std::uint64_t stages = 0, cached = 0, bytes = 0;
  double seconds = 0;
};

void put_trial(Connection& db, const NewTrial& trial, const std::string& job);
// One that failed before it was a job.
void put_failed_trial(Connection& db, const NewTrial& trial, const Json& error);
void put_trial_end(Connection& db, const TrialEnd& end, const Json& outcome);

void put_sweep(Connection& db, const StoredSweep& sweep, const std::string& request_id,
               const std::string& request_digest);
void update_sweep(Connection& db, const SweepRecord& record);
void remove_sweep(Connection& db, const std::string& id);

std::optional<StoredSweep> find_sweep(Connection& db, const std::string& id);
// Id and digest of the sweep that a request made before.
std::optional<std::pair<std::string, std::string>> find_sweep_request(Connection& db,
                                                                      const std::string& request_id);
// Throws kNotFound "SWEEP_NOT_FOUND", kInvalidArgument "AMBIGUOUS".
std::string resolve_sweep(Connection& db, const std::string& prefix, const Within& project,
                          const char* field = "id");
std::vector<StoredSweep> list_sweeps(Connection& db, const Within& project, std::uint64_t before_sequence,
                                     int limit);
std::vector<std::string> open_sweeps(Connection& db);  // ids, oldest first
std::uint64_t highest_sweep_sequence(Connection& db);

// From number `from` on; a trial that has not ended has its job's phase.
std::vector<TrialRow> list_trials(Connection& db, const std::string& sweep, std::uint64_t from, int limit);
TrialCounts count_trials(Connection& db, const std::string& sweep);
TrialSavings sum_savings(Connection& db, const std::string& sweep);
// Jobs of the sweep's trials that have not ended.
std::vector<std::string> open_trial_jobs(Connection& db, const std::string& sweep);
// Ends to be noted: of open trials, or, where `all`, also of those whose job was retried since.
std::vector<TrialEnd> ends_to_note(Connection& db, bool all);
// Sweep and number of the trial that is this job; nullopt: it is none.
std::optional<std::pair<std::string, std::uint64_t>> trial_of_job(Connection& db, const std::string& job);
// Of the trial that is this job, where its end differs from what is noted.
std::optional<TrialEnd> end_to_note(Connection& db, const std::string& job);

void add_inputs_of_open_sweeps(Connection& db, std::set<std::pair<std::string, std::string>>& inputs);

}  // namespace wring
