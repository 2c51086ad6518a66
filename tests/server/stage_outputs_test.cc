// Outputs of stages that the workers of one project share: who sees them, who was first, how long they stay.
#include "server/auth/tenant_blobs.h"
#include "server/upkeep/backup.h"
#include "server/upkeep/collect.h"
#include "server/upkeep/fsck.h"
#include "tests/server/test_service.h"

namespace wring {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

constexpr TimeMs kDay = 86'400'000;
const std::string kKey = sha256("key").hex();

class StageOutputsTest : public Service {
 protected:
  // A job of the project that worker "w" has leased.
  v1::LeaseJobResponse leased(const std::string& project) {
    add_worker();
    auto request = submission();
    request.mutable_spec()->set_project(project);
    submit(request);
    return lease();
  }

  static Manifest manifest_of(const std::string& content) {
    return {"model", {{"weights", content.size(), {{sha256(content), content.size()}}}}};
  }

  v1::KeepStageResponse keep(const v1::LeaseJobResponse& lease, const std::string& content,
                             const std::string& key = kKey) {
    v1::KeepStageRequest request;
    request.set_job_id(lease.job().id());
    *request.mutable_fence() = lease.fence();
    request.set_key(key);
    request.set_manifest_json(manifest_of(content).canonical());
    request.set_seconds(35);
    return call(*workers_, &v1::Workers::Stub::KeepStage, request);
  }
  v1::KeepStageResponse send_and_keep(const v1::LeaseJobResponse& lease, const std::string& content,
                                      const std::string& key = kKey) {
    write_blob(pieces(content, random_uuid(), 0, content.size()));
    return keep(lease, content, key);
  }

  v1::FindStageResponse find(const v1::LeaseJobResponse& lease, const std::string& key = kKey) {
    v1::FindStageRequest request;
    request.set_job_id(lease.job().id());
    *request.mutable_fence() = lease.fence();
    request.set_key(key);
    return call(*workers_, &v1::Workers::Stub::FindStage, request);
  }

  CollectReport collect(TimeMs later, const StageCacheLimits& limits = {}) {
    return collect_garbage(server_->store, server_->blobs, server_->clock.now_ms() + later, 0, limits);
  }
  bool has(const std::string& content) { return server_->blobs.has(sha256(content)); }
};

TEST_F(StageOutputsTest, AreFoundByOtherJobsOfTheProjectAlsoOverARestartAndByNoOtherProject) {
  const auto maker = leased("ours");
  EXPECT_FALSE(find(maker).found());
  EXPECT_EQ(send_and_keep(maker, "output").digest(), manifest_of("output").digest().hex());
  start();
  const auto found = find(leased("ours"));
  EXPECT_TRUE(found.found());
  EXPECT_EQ(Manifest::parse(found.manifest_json()), manifest_of("output"));
  EXPECT_EQ(found.seconds(), 35);
  EXPECT_FALSE(find(leased("theirs")).found());
  EXPECT_FALSE(find(maker, sha256("other").hex()).found());
}

TEST_F(StageOutputsTest, TheFirstOfAKeyStaysAndADifferentOneIsCounted) {
  const auto maker = leased("ours");
  const auto first = send_and_keep(maker, "output").digest();
  EXPECT_EQ(send_and_keep(maker, "output").digest(), first);
  EXPECT_THAT(server_->metrics.text(), HasSubstr("wring_stages_differed_total 0"));
  EXPECT_EQ(send_and_keep(maker, "another").digest(), first);
  EXPECT_THAT(server_->metrics.text(), HasSubstr("wring_stages_differed_total 1"));
  EXPECT_THAT(server_->metrics.text(), HasSubstr("wring_stage_outputs 1"));
  EXPECT_EQ(Manifest::parse(find(maker).manifest_json()), manifest_of("output"));
}

TEST_F(StageOutputsTest, AreTakenOfAnEndedJobAndNotUnderAnOlderFence) {
  const auto maker = leased("ours");
  auto older = maker;
  older.mutable_fence()->set_n(maker.fence().n() - 1);
  EXPECT_EQ(thrown_by([&] { send_and_keep(older, "output"); }).reason(), "STALE_LEASE");
  EXPECT_EQ(thrown_by([&] { find(older); }).reason(), "STALE_LEASE");
  finish(ending(maker, "released"));
  const auto second = lease();
  EXPECT_EQ(thrown_by([&] { send_and_keep(maker, "output"); }).reason(), "STALE_LEASE");
  auto failed = ending(second, "failed");
  failed.mutable_error()->set_code("INVALID_ARGUMENT");
  finish(failed);
  EXPECT_EQ(get(second.job().id()).state(), v1::JOB_STATE_FAILED);
  send_and_keep(second, "output");
  EXPECT_TRUE(find(second).found());
}

TEST_F(StageOutputsTest, AreNotTakenWithoutTheirChunksOrWithABadKeyOrManifest) {
  const auto maker = leased("ours");
  const auto missing = thrown_by([&] { keep(maker, "never sent"); });
  EXPECT_EQ(missing.code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(missing.reason(), "MISSING_BLOBS");
  EXPECT_FALSE(find(maker).found());
  EXPECT_EQ(thrown_by([&] { send_and_keep(maker, "output", "abc"); }).field(), "key");
  v1::KeepStageRequest request;
  request.set_job_id(maker.job().id());
  *request.mutable_fence() = maker.fence();
  request.set_key(kKey);
  request.set_manifest_json("{}");
  EXPECT_THAT(thrown_by([&] { call(*workers_, &v1::Workers::Stub::KeepStage, request); }).field(),
              testing::StartsWith("manifest_json"));
}

TEST_F(StageOutputsTest, OneThatHasLostAChunkIsForgottenAndCanBeMadeAnew) {
  const auto maker = leased("ours");
  send_and_keep(maker, "output");
  ASSERT_GT(server_->blobs.remove_unused(sha256("output"), std::filesystem::file_time_type::max()), 0u);
  EXPECT_FALSE(find(maker).found());
  send_and_keep(maker, "another");
  EXPECT_EQ(Manifest::parse(find(maker).manifest_json()), manifest_of("another"));
}

TEST_F(StageOutputsTest, StayAsLongAsTheyAreUsedAndGoWithTheirBlobs) {
  const auto maker = leased("ours");
  send_and_keep(maker, "output");
  EXPECT_EQ(collect(29 * kDay).stages, 0u);
  EXPECT_TRUE(has("output"));
  EXPECT_EQ(collect(31 * kDay).stages, 1u);
  EXPECT_FALSE(has("output"));
  EXPECT_FALSE(find(maker).found());
}

TEST_F(StageOutputsTest, ThoseUsedLongestAgoGoFirstWhereAllAreTooLarge) {
  const auto maker = leased("ours");
  for (const char* name : {"one", "two", "six"}) {
    send_and_keep(maker, name, sha256(name).hex());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(find(maker, sha256("one").hex()).found());  // used last from here on
  server_->store.remove_stage_output("ours",
                                     sha256("nothing").hex());  // behind the use, in the writer's order
  EXPECT_EQ(collect(0, {.bytes = 6}).stages, 1u);
  EXPECT_TRUE(has("one") && has("six"));
  EXPECT_FALSE(has("two"));
}

TEST_F(StageOutputsTest, AreBytesOfTheirProjectAndAtMostHalfOfItsQuota) {
  const auto maker = leased("ours");
  const auto bytes = [&] {
    return server_->store.read([](Connection& db) { return bytes_of(db, "ours"); }).first;
  };
  const auto before = bytes();
  send_and_keep(maker, "12345", sha256("first").hex());
  EXPECT_EQ(bytes(), before + 5);
  v1::SetQuotaRequest quota;
  quota.set_name("ours");
  quota.mutable_quota()->set_bytes(21);
  call(*projects_, &v1::Projects::Stub::SetQuota, quota);
  send_and_keep(maker, "678901", sha256("second").hex());
  EXPECT_FALSE(find(maker, sha256("first").hex()).found()) << "more than ten bytes in all";
  EXPECT_TRUE(find(maker, sha256("second").hex()).found());
  collect(kDay);
  EXPECT_EQ(bytes(), before + 6);
}

TEST_F(StageOutputsTest, AreNoPartOfABackupAndUsedBlobsToFsck) {
  OF_SQLITE_ALONE();
  send_and_keep(leased("ours"), "output");
  TempDir other;
  back_up(folder_.path(), other.path() / "backup");
  restore_backup(other.path() / "backup", other.path() / "restored", SystemClock());
  EXPECT_EQ(JobStore(other.path() / "restored").stage_output_totals().count, 0u);
  server_.reset();
  const auto report = check_data(folder_.path());
  EXPECT_TRUE(report.is_clean());
  EXPECT_EQ(report.unused, 0u);
}

TEST_F(StageOutputsTest, WhatTheySavedIsCountedOnceAStage) {
  const auto lease = leased("ours");
  v1::ReportStageRequest request;
  request.set_job_id(lease.job().id());
  *request.mutable_fence() = lease.fence();
  request.mutable_stage()->set_key(kKey);
  request.mutable_stage()->set_state("cached");
  request.mutable_stage()->set_cached_in("project");
  request.mutable_stage()->set_cached_bytes(269);
  request.mutable_stage()->set_saved_seconds(35);
  for (int i = 0; i < 2; ++i) call(*workers_, &v1::Workers::Stub::ReportStage, request);
  request.mutable_stage()->set_index(1);
  request.mutable_stage()->set_state("done");
  request.mutable_stage()->clear_cached_in();
  call(*workers_, &v1::Workers::Stub::ReportStage, request);
  const auto text = server_->metrics.text();
  EXPECT_THAT(text, HasSubstr("wring_stages_total{source=\"project\"} 1"));
  EXPECT_THAT(text, HasSubstr("wring_stages_total{source=\"made\"} 1"));
  EXPECT_THAT(text, HasSubstr("wring_stage_saved_bytes_total 269"));
  EXPECT_THAT(text, HasSubstr("wring_stage_saved_seconds_total 35"));
  EXPECT_EQ(get(lease.job().id()).stages(0).cached_in(), "project");
}

}  // namespace
}  // namespace wring
