// Makes the trials of sweeps: asks each sweep's strategy when a trial has ended, and notes what it came to.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "server/api/coordinator.h"
#include "server/store/sweep_rows.h"
#include "server/sweeps/strategy.h"

namespace wring {

// What a sweep asks of all of its jobs alike.
wring::v1::JobSpec trial_settings(const wring::v1::SweepSpec& spec, const Sweep& sweep);
// Of a model or of data, as the sweep's text calls it.
std::string digest_of(const std::string& text, const wring::v1::SweepSpec& spec);
// As a job would ask for the trial. Throws what trial_of() does.
TrialInputs inputs_of(const Sweep& sweep, const Proposal& proposal);

// One thread of its own; any thread may call. A trial and its job are stored in one transaction under the
// trial's number, so that a sweep that goes on after a crash makes none twice. What a strategy needs is built
// anew from the rows at start.
class SweepRunner {
 public:
  // All outlive it.
  SweepRunner(JobStore& store, Coordinator& coordinator, const Clock& clock);
  ~SweepRunner();
  SweepRunner(const SweepRunner&) = delete;
  SweepRunner& operator=(const SweepRunner&) = delete;

  void wake();
  // Held by who changes a sweep's row, and while a trial is made: a trial is made under the state that the
  // row has, and never after somebody was told that none would be.
  std::mutex& rows() { return rows_; }
  // Why no trial is made at the moment; empty where nothing is in the way.
  std::string waiting_reason(const std::string& sweep) const;
  // Strategy::state(); empty of a sweep that has ended.
  std::string strategy_state(const std::string& sweep) const;

 private:
  struct Live {
    StoredSweep stored;
    Sweep sweep;
    std::vector<TrialView> trials;  // by number
    std::size_t open = 0, succeeded = 0;
    std::uint64_t bytes = 0;
    std::size_t refused = 0;  // of the last trials, since the server's start
    std::string refusal;      // of the last of them
    std::unique_ptr<Strategy> strategy;
    std::string end_reason;  // once nothing is to be made any more
  };
  enum class Step { kMade, kWait, kDone };

  void run();
  template <typename Body>
  void guard(Body body);
  void round(bool look);
  void note_ends(std::vector<TrialEnd> ends);
  void see_end(const TrialEnd& end, const Json& outcome);
  void advance(const std::string& id);
  void rebuild(Live& live);
  void cancel_trials(const std::string& id);
  Step make_trial(Live& live);
  bool submit_trial(Live& live, const Proposal& proposal);
  void end(SweepRecord record, SweepPhase phase, const std::string& reason);
  void wait_for(const std::string& id, const std::string& reason);
  std::optional<StoredSweep> find(const std::string& id);

  JobStore& store_;
  Coordinator& coordinator_;
  const Clock& clock_;
  std::mutex rows_;
  std::map<std::string, Live> live_;  // of its thread alone
  mutable std::mutex mutex_;
  std::condition_variable news_;
  bool stopping_ = false, woken_ = true;
  std::vector<std::string> ended_;  // jobs that were heard of
  std::map<std::string, std::string> waiting_, states_;
  std::thread thread_;
};

}  // namespace wring
