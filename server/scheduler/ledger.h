// The scheduler's state and how far the disk has it: what is to be written, when an ended job may leave the
// memory, and what a restart makes of the rows.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace wring {

// What a restart finds on disk.
struct StoredState {
  std::uint64_t epoch = 1, highest_sequence = 0, highest_fence = 0;
  std::vector<WorkerRecord> workers;
  std::vector<JobRecord> open_jobs;          // all that have not ended
  std::map<ShareKey, std::uint64_t> served;  // n of each share's newest lease
  std::set<std::string> paused_projects, paused_workers;
  std::map<std::string, Quota> quotas;
};

// What the caller owes the disk before it may answer.
enum class Write {
  kNothing,  // answer at once
  kOrder,    // told again: an empty write, so that the answer comes once the first telling is on disk
  kOutcome   // the outcome, in one transaction
};

struct LedgerEntry {
  Outcome outcome;
  Write write = Write::kNothing;
};

// One thread at a time. The caller writes entries in the order in which apply() made them, answers none
// before it is on disk, and calls stored() then. Reads of a job come from the disk, which is never older than
// the memory by more than what is being written.
class Ledger {
 public:
  // The committed record of a job.
  using Load = std::function<std::optional<JobRecord>(const std::string& id)>;

  // Takes up where the disk left off: queued jobs are queued, leases hold for one more lease time.
  Ledger(const SchedulerOptions& options, StoredState stored, TimeMs now);

  // One step. `job`, where not empty, is loaded before and its etag, where not empty, compared. Throws what
  // step() throws, and kAborted "ETAG_MISMATCH"; nothing has changed then.
  LedgerEntry apply(const SchedulerInput& input, TimeMs now, const std::string& job, const std::string& etag,
                    const Load& load);

  // The outcome is on disk.
  void stored(const Outcome& outcome);

  // Throws where the job may not be deleted. From here until end_remove(), when it is gone from the disk
  // or could not be removed, it is not found.
  void begin_remove(const std::string& id, const std::string& etag, const Load& load);
  void end_remove(const std::string& id);

  // A request id is submitted by one caller at a time, so that two equal ones cannot both find it new.
  // Returns whether it was free; an empty one always is.
  bool begin_submit(const std::string& request_id);
  void end_submit(const std::string& request_id);

  const SchedulerState& state() const { return state_; }
  // The newest event on disk of a job that is in memory.
  std::optional<std::uint64_t> stored_event(const std::string& id) const;

 private:
  struct OnDisk {
    std::uint64_t version = 0, last_event = 0;
  };
  void load_if_absent(const std::string& id, const Load& load);
  void check_removable(const std::string& id, const std::string& etag) const;
  void drop_if_ended(const std::string& id);
  void check_etag(const std::string& id, const std::string& etag) const;

  SchedulerState state_;
  std::map<std::string, OnDisk> on_disk_;  // of the jobs in state_
  std::set<std::string> submitting_;
  std::set<std::string> removing_;  // jobs
};

// The job that a request made before, given the stored (job, digest of the request). Throws kAlreadyExists
// "REQUEST_ID_REUSED" where that was another request.
std::optional<std::string> submitted_before(const std::optional<std::pair<std::string, std::string>>& stored,
                                            const std::string& digest);

}  // namespace wring
