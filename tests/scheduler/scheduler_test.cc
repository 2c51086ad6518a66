// The scheduler's rules, one step at a time.
#include "server/scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wring {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A scheduler with a clock that the test moves, and one worker "w" with a CPU that knows rtn and gptq.
class Scheduling : public testing::Test {
 protected:
  Scheduling() { add_worker("w"); }

  Outcome apply(const SchedulerInput& input) { return step(input, now_, state_); }

  void add_worker(const std::string& id, std::map<std::string, std::uint32_t> devices = {{"cpu", 1}},
                  std::set<std::string> methods = {"rtn@1", "gptq@1"}, std::uint64_t memory = 8ull << 30) {
    WorkerRecord worker;
    worker.id = id;
    worker.devices = std::move(devices);
    worker.methods = std::move(methods);
    worker.memory_bytes = memory;
    apply(RegisterInput{worker});
  }

  void submit(const std::string& id, JobNeeds needs = {"cpu", 1, 0, {"rtn@1"}},
              std::uint32_t max_attempts = 0) {
    apply(SubmitInput{id, std::move(needs), max_attempts});
  }

  void submit_to(const std::string& project, const std::string& id, std::int32_t priority = 0,
                 const std::string& device = "cpu") {
    apply(SubmitInput{id, {device, 1, 0, {"rtn@1"}}, 0, priority, project});
  }

  // The job leased, or one with an empty id.
  JobRecord lease(const std::string& worker = "w", std::map<std::string, std::uint32_t> free = {{"cpu", 1}}) {
    return apply(LeaseInput{worker, std::move(free)}).leased.value_or(JobRecord{});
  }

  LeaseAction renew(const std::string& job, const Fence& fence) {
    return apply(RenewInput{"w", {{job, fence}}, false}).renewed.at(0);
  }

  Outcome finish(const std::string& job, const Fence& fence, const std::string& outcome,
                 std::optional<Json> error = {}) {
    return apply(FinishInput{job, fence, outcome, outcome == "succeeded" ? "result" : "", std::move(error)});
  }

  Outcome report(const std::string& job, const Fence& fence, std::uint32_t stage, const std::string& state) {
    return apply(StageInput{job, fence, stage, state, {}});
  }

  const JobRecord& job(const std::string& id = "j") { return state_.jobs.at(id); }

  // The reason of the error that `body` throws; nothing of the jobs may have changed then.
  template <typename Body>
  std::string refused(Body body) {
    std::map<std::string, std::uint64_t> versions;
    for (const auto& [id, record] : state_.jobs) versions[id] = record.version;
    try {
      body();
    } catch (const Error& error) {
      for (const auto& [id, record] : state_.jobs) EXPECT_EQ(record.version, versions[id]);
      return error.reason();
    }
    return "";
  }

  static Json error(const char* code, const char* reason = "", int signal = 0, int stage = -1) {
    return {{"code", code}, {"reason", reason}, {"signal", signal}, {"stage", stage}};
  }

  TimeMs now_ = 1'000'000;
  SchedulerState state_;
};

class Lease : public Scheduling {};
class Fairness : public Scheduling {};
class FenceRule : public Scheduling {};
class Cancel : public Scheduling {};
class Retry : public Scheduling {};
class Matching : public Scheduling {};
class Pauses : public Scheduling {};

class Timeouts : public Scheduling {
 protected:
  void submit_within(TimeMs queued, TimeMs total) {
    SubmitInput input{"j", {"cpu", 1, 0, {"rtn@1"}}};
    input.queued_timeout = queued;
    input.total_timeout = total;
    apply(input);
  }
  void tick_at(TimeMs time) {
    now_ = time;
    apply(TickInput{});
  }
  std::string failed_of() { return job().error ? (*job().error)["reason"].get<std::string>() : ""; }
};

TEST_F(Lease, GoesToTheJobThatWasSubmittedFirst) {
  add_worker("v");
  submit("a");
  submit("b");
  EXPECT_EQ(lease("w").id, "a");
  EXPECT_EQ(lease("v").id, "b");
  add_worker("u");
  EXPECT_EQ(lease("u").id, "");
}

TEST_F(Lease, GoesToTheHighestPriorityThenToTheFirstSubmittedAlsoAfterARestart) {
  add_worker("w");
  const JobNeeds needs{"cpu", 1, 0, {"rtn@1"}};
  apply(SubmitInput{"low", needs, 0, -1});
  apply(SubmitInput{"usual", needs});
  apply(SubmitInput{"high", needs, 0, 5});
  apply(SubmitInput{"high too", needs, 0, 5});
  EXPECT_EQ(lease().id, "high");
  finish("high", job("high").fence, "succeeded");
  SchedulerState restarted;
  restarted.workers = state_.workers;
  for (const auto& [id, record] : state_.jobs)
    if (!is_terminal(record.phase)) restore(record, restarted);
  state_ = std::move(restarted);
  for (const char* id : {"high too", "usual", "low"}) {
    EXPECT_EQ(lease().id, id);
    finish(id, job(id).fence, "succeeded");
  }
}

TEST_F(Lease, ThatIsNotRenewedReturnsItsJobToTheQueue) {
  submit("j");
  const auto leased = lease();
  report("j", leased.fence, 0, "running");
  report("j", leased.fence, 0, "done");
  now_ += state_.options.lease_ms - 1;
  apply(TickInput{});
  EXPECT_EQ(job().phase, JobPhase::kRunning);
  now_ += 1 + state_.options.lease_ms;
  apply(TickInput{});
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  now_ += state_.options.max_backoff_ms;
  const auto again = lease();
  EXPECT_EQ(again.id, "j");
  EXPECT_EQ(again.attempt, 2u);
  EXPECT_GT(again.fence, leased.fence);
}

TEST_F(Lease, ThatIsRenewedIsKeptForAsLongAsItIs) {
  submit("j");
  const auto leased = lease();
  for (int i = 0; i < 10; ++i) {
    now_ += state_.options.lease_ms - 1;
    EXPECT_EQ(renew("j", leased.fence), LeaseAction::kContinue);
    apply(TickInput{});
  }
  EXPECT_EQ(job().phase, JobPhase::kRunning);
}

TEST_F(Lease, ThatRanOutIsAnsweredWithLost) {
  submit("j");
  const auto leased = lease();
  now_ += state_.options.lease_ms;
  apply(TickInput{});
  EXPECT_EQ(renew("j", leased.fence), LeaseAction::kLost);
  EXPECT_EQ(renew("another", leased.fence), LeaseAction::kLost);
}

TEST_F(Lease, OfASilentWorkerEndsInALeasesTimeWhereTheClockIsSetBack) {
  submit("j");
  lease();
  now_ -= 1'000'000;
  apply(TickInput{});
  EXPECT_EQ(job().phase, JobPhase::kRunning);
  now_ += state_.options.lease_ms;
  apply(TickInput{});
  EXPECT_EQ(job().phase, JobPhase::kQueued);
}

TEST_F(Lease, OfAReleasedJobDoesNotCountAsAnAttempt) {
  submit("j", {"cpu", 1, 0, {}}, 1);
  for (int i = 0; i < 5; ++i) {
    const auto leased = lease();
    ASSERT_EQ(leased.id, "j");
    EXPECT_EQ(leased.attempt, 1u);
    finish("j", leased.fence, "released");
  }
  EXPECT_EQ(job().phase, JobPhase::kQueued);
}

TEST_F(Lease, OfAWorkerThatComesBackWithoutItsJobIsOverAtOnce) {
  submit("j");
  const auto old = lease();
  add_worker("w");  // it was killed, started again, and asks for work with all devices free
  EXPECT_EQ(lease().id, "");
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  now_ = job().not_before;
  const auto again = lease();
  EXPECT_EQ(again.id, "j");
  EXPECT_EQ(refused([&] { finish("j", old.fence, "succeeded"); }), "STALE_LEASE");
}

TEST_F(Lease, OfAWorkerThatAsksForMoreWorkIsKeptWhileItUsesADevice) {
  add_worker("w", {{"cpu", 2}});
  submit("a");
  submit("b");
  EXPECT_EQ(lease("w", {{"cpu", 2}}).id, "a");
  EXPECT_EQ(lease("w", {{"cpu", 1}}).id, "b");
  EXPECT_EQ(job("a").phase, JobPhase::kRunning);
  add_worker("w", {{"cpu", 2}});
  EXPECT_EQ(state_.workers.at("w").jobs.size(), 2u);
  finish("a", job("a").fence, "succeeded");
  EXPECT_EQ(state_.workers.at("w").jobs.size(), 1u);
}

TEST_F(Lease, IsNotGivenToAWorkerThatDrains) {
  submit("j");
  apply(RenewInput{"w", {}, true});
  EXPECT_EQ(lease().id, "");
}

TEST_F(Lease, OfAnUnknownWorkerIsRefused) {
  EXPECT_EQ(refused([&] { lease("nobody"); }), "WORKER_NOT_FOUND");
}

TEST_F(Fairness, WorkersGoToTheProjectThatHasTheFewest) {
  for (const char* id : {"a1", "a2", "a3", "a4"}) submit_to("a", id);
  for (const char* id : {"b1", "b2"}) submit_to("b", id);
  std::vector<std::string> order;
  for (int i = 0; i < 6; ++i) {
    add_worker("v" + std::to_string(i));
    order.push_back(lease("v" + std::to_string(i)).id);
  }
  EXPECT_THAT(order, ElementsAre("a1", "b1", "a2", "b2", "a3", "a4"));
}

TEST_F(Fairness, OneWorkerServesProjectsInTurnEachInTheOrderOfItsSubmits) {
  for (const char* id : {"a1", "a2", "a3"}) submit_to("a", id);
  for (const char* id : {"b1", "b2"}) submit_to("b", id);
  submit_to("c", "c1");
  std::vector<std::string> order;
  for (int i = 0; i < 6; ++i) {
    order.push_back(lease().id);
    finish(order.back(), job(order.back()).fence, "succeeded");
  }
  EXPECT_THAT(order, ElementsAre("a1", "b1", "c1", "a2", "b2", "a3"));
}

TEST_F(Fairness, APriorityGoesBeforeAShare) {
  submit_to("a", "a1");
  submit_to("a", "a2", 1);
  submit_to("a", "a3", 1);
  submit_to("b", "b1");
  for (const char* id : {"a2", "a3", "b1", "a1"}) {
    add_worker(id);
    EXPECT_EQ(lease(id).id, id);
  }
}

TEST_F(Fairness, AProjectWithManyJobsOnCpusHasItsTurnOnTheGpus) {
  add_worker("g", {{"cuda", 1}});
  for (const char* id : {"a1", "a2", "a3"}) {
    submit_to("a", id);
    add_worker(id);
    ASSERT_EQ(lease(id).id, id);
  }
  submit_to("b", "b1", 0, "cuda");
  finish("b1", apply(LeaseInput{"g", {{"cuda", 1}}}).leased.value_or(JobRecord{}).fence, "succeeded");
  submit_to("b", "b2", 0, "cuda");
  submit_to("a", "a4", 0, "cuda");
  EXPECT_EQ(lease("g", {{"cuda", 1}}).id, "a4");
}

TEST_F(Fairness, AProjectWhoseJobsFitNoWorkerHoldsUpNoOther) {
  submit_to("a", "a1", 5, "cuda");
  submit_to("b", "b1");
  EXPECT_EQ(lease().id, "b1");
}

TEST_F(Fairness, AJobThatIsPutBackGivesItsWorkerBackToo) {
  submit_to("a", "a1");
  submit_to("b", "b1");
  finish("a1", lease().fence, "released");
  EXPECT_EQ(state_.shares.at({"a", "cpu"}).running, 0u);
  EXPECT_EQ(lease().id, "b1");  // a was served last
}

TEST_F(FenceRule, ACommitUnderAnOlderOneIsRefusedAndChangesNothing) {
  submit("j");
  const auto old = lease().fence;
  now_ += state_.options.lease_ms;
  apply(TickInput{});
  now_ += state_.options.max_backoff_ms;
  const auto newer = lease().fence;
  EXPECT_EQ(refused([&] { report("j", old, 0, "done"); }), "STALE_LEASE");
  for (const char* outcome : {"succeeded", "failed", "cancelled", "released"})
    EXPECT_EQ(refused([&] { finish("j", old, outcome); }), "STALE_LEASE") << outcome;
  EXPECT_EQ(job().phase, JobPhase::kRunning);
  EXPECT_THAT(job().reported, IsEmpty());
  finish("j", newer, "succeeded");
  EXPECT_EQ(job().phase, JobPhase::kSucceeded);
}

TEST_F(FenceRule, OfAnotherEpochIsRefused) {
  submit("j");
  const auto fence = lease().fence;
  EXPECT_EQ(refused([&] { finish("j", {fence.epoch - 1, fence.n}, "succeeded"); }), "STALE_LEASE");
}

TEST_F(FenceRule, ASuccessToldTwiceIsStoredOnce) {
  submit("j");
  const auto fence = lease().fence;
  EXPECT_EQ(finish("j", fence, "succeeded").changed.size(), 1u);
  EXPECT_THAT(finish("j", fence, "succeeded").changed, IsEmpty());
  EXPECT_EQ(refused([&] { finish("j", fence, "failed", error("INVALID_ARGUMENT")); }), "STALE_LEASE");
}

TEST_F(FenceRule, AReleaseOrARetriedFailureToldTwiceIsStoredOnce) {
  submit("j");
  const auto first = lease().fence;
  finish("j", first, "released");
  EXPECT_THAT(finish("j", first, "released").changed, IsEmpty());
  const auto second = lease().fence;
  finish("j", second, "failed", error("UNAVAILABLE"));
  EXPECT_THAT(finish("j", second, "failed", error("UNAVAILABLE")).changed, IsEmpty());
  EXPECT_EQ(job().phase, JobPhase::kQueued);
}

TEST_F(FenceRule, AStageToldTwiceUnderOneLeaseIsOneEvent) {
  submit("j");
  const auto fence = lease().fence;
  EXPECT_EQ(report("j", fence, 0, "done").events.size(), 1u);
  EXPECT_THAT(report("j", fence, 0, "done").changed, IsEmpty());
  EXPECT_EQ(report("j", fence, 1, "done").events.size(), 1u);
}

TEST_F(FenceRule, EventsAreNumberedFromOneWithoutHoles) {
  std::vector<std::uint64_t> numbers;
  const auto note = [&](const Outcome& outcome) {
    for (const auto& event : outcome.events) numbers.push_back(event.number);
  };
  note(apply(SubmitInput{"j", {}, 0}));
  const auto leased = apply(LeaseInput{"w", {{"cpu", 1}}});
  note(leased);
  note(report("j", leased.leased->fence, 0, "pending"));
  note(report("j", leased.leased->fence, 0, "running"));
  note(report("j", leased.leased->fence, 0, "done"));
  note(finish("j", leased.leased->fence, "succeeded"));
  EXPECT_THAT(numbers, ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(Cancel, OfAQueuedJobEndsItAtOnce) {
  submit("j");
  apply(CancelInput{"j"});
  EXPECT_EQ(job().phase, JobPhase::kCancelled);
  EXPECT_EQ(lease().id, "");
  EXPECT_THAT(apply(CancelInput{"j"}).changed, IsEmpty());
}

TEST_F(Cancel, OfARunningJobAsksItsWorkerAndEndsWhenItHasStopped) {
  submit("j");
  const auto fence = lease().fence;
  apply(CancelInput{"j"});
  EXPECT_EQ(job().phase, JobPhase::kCancelling);
  EXPECT_EQ(renew("j", fence), LeaseAction::kCancel);
  finish("j", fence, "cancelled");
  EXPECT_EQ(job().phase, JobPhase::kCancelled);
}

TEST_F(Cancel, OfAJobWhoseWorkerHasDiedEndsWithTheLease) {
  submit("j");
  lease();
  apply(CancelInput{"j"});
  now_ += state_.options.lease_ms;
  apply(TickInput{});
  EXPECT_EQ(job().phase, JobPhase::kCancelled);
}

TEST_F(Cancel, IsNotOvertakenByAFailureOrARelease) {
  for (const char* outcome : {"failed", "released"}) {
    submit(outcome);
    const auto fence = lease().fence;
    apply(CancelInput{outcome});
    finish(outcome, fence, outcome, error("UNAVAILABLE"));
    EXPECT_EQ(job(outcome).phase, JobPhase::kCancelled);
  }
}

TEST_F(Cancel, ThatComesAfterTheLastStageLeavesTheSuccess) {
  submit("j");
  const auto fence = lease().fence;
  apply(CancelInput{"j"});
  finish("j", fence, "succeeded");
  EXPECT_EQ(job().phase, JobPhase::kSucceeded);
  EXPECT_EQ(refused([&] { apply(CancelInput{"j"}); }), "JOB_ENDED");
}

TEST_F(Retry, AUserErrorIsNeverTriedAgain) {
  for (const char* code : {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "RESOURCE_EXHAUSTED"}) {
    submit(code);
    finish(code, lease().fence, "failed", error(code));
    EXPECT_EQ(job(code).phase, JobPhase::kFailed) << code;
    EXPECT_EQ((*job(code).error)["code"], code);
  }
}

TEST_F(Retry, InfrastructureIsTriedAgainWithGrowingPausesUntilTheAttemptsAreUsedUp) {
  submit("j", {"cpu", 1, 0, {}}, 4);
  std::vector<TimeMs> pauses;
  for (int attempt = 1; attempt <= 4; ++attempt) {
    const auto leased = lease();
    ASSERT_EQ(leased.attempt, static_cast<std::uint32_t>(attempt));
    finish("j", leased.fence, "failed", error("UNAVAILABLE"));
    if (job().phase != JobPhase::kQueued) break;
    EXPECT_EQ(lease().id, "") << "leased before its pause was over";
    pauses.push_back(job().not_before - now_);
    now_ = job().not_before;
  }
  EXPECT_THAT(pauses, ElementsAre(1000, 2000, 4000));
  EXPECT_EQ(job().phase, JobPhase::kFailed);
}

TEST_F(Retry, APauseIsNeverLongerThanItsBound) {
  submit("j", {"cpu", 1, 0, {}}, 100);
  for (int attempt = 1; attempt < 100; ++attempt) {
    finish("j", lease().fence, "failed", error("UNAVAILABLE"));
    ASSERT_LE(job().not_before - now_, state_.options.max_backoff_ms);
    now_ = job().not_before;
  }
}

TEST_F(Retry, APauseDoesNotGrowWhereTheClockIsSetBack) {
  submit("j");
  finish("j", lease().fence, "failed", error("UNAVAILABLE"));
  EXPECT_EQ(lease().id, "");
  now_ -= 1'000'000;
  EXPECT_EQ(waiting_reason(job(), now_, state_).find("waits"), std::string::npos);
  EXPECT_EQ(lease().id, "j");
}

TEST_F(Retry, AnEngineThatCrashesTwiceTheSameWayIsFailedWithTheEvidence) {
  submit("j");
  finish("j", lease().fence, "failed", error("INTERNAL", "ENGINE_CRASH", 11, 1));
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  now_ = job().not_before;
  finish("j", lease().fence, "failed", error("INTERNAL", "ENGINE_CRASH", 11, 1));
  EXPECT_EQ(job().phase, JobPhase::kFailed);
  EXPECT_EQ((*job().error)["signal"], 11);
}

TEST_F(Retry, AnEngineThatCrashesInAnotherWayIsTriedAgain) {
  submit("j");
  for (int stage = 0; stage < 3; ++stage) {
    finish("j", lease().fence, "failed", error("INTERNAL", "ENGINE_CRASH", 9, stage));
    ASSERT_EQ(job().phase, JobPhase::kQueued);
    now_ = job().not_before;
  }
}

TEST_F(Retry, AFullDiskIsOneWorkersAndTriedElsewhereWithinBounds) {
  submit("j", {"cpu", 1, 0, {}}, 2);
  const auto full = error("RESOURCE_EXHAUSTED", "DISK_FULL");
  finish("j", lease().fence, "failed", full);
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  now_ = job().not_before;
  finish("j", lease().fence, "failed", full);
  EXPECT_EQ(job().phase, JobPhase::kFailed);
  submit("out of memory");
  finish("out of memory", lease().fence, "failed", error("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY"));
  EXPECT_EQ(job("out of memory").phase, JobPhase::kFailed);
}

TEST_F(Retry, OfAJobThatHasNotFailedIsRefusedWithATrueReason) {
  submit("j");
  EXPECT_EQ(refused([&] { apply(RetryInput{"j"}); }), "JOB_NOT_ENDED");
  finish("j", lease().fence, "succeeded");
  EXPECT_EQ(refused([&] { apply(RetryInput{"j"}); }), "JOB_ENDED");
}

TEST_F(Retry, ThatIsAskedForStartsTheCountAnew) {
  submit("j", {"cpu", 1, 0, {}}, 1);
  auto fence = lease().fence;
  report("j", fence, 0, "done");
  finish("j", fence, "failed", error("UNAVAILABLE"));
  ASSERT_EQ(job().phase, JobPhase::kFailed);
  EXPECT_EQ(refused([&] { finish("j", {fence.epoch, fence.n + 1}, "succeeded"); }), "STALE_LEASE");
  apply(RetryInput{"j"});
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  EXPECT_EQ(refused([&] { apply(RetryInput{"j"}); }), "JOB_NOT_ENDED");
  const auto leased = lease();
  EXPECT_EQ(leased.attempt, 2u);
  finish("j", leased.fence, "succeeded");
  EXPECT_EQ(job().phase, JobPhase::kSucceeded);
  EXPECT_FALSE(job().error);
}

TEST_F(Timeouts, AJobThatNoWorkerTakesWithinItsQueuedTimeoutFailsAndSaysWhyItWaited) {
  state_.workers.clear();
  submit_within(60'000, 0);
  tick_at(now_ + 59'999);
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  tick_at(now_ + 1);
  EXPECT_EQ(job().phase, JobPhase::kFailed);
  EXPECT_EQ((*job().error)["code"], "DEADLINE_EXCEEDED");
  EXPECT_EQ(failed_of(), "QUEUED_TIMEOUT");
  EXPECT_EQ((*job().error)["message"],
            "no worker took the job within 60 s, its queued timeout; no worker is connected");
  add_worker("w");
  EXPECT_EQ(lease().id, "");
}

TEST_F(Timeouts, TheQueuedOneEndsWithTheLeaseAndBeginsAnewAfterTheBackoff) {
  submit_within(10'000, 0);
  const auto leased = lease();
  for (int i = 0; i < 10; ++i) {
    now_ += 5'000;
    renew("j", leased.fence);
    apply(TickInput{});
  }
  ASSERT_EQ(job().phase, JobPhase::kRunning);
  finish("j", leased.fence, "failed", error("UNAVAILABLE"));
  const TimeMs queued = job().not_before;
  EXPECT_GT(queued, now_);
  tick_at(queued + 9'999);
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  tick_at(queued + 10'000);
  EXPECT_EQ(failed_of(), "QUEUED_TIMEOUT");
}

TEST_F(Timeouts, TheTotalOneEndsAJobThatRunsAndItsWorkerIsToldThatTheLeaseIsLost) {
  submit_within(0, 20'000);
  const TimeMs submitted = now_;
  finish("j", lease().fence, "failed", error("UNAVAILABLE"));  // it spans attempts
  now_ = job().not_before;
  const auto leased = lease();
  now_ = submitted + 19'999;
  EXPECT_EQ(renew("j", leased.fence), LeaseAction::kContinue);
  tick_at(submitted + 20'000);
  EXPECT_EQ(job().phase, JobPhase::kFailed);
  EXPECT_EQ(failed_of(), "TOTAL_TIMEOUT");
  EXPECT_EQ((*job().error)["message"], "the job has not ended within 20 s, its total timeout");
  EXPECT_EQ(renew("j", leased.fence), LeaseAction::kLost);
  EXPECT_EQ(refused([&] { finish("j", leased.fence, "succeeded"); }), "STALE_LEASE");
  EXPECT_EQ(state_.shares.at({"default", "cpu"}).running, 0u);
}

TEST_F(Timeouts, ARetryBeginsTheTotalOneAnew) {
  submit_within(0, 20'000);
  tick_at(now_ + 20'000);
  ASSERT_EQ(failed_of(), "TOTAL_TIMEOUT");
  apply(RetryInput{"j"});
  tick_at(now_ + 19'999);
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  tick_at(now_ + 1);
  EXPECT_EQ(job().phase, JobPhase::kFailed);
}

TEST_F(Timeouts, DoNotOvertakeACancel) {
  submit_within(0, 20'000);
  const auto leased = lease();
  apply(CancelInput{"j"});
  now_ += 14'000;
  renew("j", leased.fence);
  tick_at(now_ + 14'000);
  EXPECT_EQ(job().phase, JobPhase::kCancelling);
  finish("j", leased.fence, "cancelled");
  EXPECT_EQ(job().phase, JobPhase::kCancelled);
}

TEST_F(Timeouts, ThatAreOverAtOnceEndAFewJobsAStep) {
  for (int i = 0; i < 250; ++i) {
    SubmitInput input{"j" + std::to_string(i), {"tpu", 1, 0, {}}};
    input.queued_timeout = 1'000;
    apply(input);
  }
  now_ += 1'000;
  std::vector<std::size_t> failed;
  for (int i = 0; i < 4; ++i) failed.push_back(apply(TickInput{}).changed.size());
  EXPECT_THAT(failed, ElementsAre(100, 100, 50, 0));
}

TEST_F(Pauses, OfAQueuedJobKeepItFromBeingLeasedAndLeaveItItsPlace) {
  submit("a");
  submit("b");
  submit("c");
  apply(PauseJobInput{"a"});
  EXPECT_THAT(apply(PauseJobInput{"a"}).changed, IsEmpty());
  EXPECT_EQ(waiting_reason(job("a"), now_, state_), "paused: the job (wring resume job a)");
  add_worker("v");
  EXPECT_EQ(lease("v").id, "b");
  apply(PauseJobInput{"a", false});
  EXPECT_THAT(apply(PauseJobInput{"a", false}).changed, IsEmpty());
  EXPECT_EQ(lease().id, "a");
}

TEST_F(Pauses, OfARunningJobPutItBackAndItsWorkerHearsThatTheLeaseIsLost) {
  submit("j", {"cpu", 1, 0, {}}, 1);
  const auto leased = lease();
  report("j", leased.fence, 0, "done");
  EXPECT_EQ(apply(PauseJobInput{"j"}).events.at(0).type, "paused");
  EXPECT_EQ(job().phase, JobPhase::kQueued);
  EXPECT_EQ(job().attempt, 0u);
  EXPECT_EQ(renew("j", leased.fence), LeaseAction::kLost);
  EXPECT_EQ(refused([&] { finish("j", leased.fence, "succeeded"); }), "STALE_LEASE");
  EXPECT_EQ(lease().id, "");
  apply(PauseJobInput{"j", false});
  EXPECT_EQ(lease().attempt, 1u);  // the one that it may have
}

TEST_F(Pauses, OfAJobThatHasEndedOrIsAboutToAreRefused) {
  submit("j");
  const auto fence = lease().fence;
  apply(CancelInput{"j"});
  EXPECT_EQ(refused([&] { apply(PauseJobInput{"j"}); }), "JOB_CANCELLING");
  finish("j", fence, "cancelled");
  EXPECT_EQ(refused([&] { apply(PauseJobInput{"j"}); }), "JOB_ENDED");
  EXPECT_THAT(apply(PauseJobInput{"j", false}).changed, IsEmpty());
}

TEST_F(Pauses, EndWithTheJob) {
  submit("j");
  apply(PauseJobInput{"j"});
  apply(CancelInput{"j"});
  EXPECT_EQ(job().phase, JobPhase::kCancelled);
  apply(RetryInput{"j"});
  EXPECT_EQ(lease().id, "j");
}

TEST_F(Pauses, StopTheQueuedTimeoutAndNotTheTotalOne) {
  SubmitInput input{"j"};
  input.queued_timeout = 1'000;
  input.total_timeout = 10'000;
  apply(input);
  apply(PauseJobInput{"j"});
  now_ += 5'000;
  EXPECT_THAT(apply(TickInput{}).changed, IsEmpty());
  apply(PauseJobInput{"j", false});
  now_ += 999;
  EXPECT_THAT(apply(TickInput{}).changed, IsEmpty());
  apply(PauseJobInput{"j"});
  now_ += 10'000;
  apply(TickInput{});
  EXPECT_EQ((*job().error)["reason"], "TOTAL_TIMEOUT");
}

TEST_F(Pauses, OfAProjectLetWhatRunsGoOnAndHoldUpNoOtherProject) {
  submit_to("p", "running");
  add_worker("v");
  add_worker("u");
  ASSERT_EQ(lease("v").id, "running");
  submit_to("p", "p2", 9);
  submit_to("q", "q1");
  EXPECT_TRUE(apply(PauseProjectInput{"p"}).pause);
  EXPECT_FALSE(apply(PauseProjectInput{"p"}).pause);
  submit_to("p", "p3", 9);
  EXPECT_EQ(lease("w").id, "q1");
  EXPECT_EQ(lease("u").id, "");
  EXPECT_EQ(job("running").phase, JobPhase::kRunning);
  EXPECT_EQ(waiting_reason(job("p3"), now_, state_), "paused: its project (wring resume project p)");
  apply(PauseProjectInput{"p", false});
  EXPECT_EQ(lease("u").id, "p2");
}

TEST_F(Pauses, OfAWorkerLastUntilItIsResumedAlsoWhereItRegistersAgain) {
  submit("j");
  apply(PauseWorkerInput{"w"});
  add_worker("w");
  EXPECT_EQ(lease().id, "");
  EXPECT_EQ(waiting_reason(job(), now_, state_),
            "paused: all connected workers that fit (wring resume worker NAME)");
  EXPECT_EQ(refused([&] { apply(PauseWorkerInput{"nobody"}); }), "WORKER_NOT_FOUND");
  apply(PauseWorkerInput{"w", false});
  EXPECT_EQ(lease().id, "j");
}

TEST_F(Matching, AJobThatFitsNoWorkerHoldsUpNoOther) {
  submit("gpu", {"cuda", 1, 0, {}});
  submit("unknown", {"cpu", 1, 0, {"flap@1"}});
  submit("large", {"cpu", 1, 64ull << 30, {}});
  submit("fits");
  add_worker("v");
  EXPECT_EQ(lease("w").id, "fits");
  EXPECT_EQ(lease("v").id, "");
}

TEST_F(Matching, AJobWaitsForTheDevicesThatItNeeds) {
  submit("j", {"cuda", 2, 0, {}});
  add_worker("g", {{"cpu", 1}, {"cuda", 2}}, {});
  EXPECT_EQ(lease("g", {{"cuda", 1}, {"cpu", 1}}).id, "");
  EXPECT_EQ(lease("g", {{"cuda", 2}}).id, "j");
}

TEST_F(Matching, AJobIsNotSaidToWaitForTheWorkerThatHasTakenIt) {
  submit("j");
  const auto on_disk = job();
  lease();
  EXPECT_EQ(waiting_reason(on_disk, now_, state_), "a worker takes it");
}

TEST_F(Matching, TheWaitingReasonSaysWhatIsMissing) {
  const auto reason = [&](JobNeeds needs) {
    JobRecord record;
    record.needs = std::move(needs);
    return waiting_reason(record, now_, state_);
  };
  EXPECT_EQ(reason({"cuda", 1, 0, {}}), "no connected worker has a device of kind cuda");
  EXPECT_EQ(reason({"cpu", 1, 0, {"flap@1"}}), "no connected worker has method flap@1");
  EXPECT_EQ(reason({"cpu", 1, 64ull << 30, {}}), "no connected worker has enough memory");
  EXPECT_EQ(reason({"cpu", 2, 0, {"rtn@1"}}), "no connected worker has all that the job needs");
  EXPECT_EQ(reason({"cpu", 1, 0, {"rtn@1"}}), "a worker that fits is idle and will ask for it");
  submit("j");
  const auto fence = lease().fence;
  EXPECT_EQ(reason({"cpu", 1, 0, {"rtn@1"}}), "all workers that fit are busy");
  apply(RenewInput{"w", {{"j", fence}}, true});
  EXPECT_EQ(reason({"cpu", 1, 0, {"rtn@1"}}), "all connected workers drain: they take no more jobs");
  finish("j", fence, "succeeded");
  EXPECT_EQ(reason({"cpu", 1, 0, {"rtn@1"}}), "no worker is connected");
  add_worker("w");
  now_ += state_.options.worker_gone_ms;
  EXPECT_EQ(reason({"cpu", 1, 0, {"rtn@1"}}), "no worker is connected");
}

}  // namespace
}  // namespace wring
