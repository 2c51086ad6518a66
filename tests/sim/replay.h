// A job's history as its events tell it: a second opinion on what the scheduler made of the job.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "server/scheduler/scheduler.h"

namespace wring::sim {

// What an invariant says when it is broken.
struct Violation {
  std::string invariant, job, what;
};

// Throws Violation where an event may not follow those before.
struct Replay {
  JobPhase phase = JobPhase::kQueued;
  std::uint32_t attempt = 0, attempt_base = 0;
  std::uint32_t failures = 0;  // of infrastructure, since the last RetryJob
  std::uint64_t events = 0;
  std::uint32_t ends = 0, runs = 0;
  std::string last_crash;                                  // of the engine, as its error tells it
  std::set<std::pair<std::uint32_t, std::string>> stages;  // told under this lease
  std::uint32_t max_attempts = 0;
  std::string worker;               // that the newest lease went to
  std::set<std::string> too_small;  // workers on which this run was out of memory
  bool pause_follows = false;       // the last event put the job back after a failure
  bool paused = false;              // by PauseJob

  void apply(const JobEvent& event);

 private:
  void queued(const JobEvent& event);
  void leased(const JobEvent& event);
  void paused_or_resumed(const JobEvent& event);
  void stage(const JobEvent& event);
  void released(const JobEvent& event);
  void failed_attempt(const JobEvent& event);
  void ended(const JobEvent& event);
};

// Whether the job is leased.
inline bool is_held(JobPhase phase) {
  return phase == JobPhase::kRunning || phase == JobPhase::kCancelling;
}

}  // namespace wring::sim
