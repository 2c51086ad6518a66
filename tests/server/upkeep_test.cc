// What a backup, a restore and a check of a data folder promise.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "formats/manifest.h"
#include "server/blobs/blob_store.h"
#include "server/store/audit_rows.h"
#include "server/store/job_store.h"
#include "server/store/sqlite/connection.h"
#include "server/store/statement.h"
#include "server/upkeep/backup.h"
#include "server/upkeep/data_lock.h"
#include "server/upkeep/fsck.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr TimeMs kNow = 1'700'000'000'000;

// A data folder as a server leaves it, or has it in use.
class Data {
 public:
  explicit Data(const fs::path& folder) : folder_(folder), store_(folder), blobs_(folder) {}

  // An artifact of one file of some chunks; returns its digest.
  std::string put(const std::string& name, const std::vector<std::string>& chunks) {
    ManifestFile file{name, 0, {}};
    for (const auto& text : chunks) {
      file.chunks.push_back({sha256(text), text.size()});
      file.size += text.size();
      BlobStore::Upload upload(blobs_, sha256(text), text.size(), "u");
      upload.append(0, std::as_bytes(std::span(text)));
      upload.finish();
    }
    const Manifest manifest{"model", {file}};
    v1::Artifact artifact;
    artifact.set_digest(manifest.digest().hex());
    artifact.set_kind("model");
    artifact.set_name(name);
    artifact.set_manifest_json(manifest.canonical());
    StoreBatch batch;
    batch.artifacts = {artifact};
    store_.write(std::move(batch)).get();
    return artifact.digest();
  }

  void submit(const std::string& id, const std::string& model) {
    StoredJob job;
    job.record.id = id;
    job.record.sequence = store_.highest_sequence() + 1;
    job.record.version = 1;
    job.spec.set_model(model);
    job.normal_form = "{}";
    StoreBatch batch;
    batch.outcome.changed = {job.record};
    batch.submitted = std::move(job);
    store_.write(std::move(batch)).get();
  }

  JobStore& store() { return store_; }

 private:
  fs::path folder_;
  JobStore store_;
  BlobStore blobs_;
};

fs::path path_of(const fs::path& folder, const std::string& text) {
  const auto hex = sha256(text).hex();
  return folder / "blobs" / hex.substr(0, 2) / hex;
}

void damage(const fs::path& folder, const std::string& text) {
  std::fstream file(path_of(folder, text), std::ios::in | std::ios::out);
  file.put('X');
}

class Upkeep : public testing::Test {
 protected:
  fs::path data() const { return folder_.path() / "data"; }
  fs::path backup() const { return folder_.path() / "backup"; }
  fs::path restored() const { return folder_.path() / "restored"; }
  void SetUp() override { fs::create_directories(data()); }

  TempDir folder_;
  ManualClock clock_{kNow};
};

TEST_F(Upkeep, ABackupOfAServerThatRunsIsRestoredWhole) {
  Data server(data());
  const FileDescriptor in_use = lock_data(data());
  const auto model = server.put("m", {"first", "second"});
  server.submit("job1", model);
  const auto report = back_up(data(), backup());
  EXPECT_EQ(report.jobs, 1u);
  EXPECT_EQ(report.copied_bytes, 11u);
  server.submit("job2", model);  // after the backup

  restore_backup(backup(), restored(), clock_);
  JobStore store(restored());
  EXPECT_EQ(store.job("job1")->spec.model(), model);
  EXPECT_FALSE(store.job("job2").has_value());
  EXPECT_TRUE(store.artifact(model, {}).has_value());
  EXPECT_TRUE(check_data(restored()).is_clean());
  EXPECT_EQ(read_file(path_of(restored(), "second")), "second");
}

// A view of a folder that cannot be changed, where this process may mount one.
class ReadOnly {
 public:
  ReadOnly(const fs::path& folder, const fs::path& at) : at_(at) {
    fs::create_directories(at_);
    mounted_ = ::mount(folder.c_str(), at_.c_str(), nullptr, MS_BIND, nullptr) == 0;
    if (mounted_)
      EXPECT_EQ(::mount(nullptr, at_.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr), 0);
  }
  ~ReadOnly() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  ReadOnly(const ReadOnly&) = delete;
  ReadOnly& operator=(const ReadOnly&) = delete;
  bool mounted() const { return mounted_; }

 private:
  fs::path at_;
  bool mounted_;
};

TEST_F(Upkeep, WhatIsMountedReadOnlyIsBackedUpAndRestoredFrom) {
  Data server(data());
  const auto model = server.put("m", {"first"});  // lies in the journal still
  ASSERT_TRUE(fs::exists(data() / "wring.db-wal"));
  const ReadOnly snapshot(data(), folder_.path() / "snapshot");
  if (!snapshot.mounted()) GTEST_SKIP() << "this process may not mount";
  EXPECT_FALSE(is_read_only(data()));
  const auto kept = back_up(folder_.path() / "snapshot", backup());
  EXPECT_EQ(kept.artifacts, 1u);
  EXPECT_EQ(kept.copied_bytes, 5u);

  const ReadOnly medium(backup(), folder_.path() / "medium");
  const auto report = restore_backup(folder_.path() / "medium", restored(), clock_);
  EXPECT_EQ(report.copied_bytes, 5u);
  EXPECT_EQ(report.epoch, static_cast<std::uint64_t>(kNow));
  EXPECT_TRUE(JobStore(restored()).artifact(model, {}).has_value());
  EXPECT_TRUE(check_data(restored()).is_clean());
}

TEST_F(Upkeep, OfALiveServersReadOnlyViewABackupIsWholeOrRefused) {
  Data server(data());
  server.put("m", {"first"});
  const ReadOnly view(data(), folder_.path() / "view");
  if (!view.mounted()) GTEST_SKIP() << "this process may not mount";
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) server.put("m" + std::to_string(i), {"chunk " + std::to_string(i)});
  });
  int refused = 0;
  for (int i = 0; i < 20; ++i) {
    const auto folder = folder_.path() / ("backup" + std::to_string(i));
    try {
      back_up(folder_.path() / "view", folder);
      EXPECT_TRUE(check_data(folder).is_clean()) << i;
    } catch (const Error& error) {
      EXPECT_EQ(error.reason(), "DATA_CHANGES");
      EXPECT_FALSE(fs::exists(folder / "wring.db"));
      ++refused;
    }
  }
  stop = true;
  writer.join();
  EXPECT_GT(refused, 0);
}

TEST_F(Upkeep, EveryRestoreRaisesTheEpochAlsoASecondOfOneBackup) {
  Data(data()).put("m", {"x"});
  back_up(data(), backup());
  const auto first = restore_backup(backup(), restored(), clock_).epoch;
  clock_.advance(5000);
  const auto second = restore_backup(backup(), folder_.path() / "again", clock_).epoch;
  EXPECT_GT(first, 1u);
  EXPECT_GT(second, first);
  EXPECT_EQ(JobStore(folder_.path() / "again").epoch(), second);
}

TEST_F(Upkeep, ARestoreIsNotedInTheDatabaseThatComesOfIt) {
  const auto audit = [](const fs::path& folder) {
    return JobStore(folder).read([](Connection& db) { return audit_entries(db, 0, 10); });
  };
  Data(data()).put("m", {"first", "second"});
  back_up(data(), backup());
  restore_backup(backup(), restored(), clock_);
  const auto rows = audit(restored());
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].time, kNow);
  EXPECT_EQ(rows[0].caller, "operator");
  EXPECT_EQ(rows[0].method, "wring-server restore");
  EXPECT_EQ(rows[0].object, "0 jobs, 1 artifacts, 2 blobs of 11 bytes");
  EXPECT_EQ(rows[0].outcome, "OK");
  EXPECT_THAT(audit(backup()), IsEmpty());

  damage(backup(), "first");
  restore_backup(backup(), folder_.path() / "again", clock_);
  EXPECT_EQ(audit(folder_.path() / "again").at(0).object,
            "0 jobs, 1 artifacts, 2 blobs of 11 bytes, 1 of them lost");
}

TEST_F(Upkeep, ASecondBackupCopiesWhatIsNewAndReplacesTheDatabase) {
  Data server(data());
  server.put("m", {"first"});
  back_up(data(), backup());
  const auto later = server.put("n", {"first", "later"});
  const auto report = back_up(data(), backup());
  EXPECT_EQ(report.bytes, 10u);
  EXPECT_EQ(report.copied_bytes, 5u);
  EXPECT_TRUE(JobStore(backup()).artifact(later, {}).has_value());
}

TEST_F(Upkeep, ABackupUnderLoadHoldsEveryArtifactThatItsDatabaseNames) {
  Data server(data());
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) server.put("m" + std::to_string(i), {"chunk " + std::to_string(i)});
  });
  for (int i = 0; i < 5; ++i) {
    const auto folder = folder_.path() / ("backup" + std::to_string(i));
    back_up(data(), folder);
    EXPECT_TRUE(check_data(folder).is_clean()) << i;
  }
  stop = true;
  writer.join();
}

TEST_F(Upkeep, ADamagedBlobIsNamedAndKeepsNothingElseFromABackupOrARestore) {
  Data server(data());
  const auto whole = server.put("m", {"first"}), damaged = server.put("n", {"to be damaged"});
  const auto hex = sha256(std::string("to be damaged")).hex();
  damage(data(), "to be damaged");
  EXPECT_THAT(back_up(data(), backup()).lost, ElementsAre(hex));
  EXPECT_TRUE(fs::exists(path_of(data(), "to be damaged"))) << "a backup only reads";
  EXPECT_THAT(back_up(data(), backup()).lost, ElementsAre(hex));

  damage(backup(), "first");
  EXPECT_THAT(restore_backup(backup(), restored(), clock_).lost, SizeIs(2));
  EXPECT_TRUE(JobStore(restored()).artifact(damaged, {}).has_value());
  EXPECT_THAT(check_data(restored()).artifacts, SizeIs(2));
}

TEST_F(Upkeep, ARestoreThatWasCutOffGoesOnAndAStaleJournalIsNotReplayed) {
  const auto model = Data(data()).put("m", {"first"});
  back_up(data(), backup());
  fs::create_directories(restored() / "blobs" / "ab");
  std::ofstream(restored() / "restore.db") << "half";
  restore_backup(backup(), restored(), clock_);
  EXPECT_TRUE(JobStore(restored()).artifact(model, {}).has_value());

  const auto other = folder_.path() / "other";
  fs::create_directories(other);
  std::ofstream(other / "wring.db-wal") << "of another database";
  EXPECT_EQ(thrown_by([&] { restore_backup(backup(), other, clock_); }).reason(), "DATA_NOT_EMPTY");
}

TEST_F(Upkeep, WhatIsInTheWayOrMissingIsSaid) {
  Data(data()).put("m", {"x"});
  back_up(data(), backup());
  EXPECT_EQ(thrown_by([&] { restore_backup(backup(), data(), clock_); }).reason(), "DATA_NOT_EMPTY");
  EXPECT_EQ(thrown_by([&] { back_up(folder_.path() / "nothing", restored()); }).reason(), "NO_DATA");
  EXPECT_EQ(thrown_by([&] { check_data(folder_.path() / "nothing"); }).reason(), "NO_DATA");
  EXPECT_EQ(thrown_by([&] { back_up(data(), data()); }).reason(), "SAME_FOLDER");
  const FileDescriptor in_use = lock_data(data());
  EXPECT_EQ(thrown_by([&] { check_data(data()); }).reason(), "DATA_IN_USE");
}

TEST_F(Upkeep, FsckSetsDamagedBlobsAsideAndNamesTheJobsTheyTouch) {
  {
    Data server(data());
    const auto whole = server.put("whole", {"a", "shared"});
    const auto damaged = server.put("damaged", {"b", "c"});
    server.submit("job1", whole);
    server.submit("job2", damaged);
    server.submit("job3", damaged);
  }
  EXPECT_TRUE(check_data(data()).is_clean());
  damage(data(), "b");
  fs::remove(path_of(data(), "c"));
  const auto report = check_data(data());
  EXPECT_FALSE(report.is_clean());
  EXPECT_THAT(report.corrupt, ElementsAre(sha256(std::string("b")).hex()));
  EXPECT_TRUE(fs::exists(data() / "corrupt" / sha256(std::string("b")).hex()));
  ASSERT_THAT(report.artifacts, SizeIs(1));
  EXPECT_EQ(report.artifacts[0].name, "damaged");
  EXPECT_EQ(report.artifacts[0].missing, 2u);
  EXPECT_THAT(report.artifacts[0].jobs, ElementsAre("job2", "job3"));

  Data(data()).put("damaged", {"b", "c"});  // handed in again
  EXPECT_TRUE(check_data(data()).is_clean());
}

TEST_F(Upkeep, FsckNamesAnArtifactWithoutItsManifestAndChecksTheOthers) {
  std::string lost;
  {
    Data server(data());
    lost = server.put("lost", {"a"});
    server.put("damaged", {"b"});
  }
  {
    SqliteConnection database(data() / kDatabase);
    Statement forget(database, "DELETE FROM manifests WHERE digest = ?");
    forget.bind(lost);
    forget.run();
  }
  damage(data(), "b");
  const auto report = check_data(data());
  EXPECT_THAT(report.database, ElementsAre(testing::HasSubstr(lost)));
  ASSERT_THAT(report.artifacts, SizeIs(1));
  EXPECT_EQ(report.artifacts[0].name, "damaged");
}

TEST_F(Upkeep, FsckSaysWhatSqliteFindsWrong) {
  {
    Data server(data());
    for (int i = 0; i < 200; ++i) server.submit("job" + std::to_string(i), "m");
  }
  {
    std::fstream file(data() / "wring.db", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5 * 4096);
    file << std::string(4096 * 6, '\x7f');
  }
  EXPECT_THAT(check_data(data()).database, testing::Not(IsEmpty()));
}

}  // namespace
}  // namespace wring
