// What the ledger owes the disk, and what a restart makes of it.
#include "server/scheduler/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wring {
namespace {

// A ledger with a worker "w" and a disk that the test writes to by hand.
class LedgerTest : public testing::Test {
 protected:
  LedgerTest() { restart(); }

  void restart() {
    StoredState stored;
    for (const auto& [id, job] : disk_) {
      stored.highest_sequence = std::max(stored.highest_sequence, job.sequence);
      stored.highest_fence = std::max(stored.highest_fence, job.fence.n);
      if (!is_terminal(job.phase)) stored.open_jobs.push_back(job);
    }
    WorkerRecord worker;
    worker.id = "w";
    worker.devices = {{"cpu", 1}};
    stored.workers.push_back(worker);
    stored.served = served_;
    ledger_.emplace(SchedulerOptions{}, stored, now_);
  }

  LedgerEntry apply(const SchedulerInput& input, const std::string& job = {}, const std::string& etag = {}) {
    return ledger_->apply(input, now_, job, etag, [this](const auto& id) -> std::optional<JobRecord> {
      const auto it = disk_.find(id);
      if (it == disk_.end()) return std::nullopt;
      return it->second;
    });
  }

  void write(const LedgerEntry& entry) {
    for (const auto& job : entry.outcome.changed) disk_[job.id] = job;
    if (const auto& job = entry.outcome.leased) served_[share_key(*job)] = job->fence.n;
    ledger_->stored(entry.outcome);
  }

  Fence lease() {
    const auto entry = apply(LeaseInput{"w", {{"cpu", 1}}});
    write(entry);
    return entry.outcome.leased.value_or(JobRecord{}).fence;
  }

  template <typename Body>
  static std::string refused(Body body) {
    try {
      body();
    } catch (const Error& error) {
      return error.reason();
    }
    return "";
  }

  TimeMs now_ = 1'000'000;
  std::map<std::string, JobRecord> disk_;
  std::map<ShareKey, std::uint64_t> served_;
  std::optional<Ledger> ledger_;
};

TEST_F(LedgerTest, AnEndedJobStaysInMemoryUntilItsEndIsOnDisk) {
  write(apply(SubmitInput{"j", {}, 0}));
  const auto fence = lease();
  const auto end = apply(FinishInput{"j", fence, "succeeded", "r", {}}, "j");
  EXPECT_TRUE(ledger_->state().jobs.contains("j"));
  EXPECT_EQ(refused([&] { apply(CancelInput{"j"}, "j"); }), "JOB_ENDED");  // the disk still has it running
  write(end);
  EXPECT_FALSE(ledger_->state().jobs.contains("j"));
  EXPECT_EQ(refused([&] { apply(CancelInput{"j"}, "j"); }), "JOB_ENDED");
  EXPECT_FALSE(ledger_->state().jobs.contains("j"));
}

TEST_F(LedgerTest, WhatIsToldAgainWaitsForTheDiskToo) {
  write(apply(SubmitInput{"j", {}, 0}));
  const auto fence = lease();
  EXPECT_EQ(apply(FinishInput{"j", fence, "succeeded", "r", {}}, "j").write, Write::kOutcome);
  EXPECT_EQ(apply(FinishInput{"j", fence, "succeeded", "r", {}}, "j").write, Write::kOrder);
  EXPECT_EQ(apply(TickInput{}).write, Write::kNothing);
}

TEST_F(LedgerTest, ARestartRenewsLeasesOnceAndGoesOnCounting) {
  write(apply(SubmitInput{"a", {}, 0}));
  const auto first = lease();
  write(apply(FinishInput{"a", first, "succeeded", "r", {}}, "a"));
  write(apply(SubmitInput{"b", {}, 0}));
  const auto second = lease();
  now_ += 10 * SchedulerOptions{}.lease_ms;
  restart();
  EXPECT_TRUE(apply(TickInput{}).outcome.changed.empty());
  EXPECT_EQ(apply(RenewInput{"w", {{"b", second}}, false}).outcome.renewed.at(0), LeaseAction::kContinue);
  write(apply(FinishInput{"b", second, "succeeded", "r", {}}, "b"));
  restart();  // nothing is open: the rows alone tell how far it had counted
  write(apply(SubmitInput{"c", {}, 0}));
  EXPECT_EQ(disk_.at("c").sequence, 3u);
  EXPECT_GT(lease(), second);
}

TEST_F(LedgerTest, AfterARestartItIsStillTheTurnOfTheProjectThatWasServedLongestAgo) {
  for (const char* id : {"a1", "a2"}) write(apply(SubmitInput{id, {}, 0, 0, "a"}));
  for (const char* id : {"b1", "b2"}) write(apply(SubmitInput{id, {}, 0, 0, "b"}));
  write(apply(FinishInput{"a1", lease(), "succeeded", "r", {}}, "a1"));
  restart();
  EXPECT_EQ(apply(LeaseInput{"w", {{"cpu", 1}}}).outcome.leased.value_or(JobRecord{}).id, "b1");
}

TEST_F(LedgerTest, TimeoutsGoOnOverARestartAlsoWhereTheClockWasSetBack) {
  SubmitInput input{"j", {"tpu", 1, 0, {}}};
  input.queued_timeout = 10'000;
  write(apply(input));
  now_ += 9'999;
  restart();
  EXPECT_TRUE(apply(TickInput{}).outcome.changed.empty());
  now_ -= 1'000'000;
  restart();
  now_ += 10'000 + SchedulerOptions{}.max_backoff_ms;
  const auto entry = apply(TickInput{});
  ASSERT_EQ(entry.outcome.changed.size(), 1u);
  EXPECT_EQ((*entry.outcome.changed[0].error)["reason"], "QUEUED_TIMEOUT");
}

TEST_F(LedgerTest, AnOlderEtagIsRefusedAndLeavesNothingBehind) {
  write(apply(SubmitInput{"j", {}, 0}));
  write(apply(CancelInput{"j"}, "j", "1"));
  EXPECT_EQ(refused([&] { apply(RetryInput{"j"}, "j", "1"); }), "ETAG_MISMATCH");
  EXPECT_FALSE(ledger_->state().jobs.contains("j"));
  EXPECT_EQ(apply(RetryInput{"j"}, "j", "2").outcome.changed.size(), 1u);
}

TEST_F(LedgerTest, AJobThatIsBeingDeletedIsNotFoundAndLeavesNothingBehind) {
  const auto load = [&](const std::string& id) { return std::optional(disk_.at(id)); };
  write(apply(SubmitInput{"j", {}, 0}));
  EXPECT_EQ(refused([&] { ledger_->begin_remove("j", "", load); }), "JOB_NOT_ENDED");
  write(apply(CancelInput{"j"}, "j"));
  EXPECT_EQ(refused([&] { ledger_->begin_remove("j", "1", load); }), "ETAG_MISMATCH");
  EXPECT_FALSE(ledger_->state().jobs.contains("j"));
  ledger_->begin_remove("j", "2", load);
  EXPECT_EQ(refused([&] { apply(RetryInput{"j"}, "j"); }), "JOB_NOT_FOUND");
  EXPECT_EQ(refused([&] { ledger_->begin_remove("j", "", load); }), "JOB_NOT_FOUND");
  disk_.erase("j");
  ledger_->end_remove("j");
  EXPECT_FALSE(ledger_->state().jobs.contains("j"));
  EXPECT_FALSE(ledger_->stored_event("j"));
}

TEST_F(LedgerTest, OneSubmitOfARequestIdIsUnderWayAtATime) {
  EXPECT_TRUE(ledger_->begin_submit("r"));
  EXPECT_FALSE(ledger_->begin_submit("r"));
  EXPECT_TRUE(ledger_->begin_submit(""));
  EXPECT_TRUE(ledger_->begin_submit(""));
  ledger_->end_submit("r");
  EXPECT_TRUE(ledger_->begin_submit("r"));
}

TEST_F(LedgerTest, ARequestIsKnownByItsIdAndRefusedWhereItDiffers) {
  EXPECT_EQ(submitted_before(std::nullopt, "d"), std::nullopt);
  EXPECT_EQ(submitted_before(std::pair<std::string, std::string>{"j", "d"}, "d"), "j");
  EXPECT_EQ(refused([] {
              submitted_before(std::pair<std::string, std::string>{"j", "d"}, "e");
            }),
            "REQUEST_ID_REUSED");
}

}  // namespace
}  // namespace wring
