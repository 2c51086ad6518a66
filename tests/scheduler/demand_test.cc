// How many workers the queue could use more: jobs that may be leased, and that nobody is free for.
#include "server/scheduler/demand.h"

#include "tests/scheduler/scheduling.h"

namespace wring {
namespace {

class Demand : public Scheduling {
 protected:
  std::size_t unserved(const std::set<std::string>& pool = {}) {
    return unserved_jobs(like_, pool, now_, state_);
  }

  WorkerRecord like_{
      .id = "", .devices = {{"cpu", 1}}, .memory_bytes = 4ull << 30, .methods = {"rtn@1", "gptq@1"}};
};

TEST_F(Demand, CountsTheJobsThatFreeWorkersLeave) {
  EXPECT_EQ(unserved(), 0u);
  for (const char* id : {"a", "b", "c"}) submit(id);
  EXPECT_EQ(unserved(), 2u);
  EXPECT_EQ(unserved({"w"}), 3u) << "a worker of the pool is counted by the pool";
  lease();
  EXPECT_EQ(unserved(), 2u);
}

TEST_F(Demand, LeavesOutWhatSuchAWorkerCannotRun) {
  submit("cuda", {"cuda", 1, 0, {"rtn@1"}});
  submit("large", {"cpu", 1, 5ull << 30, {"rtn@1"}});
  submit("unknown", {"cpu", 1, 0, {"new@1"}});
  EXPECT_EQ(unserved({"w"}), 0u);
  submit("fits", {"cpu", 1, 4ull << 30, {"rtn@1"}});
  EXPECT_EQ(unserved({"w"}), 1u);
}

TEST_F(Demand, AFreeWorkerThatCannotRunAJobDoesNotServeIt) {
  submit("j", {"cpu", 1, 0, {"rtn@1"}});
  add_worker("gpu", {{"cuda", 1}});
  EXPECT_EQ(unserved({"w"}), 1u);
}

TEST_F(Demand, LeavesOutPausedJobsAndProjectsAndWhatQuotasHoldBack) {
  submit("j");
  apply(PauseJobInput{"j"});
  EXPECT_EQ(unserved({"w"}), 0u);
  apply(PauseJobInput{"j", false});
  EXPECT_EQ(unserved({"w"}), 1u);
  apply(PauseProjectInput{kDefaultProject});
  EXPECT_EQ(unserved({"w"}), 0u);
  apply(PauseProjectInput{kDefaultProject, false});
  for (const char* id : {"a", "b", "c"}) submit_to("vision", id);
  apply(QuotaInput{"vision", {0, 2, 0}});
  EXPECT_EQ(unserved({"w"}), 3u);
}

TEST_F(Demand, AJobWhoseBackoffIsOverCountsThoughNoWorkerAsks) {
  submit("j");
  const auto leased = lease();
  now_ += state_.options.lease_ms + 1;
  apply(TickInput{});
  ASSERT_GT(job().not_before, now_);
  EXPECT_EQ(unserved({"w"}), 0u);
  now_ = job().not_before;
  apply(TickInput{});
  EXPECT_EQ(unserved({"w"}), 1u);
}

}  // namespace
}  // namespace wring
