// Which job comes next, which wait and for what, and for how long they may.
#include <gmock/gmock.h>

#include "tests/scheduler/scheduling.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

class Fairness : public Scheduling {};
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

TEST(JobQueueAhead, IsTheSameFromWhicheverEndItIsCounted) {
  JobQueue queue;
  std::vector<JobRecord> jobs;
  for (std::uint64_t i = 1; i <= 120; ++i) {
    JobRecord job;
    job.id = "job" + std::to_string(i);
    job.project = "a";
    job.sequence = i;
    job.priority = static_cast<int>(i * i % 7);
    jobs.push_back(job);
    queue.add(job);
  }
  for (const auto& job : jobs) {
    const auto goes_before = [&](const JobRecord& other) {
      return other.priority > job.priority ||
             (other.priority == job.priority && other.sequence < job.sequence);
    };
    const auto ahead = static_cast<std::size_t>(std::count_if(jobs.begin(), jobs.end(), goes_before));
    for (const std::size_t most : {0u, 1u, 10u, 59u, 60u, 119u, 1000u})
      EXPECT_EQ(queue.ahead_of(job, most), std::min(ahead, most)) << job.id << " of " << most;
  }
}

TEST_F(Fairness, AJobKnowsHowManyOfItsProjectGoFirst) {
  submit_to("a", "a1");
  submit_to("b", "b1");
  submit_to("a", "a2");
  submit_to("a", "a3", 1);
  submit_to("a", "other", 0, "cuda");
  const auto ahead = [&](const char* id) { return state_.queue.ahead_of(job(id), 1000); };
  EXPECT_EQ(ahead("a3"), 0u);
  EXPECT_EQ(ahead("a1"), 1u);
  EXPECT_EQ(ahead("a2"), 2u);
  EXPECT_EQ(ahead("b1"), 0u);
  EXPECT_EQ(ahead("other"), 0u);
  JobRecord picky = job("a2");
  picky.id = "picky";
  picky.needs.methods = {"gptq@1"};
  picky.sequence += 100;
  JobQueue queue = state_.queue;
  queue.add(picky);
  EXPECT_EQ(queue.ahead_of(picky, 1000), 3u) << "jobs of other methods go before it as well";
  EXPECT_EQ(state_.queue.ahead_of(job("a2"), 1), 1u);
  apply(PauseJobInput{"a3", true});
  EXPECT_EQ(ahead("a3"), 0u);
  EXPECT_EQ(ahead("a2"), 1u);
  EXPECT_EQ(lease().id, "a1");
  EXPECT_EQ(ahead("a1"), 0u);
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

TEST_F(Fairness, AProjectThatHasNothingIsForgottenAThousandLeasesLater) {
  submit_to("once", "o1");
  finish("o1", lease().fence, "succeeded");
  submit_to("idle", "i1", 0, "cuda");  // waits for a worker that never comes
  for (std::uint64_t n = 2; n <= kTurnsRemembered; ++n) {
    const auto id = "j" + std::to_string(n);
    submit_to("busy", id);
    finish(id, lease().fence, "succeeded");
  }
  EXPECT_TRUE(state_.shares.contains({"once", "cpu"}));
  submit_to("busy", "last");
  lease();
  EXPECT_FALSE(state_.shares.contains({"once", "cpu"}));
  EXPECT_EQ(state_.shares.size(), 1u);
}

TEST_F(Fairness, AProjectThatRunsOneJobForLongKeepsItsCountAndLosesItsTurn) {
  submit_to("slow", "s1");
  const auto running = lease();
  for (std::uint64_t n = 0; n < kTurnsRemembered; ++n) {
    const auto id = "j" + std::to_string(n);
    submit_to("busy", id);
    add_worker("v");
    finish(id, lease("v").fence, "succeeded");
  }
  EXPECT_EQ(state_.shares.at({"slow", "cpu"}).running, 1u);
  EXPECT_EQ(state_.shares.at({"slow", "cpu"}).served, 0u);
  finish("s1", running.fence, "succeeded");
  EXPECT_EQ(state_.shares.at({"slow", "cpu"}).running, 0u);
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

TEST_F(Timeouts, AnAttemptWhoseWorkerDoesNotEndItIsEndedALeaseLater) {
  SubmitInput input{"j"};
  input.max_runtime = 5'000;
  apply(input);
  now_ += 60'000;
  apply(TickInput{});
  EXPECT_EQ(job().phase, JobPhase::kQueued) << "it does not run yet";
  const auto fence = lease().fence;
  const TimeMs until = now_ + 5'000 + state_.options.lease_ms;
  for (; now_ < until; now_ += 1'000) {
    EXPECT_EQ(renew("j", fence), LeaseAction::kContinue);
    apply(TickInput{});
  }
  tick_at(until);
  EXPECT_EQ(failed_of(), "MAX_RUNTIME");
  EXPECT_EQ(renew("j", fence), LeaseAction::kLost);
  apply(RetryInput{"j"});
  lease();
  SchedulerState restarted;
  restore(job(), restarted);
  EXPECT_THAT(restarted.deadlines, ElementsAre(Pair(now_ + 5'000 + state_.options.lease_ms, "j")));
}

TEST_F(Matching, WorkersThatAreLongGoneAreForgotten) {
  add_worker("gone");
  add_worker("paused");
  apply(PauseWorkerInput{"paused", true});
  submit("j");
  lease("w");
  now_ += state_.options.forget_worker_ms;
  WorkerRecord fresh;
  fresh.id = "fresh";
  EXPECT_THAT(apply(RegisterInput{fresh}).forgotten, ElementsAre("gone")) << "w has a job";
  EXPECT_EQ(refused([&] { lease("gone"); }), "WORKER_NOT_FOUND");
  EXPECT_TRUE(state_.workers.contains("paused"));
  apply(PauseWorkerInput{"paused", false});
  EXPECT_THAT(apply(RegisterInput{fresh}).forgotten, IsEmpty()) << "it is not looked at each registration";
  now_ += state_.options.forget_worker_ms / 10;
  EXPECT_THAT(apply(RegisterInput{fresh}).forgotten, ElementsAre("paused"));
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

TEST_F(Pauses, OfAProjectStopTheQueuedTimeoutsOfItsJobs) {
  for (const char* project : {"p", "q"}) {
    SubmitInput input{project};
    input.project = project;
    input.queued_timeout = 1'000;
    input.total_timeout = 10'000;
    apply(input);
  }
  submit_to("p", "untimed");
  apply(PauseProjectInput{"p"});
  now_ += 5'000;
  apply(TickInput{});
  EXPECT_EQ(job("p").phase, JobPhase::kQueued);
  EXPECT_EQ((*job("q").error)["reason"], "QUEUED_TIMEOUT");

  SchedulerState restarted;  // the pause is known before the jobs are
  restarted.paused_projects = state_.paused_projects;
  restore(job("p"), restarted);
  EXPECT_THAT(restarted.deadlines, ElementsAre(Pair(job("p").total_until, "p")));

  const auto resumed = apply(PauseProjectInput{"p", false});
  ASSERT_THAT(resumed.changed, SizeIs(1));  // a restart must know that the wait began anew
  EXPECT_EQ(resumed.changed[0].queued_until, now_ + 1'000);
  now_ += 999;
  EXPECT_THAT(apply(TickInput{}).changed, IsEmpty());
  apply(PauseProjectInput{"p"});
  now_ += 10'000;
  apply(TickInput{});
  EXPECT_EQ((*job("p").error)["reason"], "TOTAL_TIMEOUT");
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
