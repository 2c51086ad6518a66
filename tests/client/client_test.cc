// The client library against a server in memory: watches that break, uploads that send little, whole
// downloads.
#include "client/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "common/error.h"
#include "common/files.h"
#include "tests/client/fake_server.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

v1::Event event(std::uint64_t number, v1::JobState state) {
  v1::Event event;
  event.set_number(number);
  event.set_state(state);
  return event;
}

class WatchTest : public ::testing::Test {
 protected:
  WatchTest() {
    server_.jobs.job.set_id("k3f9");
    server_.jobs.job.set_state(v1::JOB_STATE_RUNNING);
  }
  void end_job() {
    const std::lock_guard lock(server_.jobs.mutex);
    server_.jobs.job.set_state(v1::JOB_STATE_SUCCEEDED);
  }
  WatchOptions options() {
    WatchOptions options;
    options.patience_seconds = 1;
    options.tick_seconds = 0.02;
    return options;
  }

  std::atomic<bool> stopped_ = false;
  FakeServer server_;
};

TEST_F(WatchTest, APlainCallGoesOnOverAServerThatStops) {
  Client client(server_.config());
  server_.jobs.cancels = 2;
  EXPECT_EQ(client.get("k3f9").id(), "k3f9");
  server_.jobs.cancels = 100;
  EXPECT_EQ(thrown_by([&] { client.get("k3f9"); }).reason(), "SERVER_AWAY");
}

TEST_F(WatchTest, GoesOnFromTheLastEventWhenTheStreamBreaksAndSeesEachEventOnce) {
  server_.jobs.watches = {[](const auto&, auto& writer) {
                            writer.Write(event(1, v1::JOB_STATE_QUEUED));
                            writer.Write(event(2, v1::JOB_STATE_RUNNING));
                            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server stops");
                          },
                          [this](const auto&, auto& writer) {
                            end_job();
                            writer.Write(event(3, v1::JOB_STATE_SUCCEEDED));
                            return grpc::Status::OK;
                          }};
  Client client(server_.config());
  std::vector<std::uint64_t> seen;
  int breaks = 0;
  auto o = options();
  o.on_break = [&](const Error&) { ++breaks; };
  const auto job = client.watch("k3f9", o, [&](const v1::Event& e) { seen.push_back(e.number()); });
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_EQ(server_.jobs.cursors, (std::vector<std::uint64_t>{0, 2}));
  EXPECT_EQ(breaks, 1);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(WatchTest, ProgressEventsDoNotMoveTheCursor) {
  server_.jobs.watches = {[](const auto&, auto& writer) {
                            writer.Write(event(4, v1::JOB_STATE_RUNNING));
                            writer.Write(event(0, v1::JOB_STATE_RUNNING));
                            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "");
                          },
                          [this](const auto&, auto& writer) {
                            end_job();
                            writer.Write(event(5, v1::JOB_STATE_SUCCEEDED));
                            return grpc::Status::OK;
                          }};
  Client client(server_.config());
  client.watch("k3f9", options(), [](const v1::Event&) {});
  EXPECT_EQ(server_.jobs.cursors.at(1), 4u);
}

TEST_F(WatchTest, GivesUpWithUnavailableWhenTheServerStaysAway) {
  server_.jobs.watches = {
      [](const auto&, auto&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away"); }};
  Client client(server_.config());
  try {
    client.watch("k3f9", options(), [](const v1::Event&) {});
    FAIL() << "never gave up";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnavailable);
  }
  EXPECT_GE(server_.jobs.cursors.size(), 2u);
}

TEST_F(WatchTest, AnErrorThatIsNoAbsenceEndsItAtOnce) {
  server_.jobs.watches = {
      [](const auto&, auto&) { return to_status(Error(ErrorCode::kNotFound, "NO_SUCH_JOB", "gone")); }};
  Client client(server_.config());
  try {
    client.watch("k3f9", options(), [](const v1::Event&) {});
    FAIL() << "went on";
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "NO_SUCH_JOB");
  }
  EXPECT_EQ(server_.jobs.cursors.size(), 1u);
}

TEST_F(WatchTest, OnlyAServerThatIsAwayIsTriedAgain) {
  server_.jobs.watches = {
      [](const auto&, auto&) { return to_status(Error(ErrorCode::kInternal, "INTERNAL", "a bug")); }};
  Client client(server_.config());
  EXPECT_EQ(thrown_by([&] { client.watch("k3f9", options(), [](const v1::Event&) {}); }).code(),
            ErrorCode::kInternal);
  EXPECT_EQ(server_.jobs.cursors.size(), 1u);
}

TEST_F(WatchTest, TheCallerMayStopItWhileNothingComes) {
  server_.jobs.watches = {[this](const auto&, auto&) {
    while (!stopped_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return grpc::Status::OK;
  }};
  Client client(server_.config());
  auto o = options();
  int ticks = 0;
  o.on_tick = [&] { return ++ticks < 3 || !(stopped_ = true); };
  EXPECT_EQ(client.watch("k3f9", o, [](const v1::Event&) {}).state(), v1::JOB_STATE_RUNNING);
}

TEST_F(WatchTest, TheTokenGoesWithEveryCall) {
  Client(server_.config("secret")).get("k3f9");
  EXPECT_EQ(server_.jobs.seen_token, "Bearer secret");
}

class TreeTest : public ::testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& text) {
    const auto path = folder_.path() / "model" / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  fs::path model() const { return folder_.path() / "model"; }
  fs::path out() const { return folder_.path() / "out"; }

  FakeServer server_;
  Client client_{server_.config()};
  TempDir folder_;
};

TEST_F(TreeTest, WhatWasUploadedComesBackByteByByteAndGivesTheSameDigestAgain) {
  write("config.json", "{}");
  write("deep/weights.bin", std::string(3'000'000, 'w'));
  write("empty", "");
  const auto first = client_.upload_tree(model(), "model");
  EXPECT_EQ(first.sent_bytes, first.total_bytes);
  client_.download_artifact(first.artifact.digest(), out());
  EXPECT_EQ(read_file(out() / "deep/weights.bin"), std::string(3'000'000, 'w'));
  EXPECT_EQ(read_file(out() / "empty"), "");
  EXPECT_EQ(client_.upload_tree(out(), "model").artifact.digest(), first.artifact.digest());
}

TEST_F(TreeTest, OnlyWhatTheStoreLacksIsSent) {
  write("a", std::string(2'000'000, 'a'));
  client_.upload_tree(model(), "model");
  write("b", std::string(1'000, 'b'));
  const auto second = client_.upload_tree(model(), "model");
  EXPECT_EQ(second.sent_bytes, 1'000u);
  EXPECT_EQ(server_.artifacts.writes, 2);
}

TEST_F(TreeTest, WhatIsCollectedBeforeTheCommitIsSentAgain) {
  write("a", "text");
  server_.artifacts.lose_at_commit = 1;
  EXPECT_EQ(client_.upload_tree(model(), "model").sent_bytes, 8u);
  EXPECT_EQ(server_.artifacts.writes, 2);
}

TEST_F(TreeTest, ADownloadedFolderKeepsWhatItsArtifactSaidOfItselfUntilAFileIsAltered) {
  write("a", "text");
  const auto kept = build_manifest(model(), "model", Json{{"lineage", "k3f9"}});
  client_.upload_tree(model(), "model");  // the chunks
  server_.artifacts.manifests[kept.digest().hex()] = kept.canonical();
  client_.download_artifact(kept.digest().hex(), out());
  EXPECT_EQ(client_.upload_tree(out(), "model").artifact.digest(), kept.digest().hex());
  std::ofstream(out() / "a") << "altered";
  const auto altered = client_.upload_tree(out(), "model").artifact.manifest_json();
  EXPECT_EQ(altered.find("lineage"), std::string::npos);
}

TEST_F(TreeTest, ADownloadThatWasKilledIsGoneOnWithAfterItsLastWholeChunk) {
  write("a", std::string(100'000, 'a'));
  write("b", std::string(100'000, 'b'));
  write("c", "small");
  const auto digest = client_.upload_tree(model(), "model").artifact.digest();
  const auto half = folder_.path() / (".out." + digest.substr(0, 12) + ".part") / "tree";
  fs::create_directories(half);
  std::ofstream(half / "a") << std::string(100'000, 'a');
  std::ofstream(half / "b") << std::string(50'000, 'b');
  std::ofstream(half / "c") << "smalx and longer";
  client_.download_artifact(digest, out());
  EXPECT_EQ(server_.artifacts.reads, 2) << "all but the first";
  EXPECT_EQ(read_file(out() / "a") + read_file(out() / "b"),
            std::string(100'000, 'a') + std::string(100'000, 'b'));
  EXPECT_EQ(read_file(out() / "c"), "small");
  EXPECT_FALSE(fs::exists(half.parent_path()));
}

TEST_F(TreeTest, ACorruptChunkIsDataLossAndLeavesNoFolder) {
  write("a", "text");
  const auto digest = client_.upload_tree(model(), "model").artifact.digest();
  for (auto& [name, bytes] : server_.artifacts.blobs) bytes[0] ^= 1;
  try {
    client_.download_artifact(digest, out());
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kDataLoss);
  }
  EXPECT_FALSE(fs::exists(out()));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()),
            1);  // the model alone
}

TEST_F(TreeTest, AFolderThatHoldsSomethingIsNeverOverwritten) {
  write("a", "text");
  const auto digest = client_.upload_tree(model(), "model").artifact.digest();
  EXPECT_THROW(client_.download_artifact(digest, model()), Error);
  EXPECT_EQ(read_file(model() / "a"), "text");
}

TEST_F(TreeTest, AnInputIsAPathThatExistsOrADigestOfTheStore) {
  write("a", "text");
  const auto digest = resolve_input(client_, model().string(), "model");
  EXPECT_EQ(resolve_input(client_, "sha256:" + digest, "model"), digest);
  EXPECT_EQ(resolve_input(client_, digest.substr(0, 8), "model"), digest);
  try {
    resolve_input(client_, "no/such/folder", "model");
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.field(), "--model");
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
  }
}

}  // namespace
}  // namespace wring
