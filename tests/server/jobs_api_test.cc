// Jobs, projects and workers through the API, by a real channel on loopback.
#include <atomic>
#include <cmath>
#include <future>
#include <thread>

#include "server/api/read_recipes.h"
#include "tests/server/test_service.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Jobs : public Service {};

TEST_F(Jobs, ASubmitToldTwiceIsOneJobAlsoOverARestart) {
  const auto request = submission();
  const auto first = submit(request);
  EXPECT_EQ(submit(request).id(), first.id());
  start();
  EXPECT_EQ(submit(request).id(), first.id());
  auto other = request;
  other.mutable_spec()->set_seed(7);
  const auto error = thrown_by([&] { submit(other); });
  EXPECT_EQ(error.code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(error.reason(), "REQUEST_ID_REUSED");
}

TEST_F(Jobs, EqualSubmitsAtTheSameTimeAreOneJob) {
  const auto request = submission();
  std::vector<std::string> ids(8);
  {
    std::vector<std::jthread> threads;
    for (auto& id : ids) threads.emplace_back([&] { id = submit(request).id(); });
  }
  EXPECT_THAT(ids, testing::Each(ids[0]));
}

TEST(ReadRecipes, OneTextIsReadOnceAndWhatIsRefusedEachTime) {
  ReadRecipes recipes;
  const auto first = recipes.of("rtn(bits=4)");
  EXPECT_EQ(first->normal_form, parse_recipe("rtn(bits=4)").normal_form().dump());
  EXPECT_EQ(first->digest, parse_recipe("rtn(bits=4)").digest().hex());
  EXPECT_EQ(recipes.of("rtn(bits=4)"), first);
  EXPECT_NE(recipes.of("rtn(bits=5)")->digest, first->digest);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(thrown_by([&] { recipes.of("rtn(bits=17)"); }).field(), "stages[0].params.bits");
  for (int i = 0; i < 300; ++i)
    recipes.of("rtn(bits=4) | rtn(bits=4, group_size=" + std::to_string(i + 1) + ")");
  EXPECT_EQ(first->recipe.stages.size(), 1u);  // forgotten, and still held
  EXPECT_NE(recipes.of("rtn(bits=4)"), first);
}

TEST_F(Jobs, ValidateOnlyLeavesNoJob) {
  auto request = submission();
  request.set_validate_only(true);
  EXPECT_THAT(submit(request).id(), IsEmpty());
  EXPECT_THAT(call(*jobs_, &v1::Jobs::Stub::ListJobs, v1::ListJobsRequest()).jobs(), IsEmpty());
}

TEST_F(Jobs, OneThatIsOnlyPlannedWaitsForAWorkerThatCanAndEndsWithForecastsAlone) {
  auto request = submission();
  request.mutable_spec()->set_plan_only(true);
  const auto id = submit(request).id();
  add_worker();
  EXPECT_FALSE(lease().leased());
  EXPECT_EQ(get(id).waiting_reason(), "no connected worker has method plan-only@1");
  add_worker("planner", {kPlanOnly});
  const auto leased = lease(0, "planner");
  ASSERT_TRUE(leased.leased());
  EXPECT_TRUE(leased.job().spec().plan_only());
  auto end = ending(leased, "succeeded");
  auto& stage = *end.add_stages();
  stage.set_name("rtn");
  stage.set_state("pending");
  stage.set_forecast_peak_bytes(900);
  stage.set_forecast_bytes_after(20);
  finish(end);
  const auto planned = get(id);
  EXPECT_EQ(planned.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(planned.result(), "");
  EXPECT_EQ(planned.stages(0).forecast_peak_bytes(), 900u);
  EXPECT_EQ(planned.stages(0).forecast_bytes_after(), 20u);
}

TEST_F(Jobs, AWorkerLearnsWhichCallSubmittedItsJobAlsoOverARestart) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "call-1");
  v1::Job job;
  check(jobs_->SubmitJob(&context, submission(), &job));
  start();
  add_worker();
  EXPECT_EQ(lease().request_id(), "call-1");
}

TEST_F(Jobs, TheWayOfAJobFromQueueToResult) {
  const auto job = submit();
  EXPECT_EQ(job.state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(job.waiting_reason(), "no worker is connected");
  add_worker();
  const auto leased = lease();
  ASSERT_TRUE(leased.leased());
  EXPECT_EQ(leased.job().id(), job.id());
  EXPECT_EQ(leased.job().spec().recipe(), "rtn(bits=4)");
  EXPECT_THAT(leased.normal_form_json(), HasSubstr("\"rtn\""));
  report(leased, 0, "pending");
  report(leased, 0, "running");
  v1::Progress progress;
  progress.set_done(3);
  progress.set_total(30);
  EXPECT_EQ(heartbeat(leased, progress).answers(0).action(), "continue");
  EXPECT_EQ(get(job.id()).stages(0).progress().done(), 3u);
  report(leased, 0, "done");
  report(leased, 1, "done", {row("perplexity", 20)});
  auto end = ending(leased, "succeeded");
  end.set_result(upload("the result"));
  *end.add_evaluations() = row("perplexity", 20);
  *end.add_evaluations() = row("size", 5);
  finish(end);
  finish(end);
  const auto ended = get(job.id().substr(0, 9));
  EXPECT_EQ(ended.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(ended.result(), end.result());
  EXPECT_THAT(ended.evaluations(), SizeIs(2));
  EXPECT_THAT(ended.stages(), SizeIs(2));
  EXPECT_EQ(ended.stages(0).state(), "done");
  EXPECT_EQ(ended.attempt(), 1u);
  EXPECT_GE(ended.end_time().seconds(), ended.create_time().seconds());
  v1::GetArtifactRequest artifact;
  artifact.set_digest(end.result());
  EXPECT_EQ(call(*artifacts_, &v1::Artifacts::Stub::GetArtifact, artifact).created_by_job(), job.id());
}

TEST_F(Jobs, ASuccessWhoseArtifactWasNotCommittedIsRefused) {
  submit();
  add_worker();
  auto end = ending(lease(), "succeeded");
  end.set_result(std::string(64, 'a'));
  EXPECT_EQ(thrown_by([&] { finish(end); }).field(), "result");
  end.clear_result();
  end.add_exports(std::string(64, 'a'));
  EXPECT_EQ(thrown_by([&] { finish(end); }).field(), "exports");
  EXPECT_EQ(thrown_by([&] { finish(end); }).reason(), "ARTIFACT_NOT_FOUND");
  EXPECT_EQ(get(end.job_id()).state(), v1::JOB_STATE_RUNNING);
}

// Runs jobs whose results are kept as their submits ask.
class Retained : public Jobs {
 protected:
  Retained() { add_worker(); }

  static v1::Retention expire_after(double seconds) {
    v1::Retention retention;
    retention.set_expire_after_seconds(seconds);
    return retention;
  }
  static v1::Retention pinned() {
    v1::Retention retention;
    retention.set_pinned(true);
    return retention;
  }

  // A job that ends with `content`, uploaded by its worker, as its result, and perhaps another as an export.
  v1::Job run(const v1::Retention& retention, const std::string& content, const std::string& exported = {}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // what is there is older than the job
    auto request = submission();
    *request.mutable_spec()->mutable_retention() = retention;
    submit(request);
    auto end = ending(lease(), "succeeded");
    end.set_result(upload(content));
    if (!exported.empty()) end.add_exports(upload(exported));
    finish(end);
    return get(end.job_id());
  }
  v1::Artifact artifact(const std::string& digest) {
    v1::GetArtifactRequest request;
    request.set_digest(digest);
    return call(*artifacts_, &v1::Artifacts::Stub::GetArtifact, request);
  }
};

TEST_F(Retained, ResultAndExportsExpireAsLongAfterTheSuccessAsAsked) {
  const auto job = run(expire_after(3600), "the result", "an export");
  for (const auto& digest : {job.result(), upload("an export")}) {
    const auto kept = artifact(digest);
    EXPECT_EQ(kept.created_by_job(), job.id());
    EXPECT_EQ(kept.expire_time().seconds(), job.end_time().seconds() + 3600);
  }
  EXPECT_EQ(job.spec().retention().expire_after_seconds(), 3600);
  EXPECT_TRUE(artifact(run(pinned(), "another").result()).pinned());
  EXPECT_FALSE(artifact(run({}, "a third").result()).has_expire_time());
}

TEST_F(Retained, WhatAnAttemptHandsInGoesUnlessItsJobSucceeds) {
  const auto hand_in = [&](const std::string& job, const std::string& content) {
    write_blob(pieces(content, random_uuid(), 0, content.size()));
    Manifest manifest;
    manifest.kind = "model";
    manifest.files = {{"file", content.size(), {{sha256(content), content.size()}}}};
    v1::CommitArtifactRequest request;
    request.set_manifest_json(manifest.canonical());
    grpc::ClientContext context;
    context.AddMetadata(kJobMetadata, job);
    v1::Artifact made;
    check(artifacts_->CommitArtifact(&context, request, &made));
    return made;
  };
  submit();
  auto leased = lease();
  const auto lost = hand_in(leased.job().id(), "of a cancelled job");
  EXPECT_EQ(lost.created_by_job(), leased.job().id());
  EXPECT_EQ(lost.expire_time().seconds() - lost.create_time().seconds(), 86'400);
  cancel(leased.job().id());
  finish(ending(leased, "cancelled"));
  EXPECT_TRUE(artifact(lost.digest()).has_expire_time());
  upload("of a cancelled job");
  EXPECT_FALSE(artifact(lost.digest()).has_expire_time()) << "somebody counts on it now";

  submit();
  leased = lease();
  auto success = ending(leased, "succeeded");
  success.set_result(hand_in(leased.job().id(), "of a success").digest());
  finish(success);
  EXPECT_FALSE(artifact(success.result()).has_expire_time());
}

TEST_F(Retained, WhatTheProjectHadIsKeptAtLeastAsLongAsItWasToBe) {
  const auto had = upload("an upload");
  EXPECT_FALSE(artifact(run(expire_after(60), "an upload").result()).has_expire_time());
  const auto first = run(expire_after(3600), "the result");
  const auto until = artifact(first.result()).expire_time().seconds();
  EXPECT_EQ(artifact(run(expire_after(60), "the result").result()).expire_time().seconds(), until);
  EXPECT_GE(artifact(run(expire_after(7200), "the result").result()).expire_time().seconds(), until + 3600);
  EXPECT_FALSE(artifact(run({}, "the result").result()).has_expire_time());
  EXPECT_FALSE(artifact(run(expire_after(60), "the result").result()).has_expire_time());
  EXPECT_TRUE(artifact(run(pinned(), "an upload").result()).pinned());
  EXPECT_TRUE(artifact(run(expire_after(60), "an upload").result()).pinned());
  EXPECT_EQ(artifact(first.result()).created_by_job(), first.id());
  EXPECT_EQ(artifact(had).digest(), had);
}

TEST_F(Retained, WhatCannotBeIsRefusedAtSubmitByItsField) {
  auto request = submission();
  *request.mutable_spec()->mutable_retention() = expire_after(-1);
  EXPECT_EQ(thrown_by([&] { submit(request); }).field(), "spec.retention.expire_after_seconds");
  request.mutable_spec()->mutable_retention()->set_expire_after_seconds(5);
  request.mutable_spec()->mutable_retention()->set_pinned(true);
  EXPECT_EQ(thrown_by([&] { submit(request); }).field(), "spec.retention");
}

TEST_F(Jobs, ARestartInMidJobLosesNothingAndTheWorkerGoesOnUnderItsLease) {
  const auto job = submit();
  const auto waiting = submit();
  add_worker();
  const auto leased = lease();
  report(leased, 0, "done");
  start();
  EXPECT_EQ(get(job.id()).state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(get(waiting.id()).state(), v1::JOB_STATE_QUEUED);
  const auto answer = heartbeat(leased);
  EXPECT_FALSE(answer.register_again());
  EXPECT_EQ(answer.answers(0).action(), "continue");
  report(leased, 1, "done");
  finish(ending(leased, "succeeded"));
  EXPECT_EQ(get(job.id()).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(get(job.id()).stages(), SizeIs(2));
  const auto next = lease();
  EXPECT_EQ(next.job().id(), waiting.id());
  EXPECT_GT(next.fence().n(), leased.fence().n());
}

TEST_F(Jobs, ALeaseThatNobodyRenewsComesToAnotherWorkerWithFinishedStages) {
  options_.lease_ms = 2000;
  options_.backoff_ms = 1;
  start();
  submit();
  add_worker("w");
  add_worker("v");
  const auto lost = lease();
  report(lost, 0, "done");
  const auto again = lease(15, "v");
  ASSERT_TRUE(again.leased());
  ASSERT_EQ(again.job().stages_size(), 1);
  EXPECT_EQ(again.job().stages(0).state(), "done");
  EXPECT_EQ(heartbeat(lost).answers(0).action(), "lost");
  EXPECT_EQ(thrown_by([&] { report(lost, 1, "done"); }).reason(), "STALE_LEASE");
  const auto error = thrown_by([&] { finish(ending(lost, "succeeded")); });
  EXPECT_EQ(error.code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(error.reason(), "STALE_LEASE");
  finish(ending(again, "succeeded"));
  EXPECT_EQ(get(lost.job().id()).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(Jobs, AWaitingWorkerIsWokenByASubmit) {
  add_worker();
  const auto request = submission();
  v1::LeaseJobResponse leased;
  std::jthread worker([&] { leased = lease(10); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  submit(request);
  worker.join();
  EXPECT_TRUE(leased.leased());
}

TEST_F(Jobs, WatchGivesKeptEventsThenLiveOnesAndEndsWithTheJob) {
  const auto job = submit();
  add_worker();
  std::vector<std::string> types;
  std::vector<std::uint64_t> numbers;
  std::atomic<int> seen = 0;
  std::jthread watcher([&] {
    grpc::ClientContext context;
    v1::WatchJobRequest request;
    request.set_id(job.id());
    const auto reader = jobs_->WatchJob(&context, request);
    for (v1::Event event; reader->Read(&event); ++seen) {
      types.push_back(event.type());
      numbers.push_back(event.number());
    }
    check(reader->Finish());
  });
  const auto wait_for = [&](int count) {
    for (int i = 0; i < 500 && seen < count; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  };
  wait_for(1);
  const auto leased = lease();
  report(leased, 0, "running");
  wait_for(3);
  v1::Progress progress;
  progress.set_done(1);
  heartbeat(leased, progress);
  wait_for(4);
  report(leased, 0, "done");
  finish(ending(leased, "succeeded"));
  watcher.join();
  EXPECT_THAT(types, ElementsAre("queued", "leased", "stage_started", "progress", "stage_done", "succeeded"));
  EXPECT_THAT(numbers, ElementsAre(1, 2, 3, 0, 4, 5)) << "progress is not kept";
}

TEST_F(Jobs, TheLogHasTheNewestThousandLinesAndNothingOfALostLease) {
  const auto job = submit();
  add_worker();
  const auto leased = lease();
  const auto log = [&](std::uint64_t after) {
    v1::ListLogLinesRequest request;
    request.set_id(job.id());
    request.set_after(after);
    return call(*jobs_, &v1::Jobs::Stub::ListLogLines, request);
  };
  const auto say = [&](const v1::LeaseJobResponse& lease, int from, int to, const std::string& more = "") {
    v1::HeartbeatRequest request;
    request.set_worker_id("w");
    auto* status = request.add_leases();
    status->set_job_id(lease.job().id());
    *status->mutable_fence() = lease.fence();
    for (int i = from; i <= to; ++i) status->add_log("line " + std::to_string(i) + more);
    return call(*workers_, &v1::Workers::Stub::Heartbeat, request).answers(0).action();
  };
  EXPECT_THAT(log(0).lines(), SizeIs(0));
  EXPECT_EQ(say(leased, 1, 3), "continue");
  report(leased, 0, "running");  // what was written before it is on disk with it
  ASSERT_THAT(log(0).lines(), SizeIs(3));
  EXPECT_EQ(log(2).lines(0).text(), "line 3");
  EXPECT_EQ(log(2).lines(0).number(), 3u);
  say(leased, 4, 1002, std::string(2000, 'x'));
  report(leased, 0, "done");
  ASSERT_THAT(log(0).lines(), SizeIs(1000));
  EXPECT_EQ(log(0).lines(0).text(), "line 3");
  EXPECT_THAT(log(1001).lines(0).text(), SizeIs(1000));
  finish(ending(leased, "released"));
  EXPECT_EQ(say(leased, 1, 1), "lost");
  cancel(job.id());
  EXPECT_THAT(log(0).lines(), SizeIs(1000));
  v1::DeleteJobRequest removed;
  removed.set_id(job.id());
  call(*jobs_, &v1::Jobs::Stub::DeleteJob, removed);
  EXPECT_EQ(thrown_by([&] { log(0); }).reason(), "JOB_NOT_FOUND");
}

TEST_F(Jobs, ACachedStageHasTheReportOfTheJobOfItsProjectThatRanIt) {
  add_worker();
  const auto ran = [&](const std::string& project, const std::string& state, const std::string& report) {
    auto request = submission();
    request.mutable_spec()->set_project(project);
    const auto job = call(*jobs_, &v1::Jobs::Stub::SubmitJob, request);
    const auto leased = lease();
    v1::ReportStageRequest stage;
    stage.set_job_id(job.id());
    *stage.mutable_fence() = leased.fence();
    stage.mutable_stage()->set_name("rtn");
    stage.mutable_stage()->set_state(state);
    stage.mutable_stage()->set_key("the key");
    stage.mutable_stage()->set_report_json(report);
    call(*workers_, &v1::Workers::Stub::ReportStage, stage);
    auto end = ending(leased, "cancelled");
    *end.add_stages() = stage.stage();
    cancel(job.id());
    finish(end);
    return get(job.id()).stages(0);
  };
  EXPECT_EQ(ran("ours", "cached", "{}").report_json(), "{}");
  ran("ours", "done", R"({"layers":[1]})");
  EXPECT_EQ(ran("ours", "cached", R"({"needed":false})").report_json(), R"({"layers":[1]})");
  EXPECT_EQ(ran("theirs", "cached", "{}").report_json(), "{}");
}

TEST_F(Jobs, WatchFromACursorGivesOnlyWhatCameAfter) {
  const auto job = submit();
  cancel(job.id());
  grpc::ClientContext context;
  v1::WatchJobRequest request;
  request.set_id(job.id());
  request.set_after_event(1);
  const auto reader = jobs_->WatchJob(&context, request);
  v1::Event event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.type(), "cancelled");
  EXPECT_FALSE(reader->Read(&event));
}

TEST_F(Jobs, CancelReachesTheWorkerWithItsNextHeartbeat) {
  const auto job = submit();
  add_worker();
  const auto leased = lease();
  EXPECT_EQ(cancel(job.id()).state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(cancel(job.id()).state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(heartbeat(leased).answers(0).action(), "cancel");
  finish(ending(leased, "cancelled"));
  EXPECT_EQ(get(job.id()).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(cancel(job.id()).state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(Jobs, ANewerPollOfAWorkerEndsTheOlderOneEmptyHanded) {
  add_worker();
  v1::LeaseJobRequest request;
  request.set_worker_id("w");
  request.set_wait_seconds(20);
  *request.add_free_devices() = v1::Device();
  request.mutable_free_devices(0)->set_kind("cpu");
  std::atomic<bool> waits = false;
  auto older = std::async(std::launch::async, [&] {
    return server_->coordinator.lease(request, [&] {
      waits = true;
      return false;
    });
  });
  while (!waits) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  auto newer = std::async(std::launch::async,
                          [&] { return server_->coordinator.lease(request, [] { return false; }); });
  EXPECT_FALSE(older.get().leased());
  const auto id = submit().id();
  EXPECT_EQ(newer.get().job().id(), id);
}

TEST_F(Jobs, ARowThatIsNoNumberIsRefusedAndTheServerGoesOn) {
  const auto id = submit().id();
  add_worker();
  const auto leased = lease();
  for (const double value : {std::nan(""), HUGE_VAL}) {
    v1::ReportStageRequest request;
    request.set_job_id(id);
    *request.mutable_fence() = leased.fence();
    request.mutable_stage()->set_state("done");
    auto* const row = request.add_evaluations();
    row->set_suite("perplexity");
    row->set_metric("perplexity");
    row->set_value(value);
    const auto error = thrown_by([&] { call(*workers_, &v1::Workers::Stub::ReportStage, request); });
    EXPECT_EQ(error.reason() + " " + error.field(), "NOT_FINITE evaluations");
    row->set_value(1);
    row->set_stderr(value);
    EXPECT_EQ(thrown_by([&] { call(*workers_, &v1::Workers::Stub::ReportStage, request); }).reason(),
              "NOT_FINITE");
  }
  EXPECT_EQ(get(id).state(), v1::JOB_STATE_RUNNING);
}

TEST_F(Jobs, APauseTakesAJobFromItsWorkerAndOutlivesARestart) {
  const auto id = submit().id();
  add_worker();
  const auto leased = lease();
  report(leased, 0, "done");
  const auto paused = pause(id);
  EXPECT_EQ(paused.state(), v1::JOB_STATE_QUEUED);
  EXPECT_TRUE(paused.paused());
  EXPECT_EQ(paused.attempt(), 0u);
  EXPECT_EQ(paused.stages(0).state(), "done");
  EXPECT_THAT(paused.waiting_reason(), HasSubstr("paused"));
  EXPECT_EQ(pause(id).etag(), paused.etag());
  EXPECT_EQ(heartbeat(leased).answers(0).action(), "lost");
  start();
  EXPECT_TRUE(get(id).paused());
  EXPECT_FALSE(lease().leased());
  EXPECT_FALSE(resume(id).paused());
  EXPECT_EQ(lease(5).job().id(), id);
  std::vector<std::string> types;
  for (const auto& event : server_->coordinator.events({}, id, 0, 100)) types.push_back(event.type());
  EXPECT_THAT(types, ElementsAre("queued", "leased", "stage_done", "paused", "resumed", "leased"));
}

TEST_F(Jobs, OfAPausedProjectWaitUntilItIsResumed) {
  auto request = submission();
  request.mutable_spec()->set_project("p");
  const auto id = submit(request).id();
  v1::PauseProjectRequest pause;
  pause.set_name("p");
  const auto paused = call(*projects_, &v1::Projects::Stub::PauseProject, pause);
  EXPECT_TRUE(paused.paused());
  EXPECT_EQ(paused.queued(), 1u);
  call(*projects_, &v1::Projects::Stub::PauseProject, pause);
  start();
  add_worker();
  EXPECT_FALSE(lease().leased());
  EXPECT_THAT(get(id).waiting_reason(), HasSubstr("paused: its project"));
  v1::ResumeProjectRequest resume;
  resume.set_name("p");
  EXPECT_FALSE(call(*projects_, &v1::Projects::Stub::ResumeProject, resume).paused());
  EXPECT_EQ(lease(5).job().id(), id);
  const auto listed = call(*projects_, &v1::Projects::Stub::ListProjects, v1::ListProjectsRequest());
  ASSERT_THAT(listed.projects(), SizeIs(1));
  EXPECT_EQ(listed.projects(0).running(), 1u);
  EXPECT_EQ(listed.projects(0).queued(), 0u);
  pause.set_name("P");
  const auto error = thrown_by([&] { call(*projects_, &v1::Projects::Stub::PauseProject, pause); });
  EXPECT_EQ(error.reason() + " " + error.field(), "BAD_PROJECT name");
}

TEST_F(Jobs, AreNotLeasedToAPausedWorkerAlsoOnceItIsBack) {
  const auto id = submit().id();
  add_worker();
  v1::PauseWorkerRequest pause;
  pause.set_id("vm-w");  // its name
  const auto paused = call(*workers_, &v1::Workers::Stub::PauseWorker, pause);
  EXPECT_EQ(paused.id(), "w");
  EXPECT_TRUE(paused.paused());
  start();
  add_worker();
  EXPECT_FALSE(lease().leased());
  EXPECT_THAT(get(id).waiting_reason(), HasSubstr("paused: all connected workers that fit"));
  v1::ResumeWorkerRequest resume;
  resume.set_id("w");
  EXPECT_FALSE(call(*workers_, &v1::Workers::Stub::ResumeWorker, resume).paused());
  EXPECT_EQ(lease(5).job().id(), id);
  pause.set_id("nobody");
  EXPECT_EQ(thrown_by([&] { call(*workers_, &v1::Workers::Stub::PauseWorker, pause); }).reason(),
            "WORKER_NOT_FOUND");
}

TEST_F(Jobs, AnEtagThatIsNoLongerTrueIsAborted) {
  const auto job = submit();
  EXPECT_EQ(thrown_by([&] { cancel(job.id(), "999"); }).code(), ErrorCode::kAborted);
  EXPECT_EQ(get(job.id()).state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(cancel(job.id(), job.etag()).state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(Jobs, AFailedJobCanBeRetriedAndAnEndedOneDeleted) {
  const auto job = submit();
  add_worker();
  auto end = ending(lease(), "failed");
  end.mutable_error()->set_code("INVALID_ARGUMENT");
  end.mutable_error()->set_reason("NAN_WEIGHTS");
  end.mutable_error()->set_last_log(std::string(20'000, 'x') + "\nthe last line é");
  finish(end);
  auto failed = get(job.id());
  EXPECT_EQ(failed.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(failed.error().reason(), "NAN_WEIGHTS");
  EXPECT_EQ(failed.error().last_log(), "\nthe last line é");
  v1::RetryJobRequest retry;
  retry.set_id(job.id());
  EXPECT_EQ(call(*jobs_, &v1::Jobs::Stub::RetryJob, retry).state(), v1::JOB_STATE_QUEUED);
  v1::DeleteJobRequest remove;
  remove.set_id(job.id());
  EXPECT_EQ(thrown_by([&] { call(*jobs_, &v1::Jobs::Stub::DeleteJob, remove); }).reason(), "JOB_NOT_ENDED");
  const auto again = lease();
  EXPECT_EQ(again.job().attempt(), 2u);
  finish(ending(again, "succeeded"));
  call(*jobs_, &v1::Jobs::Stub::DeleteJob, remove);
  EXPECT_EQ(thrown_by([&] { get(job.id()); }).code(), ErrorCode::kNotFound);
}

TEST_F(Jobs, ThatWaitLongerThanTheyMayFailWithTheTimeoutsName) {
  auto request = submission();
  request.mutable_spec()->set_queued_timeout_seconds(0.2);
  const auto id = submit(request).id();
  v1::WatchJobRequest watch;
  watch.set_id(id);
  grpc::ClientContext context;
  const auto reader = jobs_->WatchJob(&context, watch);
  v1::Event event;
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(event.type(), "failed");
  const auto job = get(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.error().code(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(job.error().reason(), "QUEUED_TIMEOUT");
  EXPECT_THAT(job.error().message(), HasSubstr("no worker is connected"));
}

TEST_F(Jobs, AWorkerShowsWhatItHolds) {
  const auto job = submit();
  add_worker();
  lease();
  const auto list = call(*workers_, &v1::Workers::Stub::ListWorkers, v1::ListWorkersRequest());
  ASSERT_THAT(list.workers(), SizeIs(1));
  EXPECT_EQ(list.workers(0).name(), "vm-w");
  EXPECT_THAT(list.workers(0).jobs(), ElementsAre(job.id()));
}

TEST_F(Jobs, AWorkerShowsWhatItsLastHeartbeatToldOfItsUse) {
  add_worker();
  const auto shown = [&] {
    return call(*workers_, &v1::Workers::Stub::ListWorkers, v1::ListWorkersRequest()).workers(0);
  };
  EXPECT_FALSE(shown().has_use());
  v1::HeartbeatRequest request;
  request.set_worker_id("w");
  auto& device = *request.mutable_use()->add_devices();
  device.set_kind("cpu");
  device.set_busy(0.25);
  request.mutable_use()->set_cache_bytes(7);
  call(*workers_, &v1::Workers::Stub::Heartbeat, request);
  EXPECT_EQ(shown().use().devices(0).busy(), 0.25);
  EXPECT_FALSE(shown().use().devices(0).has_memory_bytes());
  EXPECT_EQ(shown().use().cache_bytes(), 7u);
  request.clear_use();
  call(*workers_, &v1::Workers::Stub::Heartbeat, request);
  EXPECT_EQ(shown().use().cache_bytes(), 7u);
  start();
  EXPECT_FALSE(shown().has_use());
}

}  // namespace
}  // namespace wring
