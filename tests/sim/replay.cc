// Which event may follow which.
#include "tests/sim/replay.h"

#include "common/error.h"

namespace wring::sim {
namespace {

void demand(bool holds, const char* invariant, const JobEvent& event, const std::string& what) {
  if (!holds)
    throw Violation{invariant, event.job,
                    "event " + std::to_string(event.number) + " (" + event.type + "): " + what};
}

Json error_of(const JobEvent& event) {
  return json_or<Json>(event.payload, "error", Json::object());
}

ErrorCode code_of(const Json& error) {
  return error_code_from_string(json_or<std::string>(error, "code", "UNKNOWN"));
}

bool is_infrastructure(ErrorCode code) {
  return code == ErrorCode::kUnavailable || code == ErrorCode::kAborted || code == ErrorCode::kDataLoss;
}

bool is_unexplained(ErrorCode code) {
  return code == ErrorCode::kInternal || code == ErrorCode::kUnknown;
}

std::string crash_of(const Json& error) {
  return json_or<std::string>(error, "reason", "") + "/" + std::to_string(json_or<int>(error, "signal", 0)) +
         "/" + std::to_string(json_or<int>(error, "stage", -1));
}

}  // namespace

void Replay::apply(const JobEvent& event) {
  demand(event.number == events + 1, "events-numbered", event, "follows event " + std::to_string(events));
  ++events;
  pause_follows = false;
  if (event.type == "queued") {
    queued(event);
  } else if (event.type == "leased") {
    leased(event);
  } else if (event.type == "stage_started" || event.type == "stage_done") {
    stage(event);
  } else if (event.type == "paused" || event.type == "resumed") {
    paused_or_resumed(event);
  } else if (event.type == "cancelling") {
    demand(phase == JobPhase::kRunning, "phases", event, "the job is not running");
    phase = JobPhase::kCancelling;
  } else if (event.type == "released") {
    released(event);
  } else {
    ended(event);
  }
  demand(event.phase == phase, "phases", event, "says " + std::string(to_string(event.phase)));
  demand(event.attempt == attempt, "attempts-counted", event,
         "says attempt " + std::to_string(event.attempt) + ", counted " + std::to_string(attempt));
}

void Replay::queued(const JobEvent& event) {
  demand(event.number == 1, "phases", event, "is not the first");
}

void Replay::leased(const JobEvent& event) {
  demand(phase == JobPhase::kQueued, "one-holder", event, "the job is " + std::string(to_string(phase)));
  demand(!paused, "paused-jobs-rest", event, "the job is paused");
  ++attempt;
  demand(attempt - attempt_base <= max_attempts, "attempts-bounded", event,
         std::to_string(attempt - attempt_base) + " of " + std::to_string(max_attempts));
  phase = JobPhase::kRunning;
  stages.clear();
  worker = json_or<std::string>(event.payload, "worker", "");
}

void Replay::paused_or_resumed(const JobEvent& event) {
  const bool pauses = event.type == "paused";
  demand(paused != pauses, "told-twice-stored-once", event, "it was so before");
  demand(phase == JobPhase::kQueued || (pauses && phase == JobPhase::kRunning), "phases", event,
         "the job is " + std::string(to_string(phase)));
  if (phase == JobPhase::kRunning) --attempt;
  phase = JobPhase::kQueued;
  paused = pauses;
}

void Replay::stage(const JobEvent& event) {
  demand(is_held(phase), "phases", event, "nobody holds the job");
  const auto told = std::pair{json_at<std::uint32_t>(event.payload, "index", "payload"),
                              json_at<std::string>(event.payload, "state", "payload")};
  demand(stages.insert(told).second, "told-twice-stored-once", event,
         "stage " + std::to_string(told.first) + " " + told.second);
}

void Replay::released(const JobEvent& event) {
  const auto reason = json_or<std::string>(event.payload, "reason", "");
  if (reason == "asked for") {
    demand(phase == JobPhase::kFailed || phase == JobPhase::kCancelled, "one-terminal-state", event,
           "a retry of a job that is " + std::string(to_string(phase)));
    attempt_base = attempt;
    failures = 0;
    last_crash.clear();
    too_small.clear();
    ++runs;
  } else {
    demand(phase != JobPhase::kCancelling, "cancel-kept", event, "a cancelled job is queued again");
    demand(phase == JobPhase::kRunning, "one-terminal-state", event, "nobody held the job");
    if (reason == "the worker drains") {
      --attempt;
    } else {
      failed_attempt(event);
    }
  }
  phase = JobPhase::kQueued;
}

void Replay::failed_attempt(const JobEvent& event) {
  const Json error = error_of(event);
  const auto code = code_of(error);
  const bool memory = json_or<std::string>(error, "reason", "") == "OUT_OF_MEMORY";
  demand(is_infrastructure(code) || is_unexplained(code) || memory, "user-errors-are-final", event,
         std::string(to_string(code)) + " is tried again");
  if (memory) too_small.insert(worker);
  demand(attempt - attempt_base < max_attempts, "attempts-bounded", event, "no attempt is left");
  if (is_unexplained(code)) {
    demand(last_crash != crash_of(error), "poison-jobs-end", event, "it crashed twice as " + last_crash);
    last_crash = crash_of(error);
  }
  ++failures;
  pause_follows = true;
}

void Replay::ended(const JobEvent& event) {
  demand(!is_terminal(phase), "one-terminal-state", event, "after it was " + std::string(to_string(phase)));
  demand(++ends <= runs + 1, "one-terminal-state", event, "a second end of one run");
  paused = false;
  if (event.type == "succeeded") {
    demand(is_held(phase), "phases", event, "nobody held the job");
    phase = JobPhase::kSucceeded;
  } else if (event.type == "cancelled") {
    phase = JobPhase::kCancelled;
  } else {
    demand(event.type == "failed", "phases", event, "an unknown event");
    demand(phase != JobPhase::kCancelling, "cancel-kept", event, "a cancelled job fails");
    const Json error = error_of(event);
    const auto reason = json_or<std::string>(error, "reason", "");
    const bool timeout = reason == "QUEUED_TIMEOUT" || reason == "TOTAL_TIMEOUT";
    demand(phase == JobPhase::kRunning || (timeout && phase == JobPhase::kQueued), "phases", event,
           "the job was not running");
    const bool used_up = attempt - attempt_base >= max_attempts;
    const auto code = code_of(error);
    if (is_infrastructure(code)) demand(used_up, "failed-without-cause", event, "attempts were left");
    if (is_unexplained(code))
      demand(used_up || crash_of(error) == last_crash, "failed-without-cause", event,
             "crashed once this way");
    phase = JobPhase::kFailed;
  }
}

}  // namespace wring::sim
