// Tells the metrics how long jobs waited and what became of each attempt, from what the scheduler did.
#pragma once

#include <set>
#include <string>

#include "server/http/metrics.h"
#include "server/scheduler/scheduler.h"

namespace wring {

// One thread at a time.
class AttemptMetrics {
 public:
  // `held`: (worker, job) of the attempts that go on from before.
  AttemptMetrics(Metrics& metrics, const std::set<std::pair<std::string, std::string>>& held)
      : metrics_(metrics) {
    for (const auto& [worker, job] : held) running_.insert(job);
  }

  // REQUIRES: outcomes come in the order of their steps.
  void note(const Outcome& outcome);

 private:
  void note(const JobEvent& event);

  Metrics& metrics_;
  std::set<std::string> running_;  // jobs whose attempts have not ended
};

}  // namespace wring
