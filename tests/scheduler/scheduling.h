// A scheduler for tests, moved on one step at a time.
#pragma once

#include <gtest/gtest.h>

#include "server/scheduler/scheduler.h"
#include "server/scheduler/waiting.h"

namespace wring {

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

}  // namespace wring
