// Sweeps through the API: exactly the trials that were asked for, over restarts, failures and changes of
// mind.
#include <google/protobuf/text_format.h>

#include <cmath>
#include <thread>

#include "tests/server/test_service.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class SweepsApi : public Service {
 protected:
  v1::SubmitSweepRequest request(const std::string& rest) {
    v1::SubmitSweepRequest request;
    request.set_request_id(random_uuid());
    request.mutable_spec()->set_sweep("{name: s, recipe: {stages: [rtn], evaluations: [size]}, model: M, " +
                                      rest + "}");
    (*request.mutable_spec()->mutable_inputs())["M"] = upload("a model");
    return request;
  }
  v1::Sweep submit(const v1::SubmitSweepRequest& request) {
    return call(*sweeps_, &v1::Sweeps::Stub::SubmitSweep, request);
  }
  v1::Sweep submit(const std::string& rest) { return submit(request(rest)); }
  v1::Sweep sweep(const std::string& id) {
    v1::GetSweepRequest request;
    request.set_id(id);
    return call(*sweeps_, &v1::Sweeps::Stub::GetSweep, request);
  }
  std::vector<v1::Trial> trials(const std::string& id) {
    v1::ListTrialsRequest request;
    request.set_id(id);
    request.set_page_size(1000);
    const auto page = call(*sweeps_, &v1::Sweeps::Stub::ListTrials, request);
    return {page.trials().begin(), page.trials().end()};
  }
  template <typename Request>
  v1::Sweep change(const std::string& id,
                   grpc::Status (v1::Sweeps::Stub::*method)(grpc::ClientContext*, const Request&,
                                                            v1::Sweep*)) {
    Request request;
    request.set_id(id);
    return call(*sweeps_, method, request);
  }
  v1::Sweep extend(const std::string& id, std::uint64_t more) {
    v1::ExtendSweepRequest request;
    request.set_id(id);
    request.mutable_more()->set_trials(more);
    return call(*sweeps_, &v1::Sweeps::Stub::ExtendSweep, request);
  }

  template <typename Done>
  void wait_until(Done done) {
    for (int i = 0; i < 1000; ++i) {
      if (done()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    FAIL() << "not within 10 s";
  }

  // Takes a trial as a worker would and ends it. `bytes`: what its result measures.
  bool run_one(double bytes = 5, const std::string& outcome = "succeeded") {
    const auto leased = lease();
    if (!leased.leased()) return false;
    auto end = ending(leased, outcome);
    if (outcome == "succeeded") {
      end.set_result(upload("result of " + leased.job().id()));
      auto* row = end.add_evaluations();
      row->set_suite("size");
      row->set_metric("weight_bytes");
      row->set_value(bytes);
      row->set_baseline_value(10);
      row->set_when("after");
    } else {
      end.mutable_error()->set_code("INVALID_ARGUMENT");
      end.mutable_error()->set_message("no");
    }
    finish(end);
    return true;
  }
  void run_to_the_end(const std::string& id, double bytes = 5) {
    wait_until([&] {
      while (run_one(bytes)) {
      }
      return sweep(id).state() >= v1::SWEEP_STATE_SUCCEEDED;
    });
  }
};

TEST_F(SweepsApi, JudgeEachEvaluationOfOneSuiteByItsOwnRows) {
  v1::SubmitSweepRequest request;
  request.mutable_spec()->set_sweep(
      "{model: M, data: {easy: M, hard: M}, recipe: {stages: [rtn], evaluations: [{suite: perplexity, "
      "params: {data: "
      "easy}}, {suite: perplexity, when: [after], params: {data: hard}}]}, space: {stages.rtn.bits: [3, 4]}, "
      "parallel: 1, objectives: [{metric: perplexity, suite: 'perplexity[1]'}], constraints: [{metric: "
      "perplexity, "
      "suite: 'perplexity[0]', max: '110%'}]}");
  (*request.mutable_spec()->mutable_inputs())["M"] = upload("a model");
  add_worker();
  const auto made = submit(request);
  for (const double hard : {30.0, 25.0}) {
    wait_until([&] { return sweep(made.id()).queued() == 1; });
    const auto leased = lease();
    ASSERT_TRUE(leased.leased());
    auto end = ending(leased, "succeeded");
    end.set_result(upload("result of " + leased.job().id()));
    const auto add = [&](const char* when, double value, std::optional<double> before) {
      for (const auto* metric : {"perplexity", "nll"}) {
        auto* row = end.add_evaluations();
        row->set_suite("perplexity");
        row->set_metric(metric);
        row->set_value(value);
        row->set_when(when);
        if (before) row->set_baseline_value(*before);
      }
    };
    add("before", 10, {});
    add("after", hard == 25 ? 12 : 10.5, 10);  // the better one on `hard` is no longer good on `easy`
    add("after", hard, {});
    finish(end);
  }
  wait_until([&] { return sweep(made.id()).state() == v1::SWEEP_STATE_SUCCEEDED; });
  v1::QueryFrontRequest front;
  front.set_id(made.id());
  auto answer = call(*sweeps_, &v1::Sweeps::Stub::QueryFront, front);
  ASSERT_THAT(answer.trials(), SizeIs(1));
  EXPECT_EQ(answer.trials(0).number(), 0u);
  std::map<std::string, double> values;
  for (const auto& metric : answer.trials(0).metrics())
    if (metric.metric() == "perplexity") values[metric.suite()] = metric.value();
  EXPECT_THAT(values, ElementsAre(testing::Pair("perplexity[0]", 10.5), testing::Pair("perplexity[1]", 30)));
}

TEST_F(SweepsApi, TellWhatTheirTrialsTookFromCaches) {
  add_worker();
  const auto made = submit("space: {stages.rtn.bits: [3, 4]}, parallel: 2");
  wait_until([&] { return sweep(made.id()).trials() == 2; });
  const auto savings = [&](const std::string& id) {
    v1::QuerySavingsRequest request;
    request.set_id(id);
    return call(*sweeps_, &v1::Sweeps::Stub::QuerySavings, request);
  };
  EXPECT_EQ(savings(made.id()).stages(), 0u);
  for (int i = 0; i < 2; ++i) {
    const auto leased = lease(10);  // the second is held while the first makes what both begin with
    ASSERT_TRUE(leased.leased());
    v1::ReportStageRequest report;
    report.set_job_id(leased.job().id());
    *report.mutable_fence() = leased.fence();
    report.mutable_stage()->set_state(i == 0 ? "done" : "cached");
    report.mutable_stage()->set_cached_bytes(i * 700);
    report.mutable_stage()->set_saved_seconds(i == 0 ? -1 : 2.5);
    call(*workers_, &v1::Workers::Stub::ReportStage, report);
    finish(ending(leased, "cancelled"));
  }
  const auto saved = savings(made.id());
  EXPECT_EQ(saved.stages(), 2u);
  EXPECT_EQ(saved.cached(), 1u);
  EXPECT_EQ(saved.bytes(), 700u);
  EXPECT_EQ(saved.seconds(), 2.5);
  EXPECT_EQ(savings(submit("space: {stages.rtn.bits: [8]}").id()).stages(), 0u);
}

TEST_F(SweepsApi, JobsAreListedBySweepAndWithoutTrials) {
  add_worker();
  const auto alone = Service::submit(submission()).id();
  const auto one = submit("space: {stages.rtn.bits: [3, 4, 8]}"),
             other = submit("space: {stages.rtn.bits: [3]}");
  wait_until([&] { return sweep(one.id()).trials() == 3 && sweep(other.id()).trials() == 1; });
  const auto listed = [&](v1::ListJobsRequest request) {
    std::vector<std::string> names;
    request.set_page_size(2);
    do {
      const auto page = call(*jobs_, &v1::Jobs::Stub::ListJobs, request);
      for (const auto& job : page.jobs()) names.push_back(job.id());
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    return names;
  };
  std::vector<std::string> newest_first;
  for (const auto& trial : trials(one.id())) newest_first.insert(newest_first.begin(), trial.job_id());
  v1::ListJobsRequest request;
  request.set_sweep(one.id().substr(0, 8));
  EXPECT_EQ(listed(request), newest_first);
  request.set_name_contains("s/1");
  EXPECT_THAT(listed(request), ElementsAre(newest_first[1]));
  request.clear_name_contains();
  request.add_states(v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(listed(request), SizeIs(0));
  wait_until([&] {
    run_one();
    return listed(request) == newest_first;
  });
  v1::ListJobsRequest without;
  without.set_no_trials(true);
  EXPECT_THAT(listed(without), ElementsAre(alone));
  without.set_name_contains("s/");
  EXPECT_THAT(listed(without), SizeIs(0));
  without.set_sweep(one.id());
  EXPECT_EQ(thrown_by([&] { listed(without); }).reason(), "CONTRADICTORY_FILTER");
  v1::ListJobsRequest none;
  none.set_sweep("nothing");
  EXPECT_EQ(thrown_by([&] { listed(none); }).field(), "sweep");
}

TEST_F(SweepsApi, OfAGoalOnSpeedRunOnWorkersOfItsClassAlone) {
  const auto goal = [&](const std::string& text) {
    v1::SubmitSweepRequest request;
    request.mutable_spec()->set_sweep("{name: s, model: M, data: {calibration: M, test: M}, goal: '" + text +
                                      "', strategy: {levels: 'rtn(bits=4)'}}");
    (*request.mutable_spec()->mutable_inputs())["M"] = upload("a model");
    return request;
  };
  add_worker();
  const auto unknown = thrown_by([&] { submit(goal("speedup>=2x on epyk, kl=min")); });
  EXPECT_EQ(unknown.reason(), "UNKNOWN_CLASS");
  EXPECT_EQ(unknown.field(), "goal");
  EXPECT_THAT(unknown.hint(), HasSubstr("wring-worker --class epyk"));
  v1::RegisterWorkerRequest worker;
  worker.mutable_worker()->set_id("worker of a class");
  worker.mutable_worker()->add_classes("epyc");
  call(*workers_, &v1::Workers::Stub::RegisterWorker, worker);
  EXPECT_THAT(thrown_by([&] { submit(goal("speedup>=2x on epyk, kl=min")); }).hint(),
              HasSubstr("Did you mean 'epyc'?"));
  WorkerRecord expected;
  expected.classes = {"of-the-pool"};
  server_->coordinator.expect_workers(expected);
  EXPECT_EQ(submit(goal("speedup>=2x on of-the-pool, kl=min")).state(), v1::SWEEP_STATE_RUNNING);
  auto two = goal("speedup>=2x on epyc, kl=min");
  two.mutable_spec()->mutable_resources()->set_worker_class("other");
  EXPECT_EQ(thrown_by([&] { submit(two); }).field(), "spec.resources.worker_class");
  const auto made = submit(goal("speedup>=2x on epyc, kl=min"));
  wait_until([&] { return sweep(made.id()).trials() == 1; });
  v1::GetJobRequest request;
  request.set_id(trials(made.id())[0].job_id());
  const auto job = call(*jobs_, &v1::Jobs::Stub::GetJob, request);
  EXPECT_EQ(job.spec().resources().worker_class(), "epyc");
  EXPECT_THAT(job.spec().recipe(), HasSubstr("level-times"));
  worker.mutable_worker()->add_classes("no name");
  EXPECT_EQ(thrown_by([&] { call(*workers_, &v1::Workers::Stub::RegisterWorker, worker); }).reason(),
            "BAD_WORKER_CLASS");
}

TEST_F(SweepsApi, WhatNoJobOfItCouldBeIsRefusedAtOnce) {
  const auto field_of = [&](const std::string& settings, bool validate_only) {
    return thrown_by([&] {
             auto asked = request("space: {stages.rtn.bits: [3, 4]}");
             asked.set_validate_only(validate_only);
             ASSERT_TRUE(google::protobuf::TextFormat::MergeFromString(settings, asked.mutable_spec()));
             submit(asked);
           })
        .field();
  };
  for (const bool validate_only : {true, false}) {
    EXPECT_EQ(field_of("resources { processes: 3 }", validate_only), "spec.resources.processes");
    EXPECT_EQ(field_of("resources { device: 'tpu' }", validate_only), "spec.resources.device");
    EXPECT_EQ(field_of("resources { device_count: 2 }", validate_only), "spec.resources.device_count");
    EXPECT_EQ(field_of("retry { max_attempts: 5000 }", validate_only), "spec.retry.max_attempts");
    EXPECT_EQ(field_of("priority: 200", validate_only), "spec.priority");
    EXPECT_EQ(field_of("max_runtime_seconds: -1", validate_only), "spec.max_runtime_seconds");
  }
  auto graph = request("space: {stages.rtn.bits: [3, 4]}");
  (*graph.mutable_spec()->mutable_inputs())["M"] = upload("a graph", "model", "net.onnx");
  EXPECT_EQ(thrown_by([&] { submit(graph); }).reason(), "WRONG_MODEL_KIND");
  EXPECT_EQ(call(*sweeps_, &v1::Sweeps::Stub::ListSweeps, v1::ListSweepsRequest()).sweeps_size(), 0);
}

TEST_F(SweepsApi, TrialsThatAreAllRefusedEndIt) {
  auto asked =
      request("space: {model: [M, N], seed: {low: 1, high: 1000}}, strategy: random, bounds: {trials: 1000}");
  for (const char* name : {"M", "N"})
    (*asked.mutable_spec()->mutable_inputs())[name] = upload(name, "model", "net.onnx");
  const auto made = submit(asked);
  wait_until([&] { return sweep(made.id()).state() == v1::SWEEP_STATE_FAILED; });
  const auto ended = sweep(made.id());
  EXPECT_EQ(ended.trials(), 100u);
  EXPECT_THAT(ended.end_reason(), HasSubstr("100 trials in a row were refused; the last one: "));
}

TEST_F(SweepsApi, AChoiceOfMethodsOfWhichTheFirstIsRefusedGoesOn) {
  add_worker();
  auto asked = request("space: {'stages[0]': ['magnitude-units', 'rtn(bits=4)']}");
  const auto made = submit(asked);
  run_to_the_end(made.id());
  EXPECT_EQ(sweep(made.id()).succeeded(), 1u);
  EXPECT_EQ(sweep(made.id()).failed(), 1u);
}

TEST_F(SweepsApi, TimeEndsOneAndMoreOfItGoesOn) {
  add_worker();
  const auto made =
      submit("space: {seed: {low: 1, high: 99999}}, strategy: random, bounds: {seconds: 1}, parallel: 1");
  run_to_the_end(made.id());
  const auto ended = sweep(made.id());
  EXPECT_THAT(ended.end_reason(), HasSubstr("bounds.seconds"));
  v1::ExtendSweepRequest more;
  more.set_id(made.id());
  more.mutable_more()->set_seconds(1e6);
  EXPECT_EQ(call(*sweeps_, &v1::Sweeps::Stub::ExtendSweep, more).state(), v1::SWEEP_STATE_RUNNING);
  wait_until([&] { return sweep(made.id()).trials() > ended.trials(); });
}

TEST_F(SweepsApi, AFrontIsNotAskedForWhatNoTrialHolds) {
  add_worker();
  const auto made = submit("space: {stages.rtn.bits: [3, 4]}, objectives: [weight_bytes]");
  run_to_the_end(made.id(), 5);  // of 10
  v1::QueryFrontRequest front;
  front.set_id(made.id());
  auto* bound = front.add_constraints();
  bound->set_metric("weight_bytes");
  bound->set_maximum(std::nan(""));
  EXPECT_EQ(thrown_by([&] { call(*sweeps_, &v1::Sweeps::Stub::QueryFront, front); }).field(),
            "constraints[0]");
  bound->set_of_input(true);
  bound->set_maximum(0);
  EXPECT_EQ(thrown_by([&] { call(*sweeps_, &v1::Sweeps::Stub::QueryFront, front); }).field(),
            "constraints[0]");
  bound->set_maximum(0.4);
  EXPECT_FALSE(call(*sweeps_, &v1::Sweeps::Stub::QueryFront, front).any_feasible());
  bound->set_maximum(0.6);
  EXPECT_TRUE(call(*sweeps_, &v1::Sweeps::Stub::QueryFront, front).any_feasible());
}

TEST_F(SweepsApi, AGridIsItsTrialsAndNoMoreAreOpenThanItSays) {
  add_worker();
  const auto made =
      submit("space: {stages.rtn.bits: [3, 4], stages.rtn.group_size: [32, 64, 128]}, parallel: 2");
  wait_until([&] { return sweep(made.id()).trials() == 2; });
  EXPECT_EQ(sweep(made.id()).queued(), 2u);
  EXPECT_EQ(sweep(made.id()).expected_trials(), 6u);
  run_to_the_end(made.id());
  const auto ended = sweep(made.id());
  EXPECT_EQ(ended.state(), v1::SWEEP_STATE_SUCCEEDED);
  EXPECT_EQ(ended.succeeded(), 6u);
  std::vector<std::string> values;
  for (const auto& trial : trials(made.id()))
    values.push_back(trial.values_json(0) + " " + trial.values_json(1));
  EXPECT_THAT(values, ElementsAre("3 32", "3 64", "3 128", "4 32", "4 64", "4 128"));
  EXPECT_THAT(get(trials(made.id())[4].job_id()).spec().recipe(), HasSubstr("\"group_size\":64"));
  EXPECT_EQ(get(trials(made.id())[4].job_id()).spec().name(), "s/4");
}

TEST_F(SweepsApi, ARestartAtAnyTimeMakesNoTrialTwiceAndLosesNone) {
  const auto made = submit(
      "space: {seed: {low: 1, high: 1000}}, strategy: {name: random, seed: 4}, bounds: {trials: 12}, "
      "parallel: 3");
  for (int i = 0; i < 12; ++i) {
    add_worker();
    wait_until([&] { return run_one(); });
    start();
  }
  wait_until([&] { return sweep(made.id()).state() == v1::SWEEP_STATE_SUCCEEDED; });
  const auto all = trials(made.id());
  ASSERT_THAT(all, SizeIs(12));
  for (std::size_t n = 0; n < all.size(); ++n) EXPECT_EQ(all[n].number(), n);
  v1::ListJobsRequest list;
  list.set_page_size(1000);
  EXPECT_THAT(call(*jobs_, &v1::Jobs::Stub::ListJobs, list).jobs(), SizeIs(12));
  const auto again = submit(
      "space: {seed: {low: 1, high: 1000}}, strategy: {name: random, seed: 4}, bounds: {trials: 12}, "
      "parallel: 3");
  run_to_the_end(again.id());
  for (std::size_t n = 0; n < all.size(); ++n)
    EXPECT_EQ(trials(again.id())[n].values_json(0), all[n].values_json(0)) << "a sweep without restarts";
}

TEST_F(SweepsApi, ASubmitToldTwiceIsOneSweep) {
  const auto asked = request("space: {stages.rtn.bits: [3, 4]}");
  EXPECT_EQ(submit(asked).id(), submit(asked).id());
  start();
  EXPECT_EQ(call(*sweeps_, &v1::Sweeps::Stub::ListSweeps, v1::ListSweepsRequest()).sweeps_size(), 1);
  auto other = asked;
  other.mutable_spec()->set_priority(3);
  EXPECT_EQ(thrown_by([&] { submit(other); }).reason(), "REQUEST_ID_REUSED");
}

TEST_F(SweepsApi, WhatFailsIsATrialThatFailedAndARetryOfItsJobCounts) {
  add_worker();
  const auto made = submit("space: {stages.rtn.bits: [3, 4]}, parallel: 1, objectives: [weight_bytes]");
  wait_until([&] { return run_one(0, "failed"); });
  run_to_the_end(made.id());
  EXPECT_EQ(sweep(made.id()).failed(), 1u);
  EXPECT_EQ(sweep(made.id()).state(), v1::SWEEP_STATE_SUCCEEDED);
  EXPECT_EQ(trials(made.id())[0].error().message(), "no");
  v1::RetryJobRequest retry;
  retry.set_id(trials(made.id())[0].job_id());
  call(*jobs_, &v1::Jobs::Stub::RetryJob, retry);
  wait_until([&] { return run_one(2); });
  wait_until([&] { return trials(made.id())[0].metrics_size() == 1; });
  EXPECT_EQ(sweep(made.id()).succeeded(), 2u);
  v1::QueryFrontRequest front;
  front.set_id(made.id());
  const auto best = call(*sweeps_, &v1::Sweeps::Stub::QueryFront, front);
  ASSERT_EQ(best.trials_size(), 1);
  EXPECT_EQ(best.trials(0).number(), 0u);
}

TEST_F(SweepsApi, ARetryWhileTheSweepGoesOnCountsForItsEnd) {
  add_worker();
  const auto made = submit("space: {stages.rtn.bits: [3, 4]}, parallel: 1");
  wait_until([&] { return sweep(made.id()).trials() == 1; });
  change(made.id(), &v1::Sweeps::Stub::PauseSweep);
  wait_until([&] { return run_one(0, "failed"); });
  wait_until([&] { return sweep(made.id()).failed() == 1; });
  v1::RetryJobRequest retry;
  retry.set_id(trials(made.id())[0].job_id());
  call(*jobs_, &v1::Jobs::Stub::RetryJob, retry);
  wait_until([&] { return run_one(); });
  wait_until([&] { return sweep(made.id()).succeeded() == 1; });
  change(made.id(), &v1::Sweeps::Stub::ResumeSweep);
  wait_until([&] { return run_one(0, "failed"); });
  wait_until([&] { return sweep(made.id()).state() >= v1::SWEEP_STATE_SUCCEEDED; });
  EXPECT_EQ(sweep(made.id()).state(), v1::SWEEP_STATE_SUCCEEDED);
}

// The server died after a retried job had ended and before the sweep had noted it.
TEST_F(SweepsApi, AStartNotesWhatHasEndedMeanwhile) {
  add_worker();
  const auto made = submit("space: {stages.rtn.bits: [3]}");
  run_to_the_end(made.id());
  server_.reset();
  {
    JobStore store(folder_.path());
    store.change(
        [](Connection& db) { db.execute("UPDATE trials SET phase = 5, outcome = '{\"error\": {}}'"); });
  }
  start();
  wait_until([&] { return trials(made.id())[0].metrics_size() == 1; });
}

TEST_F(SweepsApi, WhereAllFailTheSweepHas) {
  add_worker();
  const auto made = submit("space: {stages.rtn.bits: [3, 4]}");
  wait_until([&] {
    while (run_one(0, "failed")) {
    }
    return sweep(made.id()).state() == v1::SWEEP_STATE_FAILED;
  });
}

TEST_F(SweepsApi, GivesUpWhereItsFirstTrialsFailAndNotWhereOneHasSucceeded) {
  add_worker();
  const std::string space = "space: {seed: {low: 1, high: 9999}}, strategy: random, parallel: 1, ";
  const auto hopeless = submit(space + "bounds: {trials: 500, failures: 3}");
  wait_until([&] {
    while (run_one(0, "failed")) {
    }
    return sweep(hopeless.id()).state() == v1::SWEEP_STATE_FAILED;
  });
  EXPECT_EQ(sweep(hopeless.id()).failed(), 3u);
  EXPECT_THAT(sweep(hopeless.id()).end_reason(), HasSubstr("bounds.failures"));
  const auto lucky = submit(space + "bounds: {trials: 6, failures: 3}");
  for (const char* outcome : {"failed", "failed", "succeeded", "failed", "failed", "failed"})
    wait_until([&] { return run_one(5, outcome); });
  wait_until([&] { return sweep(lucky.id()).state() == v1::SWEEP_STATE_SUCCEEDED; });
  EXPECT_EQ(sweep(lucky.id()).failed(), 5u);
}

TEST_F(SweepsApi, ConstraintsLeaveOutAndSayHowNearItCame) {
  add_worker();
  const auto made = submit(
      "space: {stages.rtn.bits: [3, 4, 8]}, parallel: 1, objectives: [weight_bytes], "
      "constraints: [{metric: weight_bytes, min: '60%'}]");
  for (const double bytes : {4., 7., 9.}) wait_until([&] { return run_one(bytes); });
  run_to_the_end(made.id());
  v1::QueryFrontRequest front;
  front.set_id(made.id());
  auto answer = call(*sweeps_, &v1::Sweeps::Stub::QueryFront, front);
  ASSERT_EQ(answer.trials_size(), 1);
  EXPECT_EQ(answer.trials(0).number(), 1u);
  auto* more = front.add_constraints();
  more->set_metric("weight_bytes");
  more->set_maximum(3);
  answer = call(*sweeps_, &v1::Sweeps::Stub::QueryFront, front);
  EXPECT_FALSE(answer.any_feasible());
  EXPECT_EQ(answer.trials_size(), 0);
  EXPECT_EQ(answer.nearest().number(), 0u);  // 1/3 above, 1/3 below: less than 4/3
}

TEST_F(SweepsApi, AfterAPauseIsToldNoTrialIsMade) {
  add_worker();
  const auto made =
      submit("space: {seed: {low: 1, high: 9999}}, strategy: random, bounds: {trials: 500}, parallel: 4");
  wait_until([&] { return run_one(); });
  const auto paused = change(made.id(), &v1::Sweeps::Stub::PauseSweep);
  EXPECT_EQ(paused.state(), v1::SWEEP_STATE_PAUSED);
  while (run_one()) {
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(sweep(made.id()).trials(), paused.trials());
  start();
  EXPECT_EQ(sweep(made.id()).trials(), paused.trials());
  change(made.id(), &v1::Sweeps::Stub::ResumeSweep);
  wait_until([&] { return sweep(made.id()).trials() == paused.trials() + 4; });
}

TEST_F(SweepsApi, CancelCancelsItsTrialsAndStopLetsThemEnd) {
  add_worker();
  const auto stopped = submit("space: {seed: {low: 1, high: 99}}, parallel: 3");
  wait_until([&] { return sweep(stopped.id()).trials() == 3; });
  EXPECT_EQ(change(stopped.id(), &v1::Sweeps::Stub::StopSweep).state(), v1::SWEEP_STATE_STOPPING);
  run_to_the_end(stopped.id());
  EXPECT_EQ(sweep(stopped.id()).state(), v1::SWEEP_STATE_STOPPED);
  EXPECT_EQ(sweep(stopped.id()).succeeded(), 3u);
  const auto cancelled = submit("space: {seed: {low: 1, high: 99}}, parallel: 3");
  wait_until([&] { return sweep(cancelled.id()).trials() == 3; });
  change(cancelled.id(), &v1::Sweeps::Stub::CancelSweep);
  wait_until([&] { return sweep(cancelled.id()).state() == v1::SWEEP_STATE_CANCELLED; });
  EXPECT_EQ(sweep(cancelled.id()).cancelled(), 3u);
  for (const auto& trial : trials(cancelled.id())) EXPECT_LT(trial.seconds(), 60) << "it was never leased";
  EXPECT_EQ(thrown_by([&] { extend(cancelled.id(), 1); }).reason(), "SWEEP_ENDED");
}

TEST_F(SweepsApi, AnExtensionGoesOnWithASweepThatHadReachedItsBounds) {
  add_worker();
  const auto made =
      submit("space: {seed: {low: 1, high: 9}}, strategy: latin-hypercube, bounds: {trials: 3}");
  run_to_the_end(made.id());
  EXPECT_EQ(sweep(made.id()).trials(), 3u);
  EXPECT_EQ(extend(made.id(), 2).state(), v1::SWEEP_STATE_RUNNING);
  run_to_the_end(made.id());
  EXPECT_EQ(sweep(made.id()).succeeded(), 5u);
  const auto grid = submit("space: {stages.rtn.bits: [3]}");
  run_to_the_end(grid.id());
  EXPECT_EQ(thrown_by([&] { extend(grid.id(), 1); }).reason(), "SPACE_EXHAUSTED");
}

TEST_F(SweepsApi, AnExtensionThatWouldChangeNothingIsRefused) {
  add_worker();
  const auto extended = [&](const std::string& id, const std::string& more) {
    return thrown_by([&] {
      v1::ExtendSweepRequest request;
      request.set_id(id);
      ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(more, request.mutable_more()));
      call(*sweeps_, &v1::Sweeps::Stub::ExtendSweep, request);
    });
  };
  const auto made =
      submit("space: {seed: {low: 1, high: 99}}, strategy: random, bounds: {trials: 2, bytes: 10}");
  run_to_the_end(made.id());
  const auto other = extended(made.id(), "seconds: 60");
  EXPECT_EQ(other.reason(), "NO_SUCH_BOUND");
  EXPECT_EQ(other.field(), "more.seconds");
  const auto still = extended(made.id(), "trials: 4");
  EXPECT_EQ(still.reason(), "BOUND_REACHED");
  EXPECT_THAT(still.message(), HasSubstr("bounds.bytes is reached"));
  EXPECT_EQ(sweep(made.id()).bounds().trials(), 2u);
  EXPECT_EQ(extended(made.id(), "").reason(), "BOUND_REACHED");
  const auto failing = submit(
      "space: {seed: {low: 1, high: 99}}, strategy: random, bounds: {trials: 9, failures: 1}, parallel: 1");
  wait_until([&] { return run_one(5, "failed"); });
  wait_until([&] { return sweep(failing.id()).state() == v1::SWEEP_STATE_FAILED; });
  EXPECT_THAT(extended(failing.id(), "trials: 4").message(), HasSubstr("no trial has succeeded"));
}

TEST_F(SweepsApi, OneThatThisReleaseCannotReadEndsAndStandsInTheListAllTheSame) {
  const auto good = submit("space: {seed: [1, 2]}");
  StoredSweep unread;
  unread.record.id = "old";
  unread.record.sequence = 99;
  unread.record.project = "default";
  unread.spec.set_name("of another release");
  unread.spec.set_sweep("strategy: divination");
  server_->store.change([&](Connection& db) { put_sweep(db, unread, "", ""); });
  start();
  wait_until([&] { return sweep("old").state() == v1::SWEEP_STATE_FAILED; });
  EXPECT_NE(sweep("old").end_reason(), "");
  const auto listed = call(*sweeps_, &v1::Sweeps::Stub::ListSweeps, v1::ListSweepsRequest());
  ASSERT_EQ(listed.sweeps_size(), 2);
  EXPECT_EQ(listed.sweeps(0).spec().name(), "of another release");
  EXPECT_EQ(listed.sweeps(1).id(), good.id());
}

TEST_F(SweepsApi, WhatStaysWithItsWorkerIsNotWaitedFor) {
  add_worker("w");
  add_worker("v");
  add_worker("u");
  const auto made = submit("space: {stages.rtn.bits: [3, 4, 5]}");
  wait_until([&] { return sweep(made.id()).trials() == 3; });
  const auto report = [&](const v1::LeaseJobResponse& leased, bool unshared) {
    v1::ReportStageRequest report;
    report.set_job_id(leased.job().id());
    *report.mutable_fence() = leased.fence();
    report.mutable_stage()->set_name("evaluate: size (before)");
    report.mutable_stage()->set_key(std::string(64, 'a'));
    report.mutable_stage()->set_state("done");
    report.mutable_stage()->set_seconds(50);
    report.mutable_stage()->set_unshared(unshared);
    call(*workers_, &v1::Workers::Stub::ReportStage, report);
  };
  const auto first = lease();
  ASSERT_TRUE(first.leased());
  EXPECT_FALSE(lease(0, "v").leased()) << "it evaluates the input";
  report(first, true);
  const auto second = lease(0, "v");
  ASSERT_TRUE(second.leased());
  report(second, false);
  EXPECT_FALSE(lease(0, "u").leased()) << "that one's may come";
}

TEST_F(SweepsApi, AFullQueueIsWaitedForAndToldOf) {
  v1::SetQuotaRequest quota;
  quota.set_name("default");
  quota.mutable_quota()->set_queued(2);
  call(*projects_, &v1::Projects::Stub::SetQuota, quota);
  add_worker();
  const auto made = submit("space: {seed: {low: 1, high: 5}}");
  wait_until([&] { return !sweep(made.id()).waiting_reason().empty(); });
  EXPECT_EQ(sweep(made.id()).trials(), 2u);
  run_to_the_end(made.id());
  EXPECT_EQ(sweep(made.id()).succeeded(), 5u);
}

TEST_F(SweepsApi, ItsInputsStayUntilItHasEnded) {
  add_worker();
  const auto made = submit("space: {seed: {low: 1, high: 3}}, parallel: 1");
  wait_until([&] { return sweep(made.id()).trials() == 1; });
  change(made.id(), &v1::Sweeps::Stub::PauseSweep);
  wait_until([&] { return run_one(); });
  v1::DeleteArtifactRequest request;
  request.set_digest(upload("a model"));
  const auto error = thrown_by([&] { call(*artifacts_, &v1::Artifacts::Stub::DeleteArtifact, request); });
  EXPECT_EQ(error.reason(), "ARTIFACT_IN_USE");
  EXPECT_THAT(error.message(), HasSubstr("sweep " + made.id()));
}

TEST_F(SweepsApi, ADeletedJobIsATrialThatWasCancelled) {
  add_worker();
  const auto made = submit("space: {seed: {low: 1, high: 2}}, parallel: 1");
  wait_until([&] { return sweep(made.id()).trials() == 1; });
  server_.reset();  // so that nobody notes the end before the job is deleted
  {
    JobStore store(folder_.path());
    store.remove_job(store.jobs({}).front().record.id);
  }
  start();
  add_worker();
  run_to_the_end(made.id());
  EXPECT_EQ(sweep(made.id()).cancelled(), 1u);
  EXPECT_EQ(sweep(made.id()).succeeded(), 1u);
}

TEST_F(SweepsApi, ABoundOnBytesEndsIt) {
  add_worker();
  const auto made = submit("space: {seed: {low: 1, high: 100}}, bounds: {bytes: 50}, parallel: 1");
  run_to_the_end(made.id());
  const auto ended = sweep(made.id());
  EXPECT_GE(ended.bytes(), 50u);
  EXPECT_LT(ended.trials(), 5u);
  EXPECT_EQ(ended.end_reason(), "bounds.bytes is reached");
}

TEST_F(SweepsApi, AnotherProjectSeesNothingOfIt) {
  auto asked = request("space: {stages.rtn.bits: [3]}");
  asked.mutable_spec()->set_project("vision");
  const auto made = submit(asked);
  EXPECT_EQ(server_->sweeps.get("vision", made.id()).id(), made.id());
  EXPECT_EQ(thrown_by([&] { server_->sweeps.get("speech", made.id()); }).reason(), "SWEEP_NOT_FOUND");
  EXPECT_EQ(thrown_by([&] { server_->sweeps.cancel("speech", made.id(), {}); }).reason(), "SWEEP_NOT_FOUND");
  EXPECT_EQ(server_->sweeps.list("speech", {}).sweeps_size(), 0);
  EXPECT_EQ(thrown_by([&] { server_->sweeps.submit("speech", asked); }).reason(), "PROJECT_NOT_FOUND");
  wait_until([&] { return trials(made.id()).size() == 1; });
  EXPECT_EQ(get(trials(made.id())[0].job_id()).spec().project(), "vision");
}

}  // namespace
}  // namespace wring
