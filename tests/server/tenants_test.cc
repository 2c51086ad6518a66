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
  const auto to_one = system(somebody(Scope::kViewer, "a")), to_all = system(with(admin_));
  EXPECT_FALSE(to_one.has_stages());
  EXPECT_EQ(to_one.disk_free_bytes() + to_one.disk_bytes(), 0u) << "what others have takes no more of it";
  EXPECT_TRUE(to_all.has_stages());
  EXPECT_GT(to_all.disk_free_bytes(), 0u);
}

TEST_F(Closed, AnAdminRetainsAndDiscardsTheCopyOfOneProject) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b"), admin = with(admin_);
  const auto digest = put(a, "a model");
  ASSERT_EQ(put(b, "a model"), digest);
  const auto copies = [](const Somebody& who) {
    return call(*who.artifacts, &v1::Artifacts::Stub::ListArtifacts, v1::ListArtifactsRequest())
        .artifacts_size();
  };
  v1::SetRetentionRequest pin;
  pin.set_digest(digest);
  pin.set_pinned(true);
  v1::DeleteArtifactRequest remove;
  remove.set_digest(digest);
  const auto removing = [&](const Somebody& who) {
    return refusal([&] { call(*who.artifacts, &v1::Artifacts::Stub::DeleteArtifact, remove); });
  };
  EXPECT_EQ(refusal([&] { call(*admin.artifacts, &v1::Artifacts::Stub::SetRetention, pin); }),
            "SEVERAL_PROJECTS");
  EXPECT_EQ(removing(admin), "SEVERAL_PROJECTS");
  pin.set_project("a");
  EXPECT_TRUE(call(*admin.artifacts, &v1::Artifacts::Stub::SetRetention, pin).pinned());
  remove.set_project("b");
  EXPECT_EQ(removing(a), "PROJECT_NOT_FOUND");
  call(*admin.artifacts, &v1::Artifacts::Stub::DeleteArtifact, remove);
  EXPECT_EQ(copies(b), 0);
  EXPECT_EQ(copies(a), 1);
  remove.clear_project();
  EXPECT_EQ(removing(admin), "ARTIFACT_PINNED") << "the one copy that there is";
}

}  // namespace
}  // namespace wring
