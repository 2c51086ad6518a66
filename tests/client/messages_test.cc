// The API's messages as the JSON that scripts read.
#include "client/messages.h"

#include <gtest/gtest.h>

namespace wring {
namespace {

TEST(JobJson, HasTheMembersThatScriptsRelyOn) {
  v1::Job job;
  job.set_id("k3f9");
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.set_result(std::string(64, 'a'));
  auto* stage = job.add_stages();
  stage->set_name("gptq");
  stage->set_state("done");
  stage->set_seconds(2.5);
  auto* row = job.add_evaluations();
  row->set_suite("perplexity");
  row->set_metric("perplexity");
  row->set_value(23.94);
  row->set_stderr(0.3);
  const auto json = to_json(job);
  EXPECT_EQ(json["id"], "k3f9");
  EXPECT_EQ(json["state"], "SUCCEEDED");
  EXPECT_EQ(json["artifact_digest"], std::string(64, 'a'));
  EXPECT_EQ(json["stages"][0]["name"], "gptq");
  EXPECT_EQ(json["stages"][0]["seconds"], 2.5);
  EXPECT_EQ(json["evaluations"][0]["stderr"], 0.3);
  EXPECT_TRUE(json["evaluations"][0]["baseline_value"].is_null());
  EXPECT_TRUE(json["end_time"].is_null());
  EXPECT_FALSE(json.contains("error"));
}

TEST(JobJson, AReportThatIsNoJsonIsGivenAsItsText) {
  v1::Job job;
  job.add_stages()->set_report_json("{broken");
  EXPECT_EQ(to_json(job)["stages"][0]["report"], "{broken");
}

TEST(JobState, IsReadInAnyLetterCaseAndWrittenInCapitals) {
  EXPECT_EQ(state_from_name("running"), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(state_name(v1::JOB_STATE_CANCELLED), "CANCELLED");
  EXPECT_THROW(state_from_name("sleeping"), Error);
  EXPECT_THROW(state_from_name("unspecified"), Error);
}

TEST(JobError, NamesTheStageTheSignalAndTheLastWords) {
  v1::Job job;
  job.set_id("k3f9");
  job.set_state(v1::JOB_STATE_FAILED);
  job.add_stages()->set_name("calibrate");
  job.add_stages()->set_name("gptq");
  auto& error = *job.mutable_error();
  error.set_code("RESOURCE_EXHAUSTED");
  error.set_message("out of memory");
  error.set_stage(1);
  error.set_signal(9);
  error.set_last_log("layer 3");
  const auto e = job_error(job);
  EXPECT_EQ(e.code(), ErrorCode::kResourceExhausted);
  EXPECT_NE(e.message().find("stage 2 (gptq)"), std::string::npos);
  EXPECT_NE(e.message().find("signal 9"), std::string::npos);
  EXPECT_NE(e.hint().find("layer 3"), std::string::npos);
}

TEST(JobError, IsNotToldAgainAsTheEnginesLastWords) {
  v1::Job job;
  job.set_state(v1::JOB_STATE_FAILED);
  auto& error = *job.mutable_error();
  error.set_code("INVALID_ARGUMENT");
  error.set_reason("GROUP_SIZE");
  error.set_message("128 does not divide 576");
  error.set_field("stages[0].params.group_size");
  error.set_hint("96 does.");
  error.set_last_log(
      "reading the model\nerror: stages[0].params.group_size: 128 does not divide 576\n  96 does.\n");
  EXPECT_EQ(job_error(job).hint(), "96 does.\nlast lines of the engine:\nreading the model\n");
  error.set_last_log("error: stages[0].params.group_size: 128 does not divide 576\n  96 does.\n");
  EXPECT_EQ(job_error(job).hint(), "96 does.");
}

TEST(JobError, PastItsTimeLimitIsOutOfAResourceAndNoServerThatIsAway) {
  v1::Job job;
  job.set_state(v1::JOB_STATE_FAILED);
  job.mutable_error()->set_code("DEADLINE_EXCEEDED");
  EXPECT_EQ(job_exit_status(job_error(job)), 4);
  job.mutable_error()->set_code("UNAVAILABLE");
  EXPECT_EQ(job_exit_status(job_error(job)), 1);
  job.mutable_error()->set_code("INVALID_ARGUMENT");
  EXPECT_EQ(job_exit_status(job_error(job)), 2);
}

TEST(JobError, OfACancelledJobIsCancelled) {
  v1::Job job;
  job.set_state(v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(exit_status(job_error(job).code()), 6);
}

}  // namespace
}  // namespace wring
