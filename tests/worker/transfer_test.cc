// Blob transfer against a server that breaks off, goes away, or lies.
#include "proto/rpc/transfer.h"

#include <gtest/gtest.h>

#include <random>

#include "common/error.h"
#include "common/files.h"
#include "formats/file_tree.h"
#include "proto/rpc/channel.h"
#include "tests/common/thrown_by.h"
#include "tests/worker/fake_server.h"

namespace wring {
namespace {

std::string random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (auto& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::span<const std::byte> view(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

class Transfer : public testing::Test {
 protected:
  test::FakeServer server;
  std::unique_ptr<v1::Artifacts::Stub> stub = v1::Artifacts::NewStub(make_channel(server.address()));
  TempDir folder;
};

TEST(Away, IsAServerThatBreaksCallsOffAndNotOneThatRefuses) {
  for (const auto code :
       {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::CANCELLED, grpc::StatusCode::UNKNOWN})
    EXPECT_TRUE(is_away(from_status({code, "Stream removed"}))) << code;
  EXPECT_FALSE(is_away(from_status({grpc::StatusCode::UNIMPLEMENTED, ""})));
  const auto refusal = [](const char* reason) {
    return from_status(to_status(Error(ErrorCode::kResourceExhausted, reason, "")));
  };
  EXPECT_TRUE(is_away(refusal("RATE_LIMITED")) && is_away(refusal("TOO_MANY_CALLS")));
  EXPECT_FALSE(is_away(refusal("QUOTA_BYTES")));
  const auto full = grpc::StatusCode::RESOURCE_EXHAUSTED;
  EXPECT_TRUE(is_away(from_status({full, "Server Threadpool Exhausted"})));
  EXPECT_FALSE(is_away(from_status({full, "Received message larger than max (5 vs. 4)"})));
  EXPECT_FALSE(is_away(from_status(to_status(Error(ErrorCode::kUnknown, "NOT_MAPPED", "")))));
}

TEST_F(Transfer, UploadGoesOnWhereTheStreamBroke) {
  const auto bytes = random_bytes(5 << 20, 1);
  server.artifacts.break_writes_after = 3 << 20;
  upload_blob(*stub, sha256(bytes), view(bytes));
  EXPECT_EQ(server.artifacts.blob(sha256(bytes).hex()), bytes);
  EXPECT_EQ(server.artifacts.received, bytes.size());  // no byte twice
  EXPECT_EQ(server.artifacts.write_streams, 2);
}

TEST_F(Transfer, UploadOfAProcessThatDiedIsGoneOnWithUnderItsName) {
  const auto bytes = random_bytes(5 << 20, 1);
  TransferOptions options;
  options.upload_name = "host 0 /models/a";
  options.patience_seconds = -1;
  server.artifacts.break_writes_after = 3 << 20;
  EXPECT_THROW(upload_blob(*stub, sha256(bytes), view(bytes), options), Error);
  const std::uint64_t before = server.artifacts.received;
  EXPECT_EQ(before, 3u << 20);
  upload_blob(*stub, sha256(bytes), view(bytes), options);
  EXPECT_EQ(server.artifacts.blob(sha256(bytes).hex()), bytes);
  EXPECT_EQ(server.artifacts.received, bytes.size()) << "no byte twice";
}

TEST_F(Transfer, UploadBeginsAnewWhereTheDiskLostWhatAnEarlierStreamHadSent) {
  const auto bytes = random_bytes(5 << 20, 1);
  server.artifacts.break_writes_after = 3 << 20;
  server.artifacts.tear_what_is_there = true;
  upload_blob(*stub, sha256(bytes), view(bytes));
  EXPECT_EQ(server.artifacts.blob(sha256(bytes).hex()), bytes);
  EXPECT_EQ(server.artifacts.write_streams, 3);
}

TEST_F(Transfer, UploadOfABlobThatIsThereEndsAtOnce) {
  const auto bytes = random_bytes(1 << 20, 2);
  server.artifacts.put_blob(bytes);
  upload_blob(*stub, sha256(bytes), view(bytes));
  EXPECT_EQ(server.artifacts.received, 0u);
}

TEST_F(Transfer, UploadUnderAWrongDigestIsRefused) {
  const auto bytes = random_bytes(1000, 3);
  try {
    upload_blob(*stub, sha256("something else"), view(bytes));
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  }
  EXPECT_EQ(server.artifacts.blob(sha256("something else").hex()), "");
}

TEST_F(Transfer, DownloadGoesOnWhereTheStreamBroke) {
  const auto bytes = random_bytes(3 << 20, 4);
  server.artifacts.put_blob(bytes);
  server.artifacts.break_reads_after = 1 << 20;
  download_blob(*stub, sha256(bytes), bytes.size(), folder.path());
  EXPECT_EQ(read_file(blob_path(folder.path(), sha256(bytes))), bytes);
  EXPECT_EQ(server.artifacts.sent, bytes.size());
  EXPECT_EQ(server.artifacts.read_streams, 2);
}

TEST_F(Transfer, DownloadOfOtherBytesThanTheDigestSaysLeavesNoFile) {
  const auto bytes = random_bytes(1 << 20, 5);
  server.artifacts.put_blob(bytes);
  server.artifacts.blobs[sha256(bytes).hex()][777] ^= 1;
  try {
    download_blob(*stub, sha256(bytes), bytes.size(), folder.path());
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "CORRUPT_BLOB");
  }
  EXPECT_FALSE(std::filesystem::exists(blob_path(folder.path(), sha256(bytes))));
}

TEST_F(Transfer, DownloadOfALongerBlobThanSaidIsStopped) {
  const auto bytes = random_bytes(8 << 20, 6);
  server.artifacts.put_blob(bytes);
  EXPECT_THROW(download_blob(*stub, sha256(bytes), 1000), Error);
}

TEST_F(Transfer, WaitsForAServerThatComesBack) {
  const auto bytes = random_bytes(1 << 20, 7);
  server.artifacts.put_blob(bytes);
  server.stop();
  std::jthread back([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    server.start();
  });
  download_blob(*stub, sha256(bytes), bytes.size(), folder.path());
  EXPECT_TRUE(std::filesystem::exists(blob_path(folder.path(), sha256(bytes))));
}

TEST_F(Transfer, GivesUpOnAServerThatStaysAwayAfterItsPatience) {
  server.stop();
  const auto bytes = random_bytes(1000, 8);
  try {
    upload_blob(*stub, sha256(bytes), view(bytes), {.patience_seconds = 0.5});
    FAIL() << "where to?";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  }
}

TEST_F(Transfer, StopsWhenAskedTo) {
  server.stop();
  std::atomic<bool> stop = false;
  std::jthread asks([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    stop = true;
  });
  const auto bytes = random_bytes(1000, 9);
  try {
    upload_blob(*stub, sha256(bytes), view(bytes), {.stop = [&] { return stop.load(); }});
    FAIL() << "it went through";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "STOPPED");
  }
}

TEST_F(Transfer, MovesManyBlobsBothWaysAndCountsThem) {
  std::vector<std::string> contents;
  std::vector<BlobRef> blobs;
  std::vector<Digest> digests;
  for (unsigned i = 0; i < 20; ++i) {
    contents.push_back(random_bytes(100'000 + i, 100 + i));
    blobs.push_back({sha256(contents[i]), contents[i].size()});
    digests.push_back(blobs[i].digest);
  }
  server.artifacts.put_blob(contents[3]);
  EXPECT_EQ(find_missing(*stub, digests).size(), 19u);
  std::uint64_t done = 0, total = 0;
  const TransferOptions options{.progress = [&](std::uint64_t d, std::uint64_t t) { done = d, total = t; }};
  upload_blobs(
      *stub, blobs,
      [&](std::size_t i) {
        return BlobBytes{view(contents[i]), nullptr};
      },
      options);
  EXPECT_TRUE(find_missing(*stub, digests).empty());
  EXPECT_EQ(done, total);
  EXPECT_EQ(total, 20u * 100'000 + 190);
  download_blobs(*stub, blobs, folder.path(), options);
  for (const auto& content : contents)
    EXPECT_EQ(read_file(blob_path(folder.path(), sha256(content))), content);
}

TEST_F(Transfer, SendsAgainWhatWasCollectedBeforeTheCommitAndGivesUpAtLast) {
  const auto artifact = server.artifacts.put_artifact("model", "weights", {"one", "two"});
  const auto manifest = server.artifacts.manifests.at(artifact);
  const std::vector<std::string> contents{"one", "two"};
  const std::vector<BlobRef> blobs{{sha256("one"), 3}, {sha256("two"), 3}};
  const auto read = [&](std::size_t i) { return BlobBytes{view(contents[i]), nullptr}; };
  const auto commit = [&] {
    v1::CommitArtifactRequest request;
    request.set_manifest_json(manifest);
    grpc::ClientContext context;
    v1::Artifact committed;
    check(stub->CommitArtifact(&context, request, &committed));
  };
  server.artifacts.lose_at_commit = 2;
  EXPECT_EQ(upload_and_commit(*stub, blobs, read, commit), 6u);  // "one" twice
  server.artifacts.lose_at_commit = 100;
  EXPECT_EQ(thrown_by([&] { upload_and_commit(*stub, blobs, read, commit); }).reason(), "MISSING_BLOBS");
  EXPECT_EQ(server.artifacts.lose_at_commit, 96);
}

TEST_F(Transfer, TheFirstErrorOfSeveralBlobsIsTheOneThrown) {
  std::vector<BlobRef> blobs;
  for (int i = 0; i < 10; ++i) blobs.push_back({sha256(std::to_string(i)), 1});
  try {
    download_blobs(*stub, blobs, folder.path());
    FAIL() << "there are none";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

}  // namespace
}  // namespace wring
