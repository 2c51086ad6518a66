// Events of jobs to outcomes of attempts.
#include "server/api/attempt_metrics.h"

#include <algorithm>

#include "common/json.h"

namespace wring {
namespace {

// Empty: the event ends no attempt.
std::string outcome_of(const JobEvent& event) {
  if (event.type == "succeeded" || event.type == "failed" || event.type == "cancelled") return event.type;
  if (event.type == "released") return event.payload.contains("error") ? "retried" : "released";
  return event.type == "paused" ? "released" : "";
}

}  // namespace

void AttemptMetrics::note(const Outcome& outcome) {
  for (const auto& event : outcome.events) note(event);
  if (!outcome.leased) return;
  const JobRecord& job = *outcome.leased;
  running_.insert(job.id);
  const TimeMs since = std::max(job.create_time, job.not_before);
  metrics_.job_waited(job.needs.device,
                      static_cast<double>(std::max<TimeMs>(0, job.start_time - since)) / 1000);
}

// A job that is cancelled or times out in the queue has no attempt that ends.
void AttemptMetrics::note(const JobEvent& event) {
  const std::string outcome = outcome_of(event);
  if (outcome.empty() || running_.erase(event.job) == 0) return;
  const Json error = json_or<Json>(event.payload, "error", Json::object());
  metrics_.attempt_ended(outcome, json_or<std::string>(error, "reason", ""));
}

}  // namespace wring
