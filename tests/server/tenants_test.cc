// What one project's callers can neither learn of another's nor say in its name.
#include "tests/server/closed_service.h"

namespace wring {
namespace {

TEST_F(Closed, AJobThatATenantNamesIsNeitherLookedUpNorHisArtifactsMaker) {
  const auto a = somebody(Scope::kSubmitter, "a");
  const auto job = submit(a, put(a, "a model"));
  const auto secret_of_b = secret(Scope::kSubmitter, "b");
  for (const std::string& named : {job.id(), std::string("zzzzzzzzzzzz")}) {
    const auto b = with(secret_of_b, named);
    put_blob(b, "of b, who names " + named);
    const auto made = commit(b, "of b, who names " + named);
    EXPECT_EQ(made.created_by_job(), "") << named;
    EXPECT_FALSE(made.has_expire_time()) << named;
  }
}

TEST_F(Closed, ARetryByAnAdminFindsInputsInTheJobsProjectAlone) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b"), admin = with(admin_);
  const auto model = put(a, "a model");
  const auto job = submit(a, model);
  v1::CancelJobRequest cancel;
  cancel.set_id(job.id());
  call(*a.jobs, &v1::Jobs::Stub::CancelJob, cancel);
  v1::DeleteArtifactRequest remove;
  remove.set_digest(model);
  call(*a.artifacts, &v1::Artifacts::Stub::DeleteArtifact, remove);
  ASSERT_EQ(put(b, "a model"), model);
  v1::RetryJobRequest retry;
  retry.set_id(job.id());
  EXPECT_EQ(refusal([&] { call(*admin.jobs, &v1::Jobs::Stub::RetryJob, retry); }), "ARTIFACT_NOT_FOUND");
  put(a, "a model");
  EXPECT_EQ(call(*admin.jobs, &v1::Jobs::Stub::RetryJob, retry).state(), v1::JOB_STATE_QUEUED);
}

TEST_F(Closed, JobsOfAModelThatTwoProjectsHaveAreListedToEachByItself) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  v1::ListJobsRequest request;
  request.set_model(put(a, "a model"));
  ASSERT_EQ(put(b, "a model"), request.model());
  const auto of_a = submit(a, request.model()).id(), of_b = submit(b, request.model()).id();
  const auto listed = [&](const Somebody& who) {
    std::vector<std::string> ids;
    const auto page = call(*who.jobs, &v1::Jobs::Stub::ListJobs, request);
    for (const auto& job : page.jobs()) ids.push_back(job.id());
    return ids;
  };
  EXPECT_EQ(listed(a), std::vector{of_a});
  EXPECT_EQ(listed(b), std::vector{of_b});
  EXPECT_EQ(listed(with(admin_)), (std::vector{of_b, of_a}));
  request.set_project("a");
  EXPECT_EQ(listed(b), std::vector<std::string>());
}

TEST_F(Closed, WhatTheCachesOfAllProjectsSparedIsToldToWhoSeesThemAll) {
  const auto system = [](const Somebody& who) {
    return call(*who.workers, &v1::Workers::Stub::GetSystem, v1::GetSystemRequest());
  };
  EXPECT_FALSE(system(somebody(Scope::kViewer, "a")).has_stages());
  EXPECT_TRUE(system(with(admin_)).has_stages());
}

}  // namespace
}  // namespace wring
