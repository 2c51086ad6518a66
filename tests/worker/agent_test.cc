// The whole worker, with a fake engine and a fake server: what becomes of a job, whatever happens to it.
#include "worker/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <thread>

#include "common/clock.h"
#include "common/files.h"
#include "tests/common/thrown_by.h"
#include "tests/worker/fake_server.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kEngine = fs::path(__FILE__).parent_path() / "fake_engine.py";

bool is_running(pid_t pid) {
  std::string status;
  try {
    status = read_file("/proc/" + std::to_string(pid) + "/status");
  } catch (const Error&) {
    return false;
  }
  return status.find("State:\tZ") == std::string::npos;
}

bool becomes_true(const std::function<bool()>& holds, double seconds = 10) {
  for (const Stopwatch watch; watch.seconds() < seconds;
       std::this_thread::sleep_for(std::chrono::milliseconds(10)))
    if (holds()) return true;
  return holds();
}

class AgentTest : public testing::Test {
 protected:
  void TearDown() override { stop(); }

  WorkerOptions options() {
    WorkerOptions o;
    o.server = server.address();
    o.cache = folder.path() / "cache";
    o.engine = kEngine;
    return o;
  }

  void start() { start(options()); }
  void start(const WorkerOptions& o) {
    agent = std::make_unique<Agent>(o);
    thread = std::jthread([this] { agent->run(); });
  }
  void stop() {
    if (!agent) return;
    agent->drain();
    thread.join();
    agent.reset();
    EXPECT_TRUE(server.workers.wait_no_lease());
  }

  pid_t engine_pid() {
    const auto file = engine_folder() / "pid";
    becomes_true([&] { return fs::exists(file) && fs::file_size(file) > 0; });
    return static_cast<pid_t>(std::stoi(read_file(file)));
  }
  Json write_pid() { return {"write-pid", (engine_folder() / "pid").string()}; }
  // In which an engine may write, and nobody clears up while its job runs.
  fs::path engine_folder() {  // of a job without a project
    return folder.path() / "cache" / "snapshots" / sha256("").hex().substr(0, 16);
  }
  bool scratch_is_empty() { return fs::is_empty(folder.path() / "cache" / "work"); }

  // The FinishAttempt of a job whose engine does `actions`.
  v1::FinishAttemptRequest outcome_of(const test::Actions& actions,
                                      const std::function<void(v1::JobSpec&)>& edit = {}) {
    server.enqueue("job1", actions, edit);
    start();
    return server.workers.wait_finished();
  }

  test::FakeServer server;
  TempDir folder;
  std::unique_ptr<Agent> agent;
  std::jthread thread;
};

const test::Actions kWholeJob = {{"stage", "first"}, {"stage", "second"}, "evaluate", "result"};

TEST_F(AgentTest, RunsAJobAndHandsInItsResultRowsAndSteps) {
  const auto finished = outcome_of(kWholeJob);
  EXPECT_EQ(finished.outcome(), "succeeded");
  EXPECT_EQ(finished.fence().n(), 7u);
  ASSERT_TRUE(server.artifacts.manifests.contains(finished.result()));
  const auto manifest = Manifest::parse(server.artifacts.manifests.at(finished.result()));
  EXPECT_EQ(manifest.metadata.at("made"), "fake");
  EXPECT_EQ(server.artifacts.blob(manifest.files.at(0).chunks.at(0).digest.hex()),
            std::string(1252, 'a') + "second");
  ASSERT_EQ(finished.evaluations_size(), 2);
  EXPECT_EQ(finished.evaluations(0).artifact(), finished.result());
  EXPECT_EQ(finished.evaluations(1).artifact(), server.model);
  ASSERT_EQ(finished.stages_size(), 2);
  EXPECT_EQ(finished.stages(1).name(), "second");
  EXPECT_EQ(finished.stages(1).state(), "done");
  EXPECT_TRUE(server.workers.wait_report("first", "running"));
  EXPECT_TRUE(server.workers.wait_report("second", "done"));
  EXPECT_TRUE(becomes_true([&] { return scratch_is_empty(); }));
}

TEST_F(AgentTest, RegistersItsDevicesUnderAnIdThatItKeeps) {
  start();
  ASSERT_TRUE(becomes_true([&] {
    const std::lock_guard lock(server.workers.mutex);
    return !server.workers.registered.empty();
  }));
  stop();
  start();
  ASSERT_TRUE(becomes_true([&] {
    const std::lock_guard lock(server.workers.mutex);
    return server.workers.registered.size() == 2;
  }));
  EXPECT_EQ(server.workers.registered[0].id(), server.workers.registered[1].id());
  EXPECT_EQ(server.workers.registered[0].devices(0).kind(), "cpu");
}

TEST_F(AgentTest, TakesFinishedStagesFromItsCache) {
  EXPECT_EQ(outcome_of({{"stage", "first"}, {"signal", SIGSEGV}}).outcome(), "failed");
  server.enqueue("job2", kWholeJob);
  const auto second = server.workers.wait_finished(2);
  EXPECT_EQ(second.outcome(), "succeeded");
  EXPECT_EQ(second.stages(0).state(), "cached");
  EXPECT_EQ(second.stages(1).state(), "done");
}

TEST_F(AgentTest, AJobThatIsOnlyPlannedEndsWithItsForecastsAndLeavesOthersSnapshotsAlone) {
  const std::string key(64, 'a');
  const Json made{{"index", 0}, {"name", "made"}, {"kind", "stage"}, {"key", key}, {"at_hand", true}},
      next{{"index", 1},
           {"name", "next"},
           {"kind", "stage"},
           {"key", std::string(64, 'b')},
           {"forecast", {{"seconds", 12.5}, {"peak_bytes", 900}, {"bytes_before", 80}, {"bytes_after", 20}}}};
  const Json plan{{"type", "plan"}, {"steps", {made, next}}};
  fs::create_directories(engine_folder() / key);
  const auto finished =
      outcome_of({{"log_start", "plan_only"}, {"say", plan}, {"say", {{"type", "result"}, {"path", ""}}}},
                 [](v1::JobSpec& spec) { spec.set_plan_only(true); });
  EXPECT_EQ(finished.outcome(), "succeeded");
  EXPECT_EQ(finished.result(), "");
  ASSERT_EQ(finished.stages_size(), 2);
  EXPECT_EQ(finished.stages(0).state(), "cached");
  EXPECT_EQ(finished.stages(1).state(), "pending");
  EXPECT_EQ(finished.stages(1).forecast_seconds(), 12.5);
  EXPECT_EQ(finished.stages(1).forecast_peak_bytes(), 900u);
  EXPECT_EQ(finished.stages(1).forecast_bytes_before(), 80u);
  EXPECT_EQ(finished.stages(1).forecast_bytes_after(), 20u);
  EXPECT_TRUE(fs::exists(engine_folder() / key));
  const std::lock_guard lock(server.workers.mutex);
  EXPECT_THAT(server.workers.log, testing::Contains(HasSubstr("plan_only true")));
}

TEST_F(AgentTest, AnEngineThatRunsWhatItWasOnlyToPlanIsEnded) {
  const auto finished = outcome_of(kWholeJob, [](v1::JobSpec& spec) { spec.set_plan_only(true); });
  EXPECT_EQ(finished.outcome(), "failed");
  EXPECT_EQ(finished.error().reason(), "ENGINE_PROTOCOL");
}

// Another worker with a cache of its own: what it finds it has from the server.
class TwoWorkers : public AgentTest {
 protected:
  WorkerOptions sharing(const std::string& name) {
    auto o = options();
    o.cache = folder.path() / name;
    o.share_seconds = 0;
    return o;
  }
  v1::FinishAttemptRequest run(const std::string& name, const std::string& job,
                               const test::Actions& actions = kWholeJob) {
    server.enqueue(job, actions);
    start(sharing(name));
    const auto finished = server.workers.wait_finished(++jobs_);
    stop();
    return finished;
  }
  std::size_t jobs_ = 0;
};

TEST_F(TwoWorkers, TheSecondTakesTheStagesThatTheFirstHasMade) {
  server.enqueue("job1", kWholeJob);
  start(sharing("one"));
  const auto first = server.workers.wait_finished(++jobs_);
  ASSERT_TRUE(server.workers.wait_stages(2));
  stop();
  const auto second = run("two", "job2");
  EXPECT_EQ(second.outcome(), "succeeded");
  EXPECT_EQ(second.result(), first.result());
  for (const auto& stage : second.stages()) {
    EXPECT_EQ(stage.state(), "cached");
    EXPECT_EQ(stage.cached_in(), "project");
    EXPECT_EQ(stage.cached_bytes(), stage.name() == "first" ? 2505u : 1258u);
    EXPECT_EQ(stage.saved_seconds(), 0.1);
  }
  const auto third = run("two", "job3");
  EXPECT_EQ(third.stages(1).cached_in(), "project");  // its chunks are here by now
  EXPECT_EQ(server.artifacts.sent, 2 * 5000u + 2505u + 1258u);
}

TEST_F(TwoWorkers, AStageOfWhichAChunkIsGoneIsRunAgain) {
  server.enqueue("job1", kWholeJob);
  start(sharing("one"));
  server.workers.wait_finished(++jobs_);
  ASSERT_TRUE(server.workers.wait_stages(2));
  stop();
  for (const auto& [key, kept] : server.workers.stages)
    server.artifacts.blobs.erase(Manifest::parse(kept.manifest_json()).files.at(0).chunks.at(0).digest.hex());
  const auto second = run("two", "job2");
  ASSERT_EQ(second.outcome(), "succeeded");
  EXPECT_EQ(second.stages(0).state(), "done");
}

TEST_F(TwoWorkers, AStageIsSharedLongBeforeItsJobEnds) {
  auto o = sharing("one");
  server.enqueue("job1", {{"stage", "first"}, {"stage", "second"}, {"sleep", 1000}});
  start(o);
  EXPECT_TRUE(server.workers.wait_stages(1, 20));  // the second waits for the step after it
  stop();
}

TEST_F(TwoWorkers, WhatTookLittleTimeIsNotShared) {
  auto o = sharing("one");
  o.share_seconds = 0.2;  // the fake stages say 0.1
  o.once = true;
  server.enqueue("job1", kWholeJob);
  start(o);
  server.workers.wait_finished();
  thread.join();
  agent.reset();
  EXPECT_TRUE(server.workers.stages.empty());
}

TEST_F(TwoWorkers, AWorkerOfOneJobEndsWhenAllIsShared) {
  auto o = sharing("one");
  o.once = true;
  server.enqueue("job1", kWholeJob);
  start(o);
  thread.join();
  agent.reset();
  EXPECT_EQ(server.workers.stages.size(), 2u);
}

TEST_F(TwoWorkers, AWorkerThatLeavesAsItIsIdleSharesAllBefore) {
  auto o = sharing("one");
  o.exit_when_idle = 1;
  server.workers.keep_ms = 1500;
  server.enqueue("job1", kWholeJob);
  start(o);
  thread.join();
  agent.reset();
  EXPECT_EQ(server.workers.stages.size(), 2u);
}

TEST_F(AgentTest, FetchesNoBlobTwice) {
  outcome_of(kWholeJob);
  server.enqueue("job2", kWholeJob);
  server.workers.wait_finished(2);
  EXPECT_EQ(server.artifacts.sent, 5000u);
}

TEST_F(AgentTest, SendsChunksAgainThatWereCollectedBeforeItsCommit) {
  server.artifacts.lose_at_commit = 2;
  EXPECT_EQ(outcome_of(kWholeJob).outcome(), "succeeded");
}

TEST_F(AgentTest, TellsHowAnEngineCrashedAndWhatItSaidLast) {
  const auto finished = outcome_of(
      {{"stage", "first"}, {"log", "all is well"}, {"log", "something is odd"}, {"signal", SIGSEGV}});
  EXPECT_EQ(finished.outcome(), "failed");
  EXPECT_EQ(finished.error().reason(), "ENGINE_CRASH");
  EXPECT_EQ(finished.error().signal(), SIGSEGV);
  EXPECT_EQ(finished.error().stage(), 0);
  EXPECT_THAT(finished.error().message(), HasSubstr("step 1 (first)"));
  EXPECT_EQ(finished.error().last_log(), "all is well\nsomething is odd\n");
  EXPECT_EQ(read_file(folder.path() / "cache" / "jobs" / "job1" / "engine.log"),
            "all is well\nsomething is odd\n");
  EXPECT_TRUE(finished.result().empty());
}

TEST_F(AgentTest, TheServerHasAllLinesOfAnEngineBeforeItHearsOfItsEndAlsoWhatIsNoUtf8) {
  const auto finished =
      outcome_of({{"stage", "first"}, {"log", "all is well"}, {"log_bytes", "41ff420a"}, {"exit", 3}});
  EXPECT_EQ(finished.error().last_log(), "all is well\nA\uFFFDB\n");
  EXPECT_THAT(server.workers.log, testing::IsSupersetOf({"all is well", "A\uFFFDB"}));
}

TEST_F(AgentTest, AnEngineThatExitsWithoutAWordHasCrashed) {
  const auto finished = outcome_of({{"exit", 0}});
  EXPECT_EQ(finished.error().reason(), "ENGINE_CRASH");
  EXPECT_THAT(finished.error().message(), HasSubstr("status 0"));
}

TEST_F(AgentTest, KeepsOnlyTheEndOfALongLog) {
  test::Actions actions;
  for (int i = 0; i < 100; ++i) actions.push_back({"log", "line " + std::to_string(i)});
  actions.push_back({"exit", 3});
  const auto log = outcome_of(actions).error().last_log();
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 20);
  EXPECT_THAT(log, testing::StartsWith("line 80\n"));
}

TEST_F(AgentTest, PassesTheEnginesOwnErrorOn) {
  const auto finished = outcome_of({{"stage", "first"},
                                    {"error",
                                     {{"code", "INVALID_ARGUMENT"},
                                      {"reason", "NAN_WEIGHTS"},
                                      {"message", "NaN in layer 3"},
                                      {"field", "model"},
                                      {"hint", "mend it"}}}});
  EXPECT_EQ(finished.error().code(), "INVALID_ARGUMENT");
  EXPECT_EQ(finished.error().reason(), "NAN_WEIGHTS");
  EXPECT_EQ(finished.error().field(), "model");
  EXPECT_EQ(finished.error().stage(), 0);
  EXPECT_EQ(finished.error().signal(), 0);
}

TEST_F(AgentTest, RemovesTheSnapshotsOfAJobThatWouldFailAgainAndNotOfOneThatMayBeTriedAgain) {
  const std::string key(64, 'a');
  const Json step{{"index", 0}, {"name", "made"}, {"kind", "stage"}, {"key", key}};
  const Json plan{{"type", "plan"}, {"steps", Json::array({step})}};
  const auto fails = [](const char* code) {
    return Json::array({"error", Json{{"code", code}, {"reason", "BROKEN"}, {"message", "it is broken"}}});
  };
  fs::create_directories(engine_folder() / key);
  server.enqueue("job1", {{"say", plan}, fails("INTERNAL")});
  server.enqueue("job2", {{"say", plan}, fails("INVALID_ARGUMENT")});
  server.enqueue("job3", {"result"});
  start();
  ASSERT_EQ(server.workers.wait_finished(1).error().code(), "INTERNAL");
  EXPECT_TRUE(fs::exists(engine_folder() / key));
  ASSERT_EQ(server.workers.wait_finished(3).outcome(), "succeeded");
  EXPECT_FALSE(fs::exists(engine_folder() / key));
}

TEST_F(AgentTest, AnEngineReadsItsInputsAndItsProjectsStagesAndNothingElseThatIsTheWorkers) {
  if (!Sandbox(kEngine, {}).has(Sandbox::kReads)) GTEST_SKIP() << "this kernel has no Landlock";
  auto o = options();
  o.config = folder.path() / "worker.yaml";
  const auto beside = (folder.path() / "beside").string(), cache = o.cache.string();
  for (const auto& file : {o.config, fs::path(beside)}) std::ofstream(file) << "token: secret\n";
  const std::vector<std::string> refused{o.config.string(), cache + "/worker.json", cache + "/blobs",
                                         cache + "/stages", cache + "/jobs"};
  test::Actions actions;
  for (const auto& path : {beside, cache + "/stages/" + sha256("").hex().substr(0, 16)})
    actions.push_back({"read", path});
  for (const auto& path : refused) actions.push_back({"read", path});
  actions.insert(actions.end(), kWholeJob.begin(), kWholeJob.end());
  server.enqueue("job1", actions);
  server.enqueue("job2", kWholeJob);
  start(o);
  EXPECT_EQ(server.workers.wait_finished(1).outcome(), "succeeded");
  EXPECT_EQ(server.workers.wait_finished(2).stages(1).state(), "cached");
  const std::lock_guard lock(server.workers.mutex);
  EXPECT_THAT(server.workers.log, testing::Contains(beside + ": done"));
  EXPECT_THAT(server.workers.log, testing::Contains(testing::MatchesRegex(".*/stages/[0-9a-f]+: done")));
  for (const auto& path : refused)
    EXPECT_THAT(server.workers.log, testing::Contains(path + ": Permission denied"));
}

TEST_F(AgentTest, WaitsBeforeItsNextJobWhereItsDiskIsFull) {
  const Json full = {"error", {{"code", "RESOURCE_EXHAUSTED"}, {"reason", "DISK_FULL"}, {"message", "full"}}};
  server.enqueue("job1", {full});
  server.enqueue("job2", {"result"});
  start();
  ASSERT_EQ(server.workers.wait_finished(1).error().reason(), "DISK_FULL");
  const Stopwatch watch;
  ASSERT_EQ(server.workers.wait_finished(2).outcome(), "succeeded");
  EXPECT_GT(watch.seconds(), 0.9);
}

TEST_F(AgentTest, EndsAnEngineThatBreaksTheProtocol) {
  const auto finished = outcome_of({write_pid(), {"raw", {{"text", "{\"type\":\n"}}}, {"sleep", 1000}});
  EXPECT_EQ(finished.error().reason(), "ENGINE_PROTOCOL");
  EXPECT_FALSE(is_running(engine_pid()));
}

TEST_F(AgentTest, EndsAnEngineWhoseLineNeverEnds) {
  const auto finished =
      outcome_of({{"raw", {{"text", std::string(1000, 'x')}, {"times", 17000}}}, {"sleep", 1000}});
  EXPECT_EQ(finished.error().reason(), "ENGINE_PROTOCOL");
}

TEST_F(AgentTest, RefusesAResultThatIsNotWhatTheEngineSays) {
  const auto finished = outcome_of({{"say",
                                     {{"type", "result"},
                                      {"path", "/etc"},
                                      {"kind", "model"},
                                      {"metadata", Json::object()},
                                      {"digest", "00"}}}});
  EXPECT_EQ(finished.outcome(), "failed");
  EXPECT_EQ(finished.error().reason(), "ENGINE_PROTOCOL");
}

TEST_F(AgentTest, KeepsNothingThatLiesOutsideTheEnginesScratch) {
  const auto finished = outcome_of({{"say",
                                     {{"type", "step_done"},
                                      {"index", 0},
                                      {"name", "x"},
                                      {"key", sha256("x").hex()},
                                      {"path", (folder.path() / "cache" / "blobs").string()}}},
                                    {"sleep", 1000}});
  EXPECT_EQ(finished.error().reason(), "ENGINE_PROTOCOL");
}

TEST_F(AgentTest, EndsAnEngineThatNeedsMoreMemoryThanItsLimit) {
  const auto finished = outcome_of({{"allocate", 400 << 20}}, [](v1::JobSpec& spec) {
    spec.mutable_resources()->set_memory_bytes(150'000'000);
  });
  EXPECT_EQ(finished.outcome(), "failed");
  EXPECT_EQ(finished.error().code(), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(finished.error().reason(), "MEMORY_LIMIT");
  EXPECT_THAT(finished.error().message(), HasSubstr("of 150.0 MB"));
}

TEST_F(AgentTest, AnEngineThatNeedsMoreThanTheWorkersLimitMayFitALargerWorker) {
  server.enqueue("job1", {{"allocate", 400 << 20}});
  auto o = options();
  o.memory_bytes = 150'000'000;
  start(o);
  const auto finished = server.workers.wait_finished();
  EXPECT_EQ(finished.error().code(), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(finished.error().reason() + " " + finished.error().field(), "OUT_OF_MEMORY --memory");
}

TEST_F(AgentTest, EndsAJobAtItsTimeLimit) {
  const Stopwatch watch;
  const auto finished =
      outcome_of({{"sleep", 1000}}, [](v1::JobSpec& spec) { spec.set_max_runtime_seconds(0.5); });
  EXPECT_EQ(finished.error().code(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(finished.error().reason(), "MAX_RUNTIME");
  EXPECT_LT(watch.seconds(), 5);
}

class Cancel : public AgentTest, public testing::WithParamInterface<bool> {};

TEST_P(Cancel, EndsTheEngineAndItsChildrenWithinTwoSecondsAndLeavesNothing) {
  const auto child_file = (engine_folder() / "child").string();
  test::Actions actions = {Json{"stage", "first"}, write_pid(), Json{"child", child_file}};
  if (GetParam()) actions.push_back("ignore-sigterm");
  actions.push_back({"sleep", 1000});
  server.enqueue("job1", actions);
  start();
  const auto pid = engine_pid();
  ASSERT_TRUE(becomes_true([&] { return fs::exists(child_file) && fs::file_size(child_file) > 0; }));
  const auto child = static_cast<pid_t>(std::stoi(read_file(child_file)));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const Stopwatch watch;
  {
    const std::lock_guard lock(server.workers.mutex);
    server.workers.action = "cancel";
  }
  const auto finished = server.workers.wait_finished();
  EXPECT_LT(watch.seconds(), 2.0);
  EXPECT_EQ(finished.outcome(), "cancelled");
  EXPECT_FALSE(is_running(pid));
  EXPECT_TRUE(becomes_true([&] { return !is_running(child); }, 1));
  EXPECT_TRUE(becomes_true([&] { return scratch_is_empty(); }));
  EXPECT_FALSE(fs::exists(folder.path() / "cache" / "jobs" / "job1"));
}

INSTANTIATE_TEST_SUITE_P(WhetherItHeedsSigtermOrNot, Cancel, testing::Bool());

TEST_F(AgentTest, DropsAJobWhoseLeaseIsLostAndSaysNothing) {
  server.enqueue("job1", {write_pid(), {"sleep", 1000}});
  start();
  const auto pid = engine_pid();
  {
    const std::lock_guard lock(server.workers.mutex);
    server.workers.action = "lost";
  }
  EXPECT_TRUE(becomes_true([&] { return !is_running(pid); }, 5));
  {
    const std::lock_guard lock(server.workers.mutex);
    server.workers.action = "continue";
  }
  server.enqueue("job2", kWholeJob);
  EXPECT_EQ(server.workers.wait_finished().job_id(), "job2");
}

TEST_F(AgentTest, DropsAJobWhenAReportIsRefusedAsStale) {
  server.workers.stale = true;
  server.enqueue("job1", {write_pid(), {"stage", "first"}, {"sleep", 1000}});
  start();
  const auto pid = engine_pid();
  EXPECT_TRUE(becomes_true([&] { return !is_running(pid); }, 5));
  EXPECT_TRUE(server.workers.finished.empty());
}

TEST_F(AgentTest, GivesItsJobBackWhenItDrains) {
  server.enqueue("job1", {{"stage", "first"}, write_pid(), {"sleep", 1000}});
  start();
  const auto pid = engine_pid();
  const Stopwatch watch;
  stop();
  EXPECT_LT(watch.seconds(), 4);
  const auto finished = server.workers.wait_finished(1, 0);
  EXPECT_EQ(finished.outcome(), "released");
  EXPECT_EQ(finished.stages(0).state(), "done");
  EXPECT_FALSE(is_running(pid));
}

// As scancel does: every process of the batch job at once.
TEST_F(AgentTest, GivesItsJobBackWhereTheEngineHearsOfTheEndFirst) {
  server.enqueue("job1", {{"stage", "first"}, write_pid(), {"sleep", 1000}});
  start();
  ::kill(engine_pid(), SIGTERM);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  stop();
  EXPECT_EQ(server.workers.wait_finished(1, 0).outcome(), "released");
}

// As a guard against memory running out does, or a person.
TEST_F(AgentTest, AnEngineThatAloneIsToldToEndIsACrashAndNoCancellation) {
  server.enqueue("job1", {{"stage", "first"}, write_pid(), {"sleep", 1000}});
  start();
  ::kill(engine_pid(), SIGTERM);
  const auto finished = server.workers.wait_finished();
  EXPECT_EQ(finished.outcome(), "failed");
  EXPECT_EQ(finished.error().reason(), "ENGINE_CRASH");
  EXPECT_EQ(finished.error().signal(), SIGTERM);
}

TEST_F(AgentTest, LeavesOnceItHadNothingToDoForSoLongAndNotBefore) {
  auto o = options();
  o.exit_when_idle = 1;
  server.enqueue("job1", {{"sleep", 2}, {"stage", "first"}, "result"});
  start(o);
  EXPECT_EQ(server.workers.wait_finished().outcome(), "succeeded");
  const Stopwatch watch;
  thread.join();
  EXPECT_GT(watch.seconds(), 0.5);
  EXPECT_LT(watch.seconds(), 4);
  agent.reset();
}

TEST_F(AgentTest, LeavesWhereNoServerAnswersEither) {
  auto o = options();
  o.exit_when_idle = 0.2;
  server.stop();
  start(o);
  const Stopwatch watch;
  thread.join();
  EXPECT_LT(watch.seconds(), 15);
  agent.reset();
  server.start();
}

TEST_F(AgentTest, LetsAJobEndThatEndsWithinTheDrainTime) {
  auto o = options();
  o.drain_seconds = 20;
  const auto go = (folder.path() / "go").string();
  server.enqueue("job1", {write_pid(), {"wait-for", go}, {"stage", "first"}, "result"});
  start(o);
  engine_pid();
  agent->drain();
  std::ofstream(go) << "go";
  thread.join();
  EXPECT_EQ(server.workers.wait_finished(1, 0).outcome(), "succeeded");
  agent.reset();
}

TEST_F(AgentTest, GoesOnWhileTheServerIsAwayAndFinishesWhenItIsBack) {
  const auto go = (folder.path() / "go").string();
  server.enqueue("job1", {write_pid(), {"wait-for", go}, {"stage", "first"}, "evaluate", "result"});
  start();
  const auto pid = engine_pid();
  server.stop();
  std::ofstream(go) << "go";
  EXPECT_TRUE(
      becomes_true([&] { return !is_running(pid); }));  // it has finished its work with nobody to tell
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  server.start();
  const auto finished = server.workers.wait_finished();
  EXPECT_EQ(finished.outcome(), "succeeded");
  EXPECT_TRUE(server.artifacts.manifests.contains(finished.result()));
  EXPECT_TRUE(server.workers.wait_report("first", "done", 1));
}

TEST_F(AgentTest, IntroducesItselfAgainWhereTheServerHasForgottenIt) {
  start();
  ASSERT_TRUE(becomes_true([&] {
    const std::lock_guard lock(server.workers.mutex);
    return server.workers.heartbeats > 0;
  }));
  {
    const std::lock_guard lock(server.workers.mutex);
    server.workers.ask_register = true;
  }
  EXPECT_TRUE(becomes_true([&] {
    const std::lock_guard lock(server.workers.mutex);
    return server.workers.registered.size() == 2;
  }));
}

TEST_F(AgentTest, FailsAJobWhoseInputIsNotInTheStore) {
  const auto finished =
      outcome_of(kWholeJob, [](v1::JobSpec& spec) { spec.set_model(sha256("nothing").hex()); });
  EXPECT_EQ(finished.outcome(), "failed");
  EXPECT_EQ(finished.error().code(), "NOT_FOUND");
}

TEST_F(AgentTest, FailsAJobThatDoesNotFitIntoTheCache) {
  auto o = options();
  o.cache_bytes = 4000;
  server.enqueue("job1", kWholeJob);
  start(o);
  EXPECT_EQ(server.workers.wait_finished().error().reason(), "CACHE_TOO_SMALL");
}

TEST_F(AgentTest, CarriesProgressInItsHeartbeats) {
  server.enqueue("job1", {{"stage", "first"}, {"sleep", 1.5}, "result"});
  start();
  server.workers.wait_finished();
  const std::lock_guard lock(server.workers.mutex);
  ASSERT_FALSE(server.workers.progress.empty());
  EXPECT_EQ(server.workers.progress[0].unit(), "blocks");
  EXPECT_EQ(server.workers.progress[0].total(), 2u);
}

TEST_F(AgentTest, SaysWithItsHeartbeatsWhatItsDevicesAndItsCacheAreUsedFor) {
  EXPECT_EQ(outcome_of(kWholeJob).outcome(), "succeeded");
  v1::WorkerUse use;
  ASSERT_TRUE(becomes_true([&] {
    const std::lock_guard lock(server.workers.mutex);
    use = server.workers.use;
    return use.cache_bytes() > 5000;  // the input's
  }));
  ASSERT_EQ(use.devices_size(), 1);
  EXPECT_EQ(use.devices(0).kind(), "cpu");
  EXPECT_GT(use.devices(0).memory_bytes(), 0u);
  EXPECT_EQ(use.cache_missed_bytes(), 5000u);
}

TEST_F(AgentTest, NeedsAnEngineThatWorks) {
  auto o = options();
  for (const char* engine : {"/bin/false", "/nowhere/wring-engine"}) {
    o.engine = engine;
    EXPECT_EQ(thrown_by([&] { const Agent agent(o); }).reason(), "NO_ENGINE") << engine;
  }
}

}  // namespace
}  // namespace wring
