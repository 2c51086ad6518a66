// What is collected, and what never is.
#include "server/upkeep/collect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "common/files.h"
#include "formats/manifest.h"
#include "server/api/artifact_catalogue.h"
#include "server/store/audit_rows.h"
#include "tests/common/thrown_by.h"
#include "tests/server/data_folder.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

constexpr TimeMs kNow = 1'700'000'000'000, kDay = 86'400'000;

class Collecting : public testing::Test {
 protected:
  // As a client does whose upload takes longer than the grace period, so that nothing is young because it has
  // asked for it: sends what is missing, commits; again where a chunk was collected meanwhile.
  std::string put(const std::vector<std::string>& chunks, TimeMs now = kNow) {
    ManifestFile file{"file", 0, {}};
    for (const auto& text : chunks) {
      file.chunks.push_back({sha256(text), text.size()});
      file.size += text.size();
    }
    v1::CommitArtifactRequest request;
    request.set_manifest_json(Manifest{"model", {file}}.canonical());
    for (;;) {
      for (const auto& text : chunks)
        if (!has(text)) put_blob(text);
      std::vector<std::string> missing;
      try {
        return commit_artifact(request, now, store_, {blobs_, store_, {}}, "", missing).digest();
      } catch (const Error& error) {
        if (error.reason() != "MISSING_BLOBS") throw;
      }
    }
  }

  void put_blob(const std::string& text) {
    BlobStore::Upload upload(blobs_, sha256(text), text.size(), "u" + std::to_string(++uploads_));
    upload.append(0, std::as_bytes(std::span(text)));
    upload.finish();
  }

  void make_old(const std::string& text) {
    const auto hex = sha256(text).hex();
    fs::last_write_time(folder_.path() / "blobs" / hex.substr(0, 2) / hex,
                        fs::file_time_type::clock::now() - std::chrono::hours(48));
  }

  bool has(const std::string& text) const { return blobs_.has(sha256(text)); }
  CollectReport collect(TimeMs now = kNow, TimeMs grace = kDay) {
    return collect_garbage(store_, blobs_, now, grace);
  }

  v1::Artifact retain(const std::string& digest, bool pinned, TimeMs expire_time = 0) {
    v1::SetRetentionRequest request;
    request.set_digest(digest);
    request.set_pinned(pinned);
    if (expire_time > 0) request.mutable_expire_time()->set_seconds(expire_time / 1000);
    return set_retention(request, kNow, store_, {});
  }

  void submit(const std::string& model) {
    StoredJob job;
    job.record.id = "job";
    job.record.sequence = 1;
    job.spec.set_model(model);
    job.normal_form = "{}";
    StoreBatch batch;
    batch.outcome.changed = {job.record};
    batch.submitted = std::move(job);
    store_.write(std::move(batch)).get();
  }
  void end_job() {
    StoreBatch batch;
    batch.outcome.changed = {store_.job("job")->record};
    batch.outcome.changed[0].phase = JobPhase::kSucceeded;
    store_.write(std::move(batch)).get();
  }

  std::vector<AuditEntry> audit() {
    store_.change([](Connection&) {});  // what was written before is on disk then
    return store_.read([](Connection& db) { return audit_entries(db, 0, 100); });
  }

  DataFolder folder_;
  JobStore store_{folder_.path()};
  BlobStore blobs_{folder_.path()};
  std::atomic<int> uploads_ = 0;
};

TEST_F(Collecting, TakesOldBlobsThatNoArtifactIsMadeOf) {
  put({"shared", "kept"});
  const auto gone = put({"shared", "gone"});
  put_blob("young");
  put_blob("old");
  store_.remove_artifact(gone, {});
  for (const char* text : {"shared", "kept", "gone", "old"}) make_old(text);
  const auto report = collect();
  EXPECT_EQ(report.blobs, 2u);
  EXPECT_EQ(report.bytes, 7u);
  EXPECT_EQ(report.kept, 2u);
  EXPECT_TRUE(has("shared") && has("kept") && has("young"));
  EXPECT_FALSE(has("gone") || has("old"));
  EXPECT_EQ(collect(kNow, 0).blobs, 1u);  // with no grace the young one, too
  EXPECT_FALSE(has("young"));
}

TEST_F(Collecting, TakesNothingThatIsAnotherDatabases) {
  put_blob("theirs");
  make_old("theirs");
  const DataFolder other;
  JobStore empty(other.path());
  EXPECT_EQ(thrown_by([&] { blobs_.claim_place(empty.id(), /*is_new=*/true); }).reason(), "BLOBS_OF_ANOTHER");
  blobs_.claim_place(store_.id(), /*is_new=*/false);
  EXPECT_EQ(thrown_by([&] { collect_garbage(empty, blobs_, kNow, kDay); }).reason(), "BLOBS_OF_ANOTHER");
  EXPECT_TRUE(has("theirs"));
  EXPECT_EQ(collect().blobs, 1u);
}

TEST_F(Collecting, LeavesABlobThatAnUploadFoundInTheStore) {
  put_blob("chunk");
  make_old("chunk");
  ASSERT_TRUE(blobs_.renew(sha256("chunk")));  // FindMissingBlobs
  collect();
  EXPECT_TRUE(has("chunk"));
}

TEST_F(Collecting, DeletesAnArtifactWhoseTimeIsOverAndItsBlobsAGracePeriodLater) {
  const auto digest = put({"chunk"});
  EXPECT_EQ(retain(digest, false, kNow + 5'000).expire_time().seconds(), kNow / 1000 + 5);
  make_old("chunk");
  EXPECT_EQ(collect(kNow + 4'999).expired, 0u);
  EXPECT_EQ(collect(kNow + 5'000).expired, 1u);
  EXPECT_FALSE(store_.has_artifact(digest, {}));
  EXPECT_TRUE(has("chunk"));  // a backup may be copying it
  make_old("chunk");
  EXPECT_EQ(collect().blobs, 1u);
  EXPECT_FALSE(has("chunk"));
}

TEST_F(Collecting, LeavesWhatIsKeptAfterAllOrPinned) {
  const auto kept = put({"kept"}), pinned = put({"pinned"});
  for (const auto& digest : {kept, pinned}) retain(digest, false, kNow + 1'000);
  EXPECT_FALSE(retain(kept, false).has_expire_time());
  EXPECT_TRUE(retain(pinned, true).pinned());
  EXPECT_EQ(collect(kNow + kDay).expired, 0u);
  EXPECT_EQ(thrown_by([&] { delete_artifact(pinned, store_, blobs_, {}); }).reason(), "ARTIFACT_PINNED");
  retain(pinned, false);
  delete_artifact(pinned, store_, blobs_, {});
  EXPECT_FALSE(store_.has_artifact(pinned, {}));
}

TEST_F(Collecting, LeavesWhatAJobReadsUntilItHasEnded) {
  const auto digest = put({"chunk"});
  submit(digest);
  retain(digest, false, kNow + 1'000);
  EXPECT_EQ(thrown_by([&] { delete_artifact(digest, store_, blobs_, {}); }).reason(), "ARTIFACT_IN_USE");
  EXPECT_EQ(collect(kNow + 1'000).expired, 0u);
  end_job();
  EXPECT_EQ(collect(kNow + 1'000).expired, 1u);
}

TEST_F(Collecting, LeavesWhatIsHandedInAgainAfterItsTimeWasOver) {
  const auto again = put({"again"}), other = put({"other"}), kept = put({"kept"});
  for (const auto& digest : {again, other}) retain(digest, false, kNow + 1'000);
  retain(kept, false, kNow + 10'000);
  put({"again"}, kNow + 1'000);
  put({"kept"}, kNow + 1'000);  // it had not expired: its time stays
  EXPECT_FALSE(store_.artifact(again, {})->has_expire_time());
  EXPECT_EQ(store_.artifact(kept, {})->expire_time().seconds(), kNow / 1000 + 10);
  EXPECT_EQ(collect(kNow + 1'000).expired, 1u);
  EXPECT_TRUE(store_.has_artifact(again, {}));
  EXPECT_FALSE(store_.has_artifact(other, {}));
  put({"other"}, kNow + 1'000);  // and what was deleted is made anew
  EXPECT_EQ(store_.expired(kNow + kDay),
            (std::vector<std::pair<std::string, std::string>>{{kept, "default"}}));
}

TEST_F(Collecting, DoesNotDeleteWhatWasKeptBetweenTheLookAndTheDeletion) {
  const auto digest = put({"chunk"});
  retain(digest, false, kNow + 1'000);
  const auto found = store_.expired(kNow + 1'000);
  put({"chunk"}, kNow + 1'000);
  EXPECT_EQ(store_.remove_expired(found, kNow + 1'000), 0u);
  EXPECT_TRUE(store_.has_artifact(digest, {}));
}

TEST_F(Collecting, RefusesARetentionThatMakesNoSense) {
  const auto digest = put({"chunk"});
  EXPECT_EQ(thrown_by([&] { retain(digest, true, kNow + 1'000); }).field(), "expire_time");
  EXPECT_EQ(thrown_by([&] { retain(digest, false, kNow); }).reason(), "OUT_OF_RANGE");
  EXPECT_EQ(thrown_by([&] { retain("feedbeef", true); }).reason(), "ARTIFACT_NOT_FOUND");
}

TEST_F(Collecting, WhatARunDeletesIsOneRowOfTheAuditLog) {
  retain(put({"expires"}), false, kNow + 1'000);
  for (const char* text : {"old", "older"}) {
    put_blob(text);
    make_old(text);
  }
  collect_and_note(store_, blobs_, CollectedBy::kCollector, kNow + 1'000, kDay);
  auto rows = audit();
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].time, kNow + 1'000);
  EXPECT_EQ(rows[0].caller, "collector");
  EXPECT_EQ(rows[0].method, "collect");
  EXPECT_EQ(rows[0].object, "1 expired artifacts, 0 outputs of stages, 2 blobs of 8 bytes, 0 unfinished");
  EXPECT_EQ(rows[0].outcome, "OK");
  collect_and_note(store_, blobs_, CollectedBy::kCollector, kNow + 2'000, kDay);
  EXPECT_THAT(audit(), SizeIs(1)) << "there was nothing to delete";
  collect_and_note(store_, blobs_, CollectedBy::kOperator, kNow + 2'000, kDay);
  rows = audit();
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[1].caller, "operator");
  EXPECT_EQ(rows[1].method, "wring-server gc");
  EXPECT_EQ(rows[1].object, "0 expired artifacts, 0 outputs of stages, 0 blobs of 0 bytes, 0 unfinished");
}

TEST_F(Collecting, ARunThatFailsHasARowOfWhatItHadDeleted) {
  retain(put({"expires"}), false, kNow + 1'000);
  StoreBatch batch;
  auto& broken = batch.artifacts.emplace_back();
  broken.set_digest(std::string(64, 'b'));
  broken.set_manifest_json(R"({"files": []})");
  store_.write(std::move(batch)).get();
  const auto error =
      thrown_by([&] { collect_and_note(store_, blobs_, CollectedBy::kCollector, kNow + 1'000, kDay); });
  const auto rows = audit();
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].outcome, error.reason());
  EXPECT_THAT(rows[0].object, StartsWith("1 expired artifacts, "));
}

TEST_F(Collecting, TheCollectorNotesWhatItDeletes) {
  retain(put({"expires"}), false, kNow + 1'000);
  Metrics metrics;
  const SystemClock clock;
  Collector collector(store_, blobs_, metrics, clock, 10, kDay, {});
  for (const Stopwatch watch; audit().empty() && watch.seconds() < 20;)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const auto rows = audit();
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].caller, "collector");
}

// The grace period is so short that chunks are collected between the question for them and the commit.
TEST_F(Collecting, NeverTakesAChunkOfWhatIsCommittedWhileUploadsAndDeletionsRun) {
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> collected = 0;
  std::jthread collector([&] {
    while (!stop) collected += collect(kNow, 20).blobs;
  });
  {
    std::vector<std::jthread> uploaders;
    for (unsigned n = 0; n < 4; ++n)
      uploaders.emplace_back([&, n] {
        std::mt19937 random(n);
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(3);
        while (std::chrono::steady_clock::now() < until) {
          const auto own = std::to_string(n) + "/" + std::to_string(random() % 3);
          const std::vector<std::string> chunks{own, "shared " + std::to_string(random() % 4)};
          const auto digest = put(chunks);
          std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
          for (const auto& text : chunks) EXPECT_TRUE(has(text)) << text << " of " << digest;
          delete_artifact(digest, store_, blobs_, {});
          std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
        }
      });
  }
  stop = true;
  collector.join();
  EXPECT_GT(collected, 0u);
}

}  // namespace
}  // namespace wring
