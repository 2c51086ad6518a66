// What /metrics says of attempts, waits and calls, and that nobody can make it endless.
#include "server/http/metrics.h"

#include "tests/server/test_service.h"

namespace wring {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(LabelValues, AreBoundedAndTheRestIsOne) {
  LabelValues values(2);
  EXPECT_EQ(values.of("a"), "a");
  EXPECT_EQ(values.of("b"), "b");
  EXPECT_EQ(values.known().size(), 2u);
  EXPECT_EQ(values.of("c"), "_other");
  EXPECT_EQ(values.of("a"), "a");
  EXPECT_THAT(values.known(), testing::ElementsAre("_other", "a", "b"));
}

TEST(Metrics, AQueueThatIsEmptyGoesToZeroAndManyProjectsAreOne) {
  Metrics metrics;
  metrics.queues({{{"vision", "cpu"}, {3, 12.5}}, {{"vision", "cuda"}, {1, 3}}});
  EXPECT_THAT(metrics.text(), HasSubstr("wring_project_jobs_queued{device=\"cpu\",project=\"vision\"} 3"));
  EXPECT_THAT(metrics.text(),
              HasSubstr("wring_queue_oldest_seconds{device=\"cpu\",project=\"vision\"} 12.5"));
  std::map<std::pair<std::string, std::string>, Metrics::Waiting> many;
  for (int i = 0; i < 200; ++i) many[{"p" + std::to_string(i), "cpu"}] = {2, static_cast<double>(i)};
  metrics.queues(many);
  const auto text = metrics.text();
  EXPECT_THAT(text, HasSubstr("wring_project_jobs_queued{device=\"cpu\",project=\"vision\"} 0"));
  EXPECT_THAT(text, HasSubstr("wring_queue_oldest_seconds{device=\"cuda\",project=\"vision\"} 0"));
  EXPECT_THAT(text, HasSubstr("wring_project_jobs_queued{device=\"cpu\",project=\"_other\"} 202"))
      << "99 have names";
  EXPECT_THAT(text, HasSubstr("wring_queue_oldest_seconds{device=\"cpu\",project=\"_other\"} 199"));
  metrics.queues({});
  EXPECT_THAT(metrics.text(), HasSubstr("wring_project_jobs_queued{device=\"cpu\",project=\"_other\"} 0"));
  EXPECT_THAT(metrics.text(), HasSubstr("wring_queue_oldest_seconds{device=\"cpu\",project=\"_other\"} 0"));
}

class ServiceMetrics : public Service {
 protected:
  std::string text() { return server_->metrics.text(); }
};

TEST_F(ServiceMetrics, CountEachAttemptByWhatBecameOfItAndWhy) {
  add_worker();
  submit();
  finish(ending(lease(), "succeeded"));
  submit();
  auto crash = ending(lease(), "failed");
  crash.mutable_error()->set_code("UNAVAILABLE");
  crash.mutable_error()->set_reason("CACHE_TOO_SMALL");
  finish(crash);
  const auto both = text();
  EXPECT_THAT(both, HasSubstr("wring_attempts_total{outcome=\"succeeded\",reason=\"none\"} 1"));
  EXPECT_THAT(both, HasSubstr("wring_attempts_total{outcome=\"retried\",reason=\"CACHE_TOO_SMALL\"} 1"));
  EXPECT_THAT(both, HasSubstr("wring_job_wait_seconds_count{device=\"cpu\"} 2"));
}

TEST_F(ServiceMetrics, AJobCancelledInTheQueueHadNoAttempt) {
  cancel(submit().id());
  EXPECT_THAT(text(), Not(HasSubstr("wring_attempts_total{")));
}

TEST_F(ServiceMetrics, AnAttemptOfAWorkerThatOutlivesTheServerIsCounted) {
  add_worker();
  submit();
  const auto leased = lease();
  start();
  finish(ending(leased, "succeeded"));
  EXPECT_THAT(text(), HasSubstr("wring_attempts_total{outcome=\"succeeded\",reason=\"none\"} 1"));
}

TEST_F(ServiceMetrics, TimeStagesByMethodAndLeaveEvaluationsOut) {
  add_worker();
  submit();
  v1::ReportStageRequest report;
  const auto leased = lease();
  report.set_job_id(leased.job().id());
  *report.mutable_fence() = leased.fence();
  for (const char* name : {"rtn", "evaluate: size (after)"}) {
    auto& stage = *report.mutable_stage();
    stage.set_name(name);
    stage.set_key(std::string(64, 'a'));
    stage.set_state("done");
    stage.set_seconds(7);
    call(*workers_, &v1::Workers::Stub::ReportStage, report);
    stage.set_index(stage.index() + 1);
  }
  EXPECT_THAT(text(), HasSubstr("wring_stage_seconds_sum{method=\"rtn\"} 7"));
  EXPECT_THAT(text(), HasSubstr("wring_stages_total{source=\"made\"} 2"));
  EXPECT_THAT(text(), Not(HasSubstr("method=\"evaluate")));
}

TEST_F(ServiceMetrics, TimeCallsThatDoNotWaitForSomething) {
  add_worker();
  submit();
  lease();
  EXPECT_THAT(text(), HasSubstr("wring_rpc_seconds_count{method=\"SubmitJob\"} 1"));
  EXPECT_THAT(text(), HasSubstr("wring_rpcs_total{code=\"OK\",method=\"LeaseJob\"} 1"));
  EXPECT_THAT(text(), Not(HasSubstr("wring_rpc_seconds_count{method=\"LeaseJob\"}")));
}

}  // namespace
}  // namespace wring
