// What must hold after every step, commit, answer and crash; throws Violation where it does not.
//
// It keeps books of its own: each job's record before the step, its history (Replay), when its lease was last
// renewed, what was acknowledged. What it expects follows from those, never from the scheduler's own fields.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>

#include "common/error.h"
#include "server/scheduler/ledger.h"
#include "tests/sim/replay.h"
#include "tests/sim/storage.h"

namespace wring::sim {

class World;

// Whose turn it is: by falling priority, then by the jobs that the project has on this kind of device, then
// by its newest lease there, then by submission.
using Turn = std::tuple<std::int64_t, std::uint32_t, std::uint64_t, std::uint64_t>;

class Invariants {
 public:
  explicit Invariants(World& world) : world_(world) {}

  void on_submit(const std::string& job, const SubmitCall& call);
  void on_cancel_asked(const std::string& job) { cancel_asked_.insert(job); }
  void on_step(const SchedulerInput& input, const std::string& etag, const LedgerEntry& entry,
               const SchedulerState& state);
  void on_refusal(const SchedulerInput& input, const std::string& etag, const Error& error);
  void on_commit(const Batch& batch, const Storage& storage);
  void on_answer(const Waiting& waiting, const Storage& storage);
  void on_remove(const std::string& job, const std::string& etag);  // the ledger lets it be deleted
  void on_removed(const std::string& job) { removing_.erase(job); }
  void on_backup() { backup_ = jobs_; }
  void on_restore(const Storage& storage);
  void on_crash(const Storage& storage);
  // What a client has seen of a job: by one watch, from its first event on.
  void on_watched(const std::string& job, const std::vector<JobEvent>& seen, const Storage& storage) const;
  // Whether it may be unknown, or known anew, though it was acknowledged: deleted, or made after a backup
  // that was restored, or on its way out in a crash: somebody may have been told that it is gone.
  bool may_be_gone(const std::string& job) const {
    return removing_.contains(job) || was_removing_.contains(job) || gone_.contains(job);
  }
  void on_recovery(const SchedulerState& state, const Storage& storage);
  void on_clock_jump(TimeMs by);
  void on_submitted(const std::string& request_id, const std::string& job);  // as the client was told
  void sweep(const SchedulerState& state) const;
  void at_end(const Storage& storage) const;

  std::uint64_t version(const std::string& job) const;
  TimeMs last_change() const { return last_change_; }

 private:
  struct Moment {  // by the true clock, and what the wall clock did until then
    TimeMs at = 0, forward = 0;
    std::uint32_t jumps_back = 0;
  };
  struct Known {
    JobRecord record;
    Replay replay;
    Moment renewed, queued;
    std::map<std::uint64_t, Moment> begins;  // submitted, or asked to be run again; by version
    const Moment& begun() const { return begins.rbegin()->second; }
    std::map<std::uint64_t, Moment> leases;  // that the record has had, by version
    const Moment& leased() const { return leases.rbegin()->second; }
    Moment waiting;                      // queued, or resumed since
    TimeMs pause = 0;                    // that followed `queued`
    bool unsure = false;                 // a crash took it back to a pause that the books no longer know
    std::pair<Fence, std::string> told;  // the end of an attempt, as told first
  };
  struct KnownWorker {
    WorkerRecord record;
    bool draining = false;
  };

  Moment moment() const { return {world_now(), forward_, jumps_back_}; }
  TimeMs world_now() const;
  TimeMs elapsed_at_most(const Moment& since) const;  // by the wall clock
  const Known* find(const std::string& job) const;
  void demand(bool holds, const char* invariant, const std::string& job, const std::string& what) const;

  void check(const SubmitInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const RegisterInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const LeaseInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const RenewInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const StageInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const FinishInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const CancelInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const RetryInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const PauseJobInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const PauseProjectInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const PauseWorkerInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const QuotaInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const SharedInput& input, const Outcome& outcome, const SchedulerState& state);
  void check(const TickInput& input, const Outcome& outcome, const SchedulerState& state);

  void check_grant(const LeaseInput& input, const JobRecord& job, const SchedulerState& state) const;
  Turn turn_of(const JobRecord& job) const;
  bool is_paused(const JobRecord& job) const;
  Quota quota_of(const std::string& project) const;
  std::uint64_t queued_of(const std::string& project) const;
  bool runs_all_it_may(const std::string& project) const;
  void check_queue_quota(const std::string& project, const std::string& job) const;
  void check_paused(PauseRecord::Kind kind, const std::string& name, bool paused, const Outcome& outcome);
  void check_order(const LeaseInput& input, const JobRecord* granted) const;
  bool has_outgrown_less(const Known& known, const WorkerRecord& worker) const;
  bool may_be_granted(const Known& known, const KnownWorker& worker, const LeaseInput& input) const;
  void check_lost(const Known& known) const;
  void check_timed_out(const Known& known, const JobRecord& after) const;
  void check_run_out(const Known& known) const;
  void check_overdue(const Known& known) const;
  void check_end(const FinishInput& input, const Known& before, const JobRecord& after) const;
  void check_etag(const SchedulerInput& input, const std::string& etag) const;
  void take_in(const Outcome& outcome);
  void take_in(const JobRecord& record);
  void check_pause(const Known& known) const;
  void forget(const std::string& job, const Storage& storage);
  void forget(const std::string& job);
  Known known_from(const Row& row) const;

  World& world_;
  std::unordered_map<std::string, Known> jobs_, backup_;
  std::set<std::string> removing_, was_removing_, gone_;
  std::map<Fence, std::string> fences_;  // told to a worker, and of which job
  std::set<std::string> queue_, held_;
  Storage::Pauses pauses_;
  std::map<std::string, Quota> quotas_;
  std::map<std::pair<std::string, std::string>, std::pair<std::uint32_t, std::uint64_t>>
      shares_;  // (project, device) -> (jobs leased, n of the newest lease)
  std::uint64_t newest_lease_ = 0;
  std::map<std::string, KnownWorker> workers_;
  std::map<std::string, std::uint32_t> plan_of_;
  std::set<std::string> cancel_asked_;
  std::map<std::string, std::uint64_t> acknowledged_;  // job -> version that somebody was told of
  std::map<std::string, std::set<std::uint64_t>> acknowledged_stages_;  // numbers of their events
  std::map<std::string, std::string> request_of_;                       // job -> request id
  std::map<std::string, std::string> job_of_request_;                   // as acknowledged
  std::map<std::string, JobRecord> succeeded_;
  TimeMs forward_ = 0, last_change_ = 0;
  std::uint32_t jumps_back_ = 0;
  std::uint64_t steps_ = 0;
};

}  // namespace wring::sim
