// Leases, fences, cancels and retries: what becomes of a job that a worker has.
#include <gmock/gmock.h>

#include "tests/scheduler/scheduling.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class Lease : public Scheduling {};
class FenceRule : public Scheduling {};
class Cancel : public Scheduling {};
class Retry : public Scheduling {};

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

TEST_F(Lease, OfAJobThatAsksForAClassGoesToAWorkerOfItAlone) {
  JobNeeds needs{"cpu", 1, 0, {"rtn@1"}};
  needs.worker_class = "epyc";
  submit("j", needs);
  submit("any");
  EXPECT_EQ(lease("w").id, "any");
  EXPECT_EQ(waiting_reason(job("j"), now_, state_), "no connected worker is of class epyc");
  WorkerRecord epyc = state_.workers.at("w");
  epyc.id = "e";
  epyc.jobs.clear();
  epyc.classes = {"avx512", "epyc"};
  apply(RegisterInput{epyc});
  EXPECT_EQ(lease("w").id, "");
  EXPECT_EQ(lease("e").id, "j");
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

TEST_F(Lease, OfAnotherWorkerIsNotRenewed) {
  add_worker("other");
  submit("j");
  const auto fence = lease().fence;
  EXPECT_EQ(apply(RenewInput{"other", {{"j", fence}}, false}).renewed.at(0), LeaseAction::kLost);
  EXPECT_EQ(renew("j", fence), LeaseAction::kContinue);
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
  const auto within = [](TimeMs most) { return testing::AllOf(testing::Ge(most / 2), testing::Le(most)); };
  EXPECT_THAT(pauses, ElementsAre(within(1000), within(2000), within(4000)));
  EXPECT_EQ(job().phase, JobPhase::kFailed);
}

TEST_F(Retry, JobsThatFailTogetherComeBackOneByOne) {
  std::set<TimeMs> moments;
  for (int i = 0; i < 8; ++i) {
    const std::string id = "j" + std::to_string(i);
    submit(id);
    finish(id, lease().fence, "failed", error("UNAVAILABLE"));
    moments.insert(state_.jobs.at(id).not_before);
  }
  EXPECT_GE(moments.size(), 7u);
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

TEST_F(Retry, WhatRanOutOfMemoryGoesToAWorkerThatHasMore) {
  add_worker("equal");
  add_worker("larger", {{"cpu", 1}}, {"rtn@1"}, 16ull << 30);
  for (const char* reason : {"OUT_OF_MEMORY", "NOT_ENOUGH_MEMORY"}) {
    submit(reason);
    finish(reason, lease().fence, "failed", error("RESOURCE_EXHAUSTED", reason));
    ASSERT_EQ(job(reason).phase, JobPhase::kQueued);
    now_ = job(reason).not_before;
    EXPECT_EQ(lease("equal").id, "");
    const auto taken = lease("larger");
    ASSERT_EQ(taken.id, reason);
    finish(reason, taken.fence, "failed", error("RESOURCE_EXHAUSTED", reason));
    EXPECT_EQ(job(reason).phase, JobPhase::kFailed) << "nobody has more";
  }
  apply(RetryInput{"OUT_OF_MEMORY"});
  EXPECT_EQ(lease("equal").id, "OUT_OF_MEMORY") << "its memory may be another now";
}

TEST_F(Retry, AJobsOwnMemoryLimitIsAsSmallElsewhere) {
  add_worker("larger", {{"cpu", 1}}, {"rtn@1"}, 16ull << 30);
  submit("j", {"cpu", 1, 1ull << 30, {}});
  finish("j", lease().fence, "failed", error("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY"));
  EXPECT_EQ(job().phase, JobPhase::kFailed);
}

TEST_F(Retry, WhatFindsTooLittleDiskOrCacheGoesToAnotherWorkerWhereThereIsOne) {
  const char* const reasons[] = {"NOT_ENOUGH_DISK", "CACHE_TOO_SMALL"};
  for (const char* reason : reasons) {
    submit(reason);
    finish(reason, lease().fence, "failed", error("RESOURCE_EXHAUSTED", reason));
    EXPECT_EQ(job(reason).phase, JobPhase::kFailed);
  }
  add_worker("other");
  for (const char* reason : reasons) {
    const std::string id = std::string("again ") + reason;
    submit(id);
    finish(id, lease().fence, "failed", error("RESOURCE_EXHAUSTED", reason));
    EXPECT_EQ(job(id).phase, JobPhase::kQueued);
  }
}

TEST_F(Retry, AnIllDiskIsNoCrashHoweverOftenItIsTheSame) {
  for (const char* reason : {"IO_ERROR", "DATABASE"}) {
    submit(reason);
    for (int i = 0; i < 3; ++i) {
      finish(reason, lease().fence, "failed", error("INTERNAL", reason));
      ASSERT_EQ(job(reason).phase, JobPhase::kQueued) << reason;
      now_ = job(reason).not_before;
    }
    finish(reason, lease().fence, "succeeded");
  }
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
  EXPECT_FALSE(job().error) << "it is of the run before";
  EXPECT_EQ(refused([&] { apply(RetryInput{"j"}); }), "JOB_NOT_ENDED");
  const auto leased = lease();
  EXPECT_EQ(leased.attempt, 2u);
  finish("j", leased.fence, "succeeded");
  EXPECT_EQ(job().phase, JobPhase::kSucceeded);
  EXPECT_FALSE(job().error);
}

}  // namespace
}  // namespace wring
