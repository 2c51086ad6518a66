// What the blob store promises when disks, streams and clients misbehave.
#include "server/blobs/blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "tests/common/thrown_by.h"
#include "tests/server/small_disk.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

std::string text_of(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 1;
  for (auto& c : text) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  return text;
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

class Blobs : public testing::Test {
 protected:
  void put(const std::string& text, const std::string& id = "u1") {
    BlobStore::Upload upload(store_, sha256(text), text.size(), id);
    upload.append(upload.committed(), bytes(text).subspan(upload.committed()));
    upload.finish();
  }

  std::string read(const Digest& digest, std::uint64_t offset = 0, std::uint64_t limit = 0) {
    std::string text;
    store_.read(digest, offset, limit, [&](std::span<const std::byte> piece) {
      text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      return true;
    });
    return text;
  }

  fs::path path_of(const Digest& digest) {
    return folder_.path() / "blobs" / digest.hex().substr(0, 2) / digest.hex();
  }

  TempDir folder_;
  BlobStore store_{folder_.path()};
};

TEST_F(Blobs, ComeBackAsTheyWereWritten) {
  const auto text = text_of((3u << 20) + 17);
  put(text);
  EXPECT_EQ(store_.size(sha256(text)), text.size());
  EXPECT_EQ(read(sha256(text)), text);
  EXPECT_EQ(read(sha256(text), 1 << 20, 100), text.substr(1 << 20, 100));
  EXPECT_EQ(read(sha256(text), text.size() - 5), text.substr(text.size() - 5));
  EXPECT_EQ(thrown_by([&] { read(sha256(text), text.size() + 1); }).reason(), "READ_OFFSET");
}

TEST_F(Blobs, AreNotThereBeforeTheirLastByte) {
  const auto text = text_of(1000);
  {
    BlobStore::Upload upload(store_, sha256(text), text.size(), "u1");
    upload.append(0, bytes(text).first(999));
    EXPECT_FALSE(store_.has(sha256(text)));
    EXPECT_EQ(thrown_by([&] { upload.finish(); }).reason(), "BLOB_SIZE");
  }
  EXPECT_FALSE(store_.has(sha256(text)));
  EXPECT_EQ(thrown_by([&] { read(sha256(text)); }).reason(), "BLOB_NOT_FOUND");
}

TEST_F(Blobs, AnUploadGoesOnAtTheCommittedSizeAlsoAfterARestart) {
  const auto text = text_of(5000);
  {
    BlobStore::Upload upload(store_, sha256(text), text.size(), "u1");
    upload.append(0, bytes(text).first(3000));
  }
  BlobStore restarted(folder_.path());
  EXPECT_EQ(restarted.committed_size(sha256(text), "u1"), 3000u);
  BlobStore::Upload upload(restarted, sha256(text), text.size(), "u1");
  EXPECT_EQ(upload.committed(), 3000u);
  EXPECT_EQ(thrown_by([&] { upload.append(0, bytes(text)); }).reason(), "WRITE_OFFSET");
  upload.append(3000, bytes(text).subspan(3000));
  upload.finish();
  EXPECT_EQ(read(sha256(text)), text);
  EXPECT_EQ(restarted.committed_size(sha256(text), "u1"), 5000u);
}

TEST_F(Blobs, BytesThatAreNotTheDigestsAreRefusedAndForgotten) {
  const auto text = text_of(1000);
  BlobStore::Upload upload(store_, sha256("something else"), text.size(), "u1");
  upload.append(0, bytes(text));
  EXPECT_EQ(thrown_by([&] { upload.finish(); }).reason(), "DIGEST_MISMATCH");
  EXPECT_FALSE(store_.has(sha256("something else")));
  EXPECT_EQ(store_.committed_size(sha256("something else"), "u1"), 0u);
}

TEST_F(Blobs, MoreBytesThanAnnouncedAreRefused) {
  const auto text = text_of(1000);
  BlobStore::Upload upload(store_, sha256(text), 500, "u1");
  EXPECT_EQ(thrown_by([&] { upload.append(0, bytes(text)); }).reason(), "BLOB_SIZE");
}

TEST_F(Blobs, ABlobDamagedOnDiskIsNoticedSetAsideAndCanBeUploadedAgain) {
  const auto text = text_of(2u << 20);
  for (const bool truncate : {false, true}) {
    put(text, truncate ? "u2" : "u1");
    if (truncate)
      fs::resize_file(path_of(sha256(text)), 12345);
    else
      std::fstream(path_of(sha256(text)), std::ios::in | std::ios::out).seekp(777).put('x');
    EXPECT_EQ(thrown_by([&] { read(sha256(text)); }).reason(), "BLOB_CORRUPT");
    EXPECT_FALSE(store_.has(sha256(text)));
    EXPECT_TRUE(fs::exists(folder_.path() / "corrupt" / sha256(text).hex()));
  }
  put(text, "u3");
  EXPECT_EQ(read(sha256(text)), text);
}

TEST_F(Blobs, DamageOutsideOfThePartThatIsReadIsNoticedBeforeAByteIsHandedOut) {
  const auto text = text_of(2u << 20);
  put(text);
  std::fstream(path_of(sha256(text)), std::ios::in | std::ios::out).seekp(777).put('x');
  bool handed_out = false;
  EXPECT_EQ(thrown_by([&] {
              store_.read(sha256(text), 1 << 20, 10, [&](auto) { return handed_out = true; });
            }).reason(),
            "BLOB_CORRUPT");
  EXPECT_FALSE(handed_out);
}

TEST_F(Blobs, AreRemovedOnlyWhereNobodyCountsOnThem) {
  const auto now = fs::file_time_type::clock::now();
  const auto make_old = [&](const std::string& text) {
    fs::last_write_time(path_of(sha256(text)), now - std::chrono::hours(48));
  };
  const auto remove = [&](const std::string& text) {
    return store_.remove_unused(sha256(text), now - std::chrono::hours(24));
  };
  for (const char* text : {"young", "old", "renewed", "claimed", "released"}) put(text);
  for (const char* text : {"old", "renewed", "released"}) make_old(text);
  EXPECT_TRUE(store_.renew(sha256("renewed")));
  EXPECT_FALSE(store_.renew(sha256("absent")));
  const BlobStore::Claim claim(store_, {sha256("claimed")});
  { const BlobStore::Claim ended(store_, {sha256("claimed"), sha256("released")}); }
  make_old("claimed");  // by one of its two claims, still
  EXPECT_EQ(remove("old"), 3u);
  EXPECT_FALSE(store_.has(sha256("old")));
  EXPECT_EQ(remove("absent"), 0u);
  for (const char* text : {"young", "renewed", "claimed", "released"}) {
    EXPECT_EQ(remove(text), 0u) << text;
    EXPECT_TRUE(store_.has(sha256(text))) << text;
  }
}

TEST_F(Blobs, AnUploadIdCannotLeadOutOfTheFolder) {
  for (const char* id : {"", "../x", "a/b", "a.b", "..", "a b"})
    EXPECT_EQ(thrown_by([&] { BlobStore::Upload(store_, sha256("x"), 1, id); }).reason(), "BAD_UPLOAD_ID")
        << id;
}

TEST_F(Blobs, ASecondStreamOfAnUploadWaitsForTheFirst) {
  const auto text = text_of(1000);
  auto first = std::make_unique<BlobStore::Upload>(store_, sha256(text), text.size(), "u1");
  first->append(0, bytes(text).first(400));
  std::jthread leave([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    first.reset();
  });
  BlobStore::Upload second(store_, sha256(text), text.size(), "u1");
  EXPECT_EQ(second.committed(), 400u);
}

TEST_F(Blobs, AFullDiskIsAResourceErrorLeavesNothingHalfWrittenAndPasses) {
  const fs::path at = folder_.path() / "small";
  const SmallDisk disk(at);
  if (!disk.mounted()) GTEST_SKIP() << "this process may not mount a small file system";
  BlobStore store(at);
  std::ofstream(at / "ballast") << text_of(600'000);
  const auto text = text_of(800'000);
  const auto half = bytes(text).first(300'000), rest = bytes(text).subspan(300'000);
  {
    BlobStore::Upload upload(store, sha256(text), text.size(), "u1");
    upload.append(0, half);
    EXPECT_EQ(thrown_by([&] { upload.append(300'000, rest); }).reason(), "DISK_FULL");
  }
  EXPECT_EQ(store.committed_size(sha256(text), "u1"), 0u) << "others can use the room";
  EXPECT_FALSE(store.has(sha256(text)));
  EXPECT_TRUE(fs::is_empty(at / "uploads"));
  fs::remove(at / "ballast");
  BlobStore::Upload upload(store, sha256(text), text.size(), "u1");
  upload.append(0, half);
  upload.append(300'000, rest);
  upload.finish();
  EXPECT_EQ(store.size(sha256(text)), text.size());
}

TEST_F(Blobs, LeaveRoomOnTheDiskForTheJobDatabase) {
  const fs::path at = folder_.path() / "small";
  const SmallDisk disk(at);
  if (!disk.mounted()) GTEST_SKIP() << "this process may not mount a small file system";
  BlobStore store(at);
  const auto text = text_of(100'000);
  for (int i = 0; i < 20; ++i) try {
      BlobStore::Upload upload(store, sha256(text), text.size() + 1, "u" + std::to_string(i));
      upload.append(0, bytes(text));
    } catch (const Error& error) {
      EXPECT_EQ(error.reason(), "DISK_FULL");
    }
  EXPECT_GE(fs::space(at).available, 64u << 10);
}

}  // namespace
}  // namespace wring
