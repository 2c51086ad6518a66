// What every place for blobs promises: the data folder, a folder on another disk, a bucket. The bucket is
// that of WRING_TEST_S3 (DIR, whose blobs.yaml names it), which scripts/prove s3 makes on a real service.
#include "server/blobs/shelf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <vector>

#include "server/blobs/blob_store.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;

// Nobody has had these bytes: a bucket outlives a run.
std::string new_text(std::size_t size) {
  static std::mt19937_64 random(std::random_device{}());
  std::string text(size, '\0');
  for (auto& c : text) c = static_cast<char>(random());
  return text;
}

dev_t disk_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_dev;
}

class Shelf : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "other_disk") {
      ASSERT_NE(disk_of(other_.path()), disk_of(folder_.path()))
          << "set TMPDIR to a folder outside of /dev/shm";
      std::ofstream(folder_.path() / "blobs.yaml") << "folder: " << other_.path().string() << "\n";
    }
    if (GetParam() == "bucket")
      fs::copy_file(fs::path(std::getenv("WRING_TEST_S3")) / "blobs.yaml", folder_.path() / "blobs.yaml");
    shelf_ = open_shelf(folder_.path());
  }

  Digest put(const std::string& text) {
    const auto part = folder_.path() / "part";
    write_file_atomic(part, text);
    shelf_->put(sha256(text), part);
    EXPECT_FALSE(fs::exists(part));
    return sha256(text);
  }

  std::string read(const Digest& digest, std::uint64_t begin, std::uint64_t end) {
    std::string text;
    const auto blob = shelf_->open(digest);
    EXPECT_TRUE(blob && blob->read(begin, end, [&](std::span<const std::byte> piece) {
      text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      return true;
    }));
    return text;
  }

  TempDir folder_, other_{"/dev/shm"};
  std::unique_ptr<BlobShelf> shelf_;
};

TEST_P(Shelf, GivesBackWhatItTookIn) {
  const auto text = new_text(300'000);
  const auto digest = put(text);
  EXPECT_TRUE(shelf_->has(digest));
  EXPECT_EQ(shelf_->size(digest), text.size());
  EXPECT_EQ(shelf_->open(digest)->size(), text.size());
  EXPECT_EQ(read(digest, 0, text.size()), text);
  EXPECT_EQ(read(digest, 1000, 1010), text.substr(1000, 10));
  EXPECT_EQ(put(text), digest) << "a second time";
  EXPECT_EQ(read(digest, 0, text.size()), text);
  EXPECT_EQ(shelf_->remove_older(digest, fs::file_time_type::clock::now() + hours(1)), text.size());
}

TEST_P(Shelf, SaysWhatIsNotThere) {
  const auto digest = sha256(new_text(10));
  EXPECT_FALSE(shelf_->has(digest));
  EXPECT_EQ(shelf_->open(digest), nullptr);
  EXPECT_FALSE(shelf_->renew(digest));
  EXPECT_EQ(shelf_->remove_older(digest, fs::file_time_type::clock::now() + hours(1)), 0u);
  EXPECT_EQ(thrown_by([&] { shelf_->size(digest); }).reason(), "BLOB_NOT_FOUND");
}

TEST_P(Shelf, KeepsWhatIsYoung) {
  const auto now = fs::file_time_type::clock::now();
  const auto digest = put(new_text(1000));
  EXPECT_EQ(shelf_->remove_older(digest, now - hours(1)), 0u);
  EXPECT_TRUE(shelf_->renew(digest));
  EXPECT_EQ(shelf_->remove_older(digest, now - hours(1)), 0u);
  EXPECT_TRUE(shelf_->has(digest));
  EXPECT_EQ(shelf_->remove_older(digest, now + hours(1)), 1000u);
  EXPECT_FALSE(shelf_->has(digest));
}

TEST_P(Shelf, NamesAllThatItHas) {
  std::set<Digest> put_in;
  for (int i = 0; i < 5; ++i) put_in.insert(put(new_text(100)));
  const auto all = shelf_->all();
  const std::set<Digest> found(all.begin(), all.end());
  EXPECT_THAT(put_in, testing::IsSubsetOf(found));
  for (const auto& digest : put_in) shelf_->remove_older(digest, fs::file_time_type::clock::now() + hours(1));
}

TEST_P(Shelf, HoldsABlobOfTheLargestSize) {
  const auto text = new_text(kMaxBlobBytes);
  const auto digest = put(text);
  EXPECT_EQ(sha256(read(digest, 0, text.size())), digest);
  EXPECT_EQ(shelf_->remove_older(digest, fs::file_time_type::clock::now() + hours(1)), kMaxBlobBytes);
}

// Through the store: resumable uploads, verified on the way out.
TEST_P(Shelf, IsWhatAStoreIsBuiltOn) {
  const auto text = new_text(200'000);
  const auto bytes = std::as_bytes(std::span(text));
  {
    BlobStore store(folder_.path());
    BlobStore::Upload upload(store, sha256(text), text.size(), "u1");
    upload.append(0, bytes.first(150'000));
  }
  BlobStore store(folder_.path());
  {
    BlobStore::Upload upload(store, sha256(text), text.size(), "u1");
    ASSERT_EQ(upload.committed(), 150'000u);
    upload.append(150'000, bytes.subspan(150'000));
    upload.finish();
  }
  std::string back;
  store.read(sha256(text), 0, 0, [&](std::span<const std::byte> piece) {
    back.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    return true;
  });
  EXPECT_EQ(back, text);
  EXPECT_TRUE(fs::is_empty(folder_.path() / "uploads"));
  { const BlobStore::Claim claim(store, {sha256(text)}); }
  EXPECT_EQ(store.remove_unused(sha256(text), fs::file_time_type::clock::now() + hours(1)), text.size());
}

TEST_P(Shelf, RemembersWhoseItIs) {
  EXPECT_EQ(shelf_->owner(), "");
  shelf_->set_owner("a");
  EXPECT_EQ(shelf_->owner(), "a");
  EXPECT_EQ(open_shelf(folder_.path())->owner(), "a");
}

class FolderShelfTest : public Shelf {};

// A bucket verifies digests itself: tests/s3 damages an object in its service.
TEST_P(FolderShelfTest, SetsAsideWhatIsDamagedSoThatItCanComeAnew) {
  const auto text = new_text(1000), other = new_text(1000);
  const auto part = folder_.path() / "part";
  write_file_atomic(part, other);
  shelf_->put(sha256(text), part);
  EXPECT_NE(shelf_->set_aside(sha256(text)), "");
  EXPECT_FALSE(shelf_->has(sha256(text)));
  EXPECT_EQ(read(put(text), 0, 1000), text);
}

TEST_P(FolderShelfTest, ForgetsCopiesThatWereNotEnded) {
  const auto now = fs::file_time_type::clock::now();
  const auto copy = (GetParam() == "other_disk" ? other_ : folder_).path() / "incoming/copy";
  std::ofstream(copy) << "half";
  EXPECT_EQ(shelf_->forget_unfinished(now - hours(1)), 0u);
  fs::last_write_time(copy, now - hours(2));
  EXPECT_EQ(shelf_->forget_unfinished(now - hours(1)), 1u);
  EXPECT_FALSE(fs::exists(copy));
}

std::vector<std::string> places() {
  std::vector<std::string> names{"data_folder", "other_disk"};
  if (std::getenv("WRING_TEST_S3")) names.push_back("bucket");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Shelf, testing::ValuesIn(places()),
                         [](const auto& info) { return info.param; });

INSTANTIATE_TEST_SUITE_P(Everywhere, FolderShelfTest, testing::Values("data_folder", "other_disk"),
                         [](const auto& info) { return info.param; });

struct BadPlace {
  const char* yaml;
  const char* reason;
  const char* field;  // its end
};

TEST(Places, ThatAreNoneAreRefusedByTheirKeys) {
  ::setenv("AWS_ACCESS_KEY_ID", "a", 0);
  ::setenv("AWS_SECRET_ACCESS_KEY", "b", 0);
  for (const BadPlace& bad : {
           BadPlace{"s3: {endpoint: ftp://x, bucket: b}", "BAD_ENDPOINT", "s3.endpoint"},
           {"s3: {endpoint: 'http://x?y', bucket: b}", "BAD_ENDPOINT", "s3.endpoint"},
           {"s3: {endpoint: http://x}", "BAD_BUCKET", "s3.bucket"},
           {"s3: {endpoint: http://x, bucket: b/c}", "BAD_BUCKET", "s3.bucket"},
           {"s3: {endpoint: http://x, bucket: b, prefix: /p}", "BAD_PREFIX", "s3.prefix"},
           {"s3: {endpoint: http://x, bucket: b, region: 'a b'}", "BAD_REGION", "s3.region"},
           {"s3: {endpoint: http://x, bucket: b, keys: c}", "UNKNOWN_KEY", "s3.keys"},
           {"folder: relative", "BAD_PATH", "folder"},
           {"folder: /not/there", "BAD_PATH", "folder"},
           {"{}", "BAD_PLACE", "blobs.yaml"},
           {"{folder: /tmp, s3: {}}", "BAD_PLACE", "blobs.yaml"},
           {"folder: [", "MALFORMED_CONFIG", "blobs.yaml"},
       }) {
    const TempDir data;
    std::ofstream(data.path() / "blobs.yaml") << bad.yaml;
    const auto error = thrown_by([&] { open_shelf(data.path()); });
    EXPECT_EQ(error.reason(), bad.reason) << bad.yaml;
    EXPECT_TRUE(error.field().ends_with(bad.field)) << error.field();
  }
}

TEST(Places, ThatCannotBeReachedSaySo) {
  ::setenv("AWS_ACCESS_KEY_ID", "a", 0);
  ::setenv("AWS_SECRET_ACCESS_KEY", "b", 0);
  const TempDir data;
  std::ofstream(data.path() / "blobs.yaml") << "s3: {endpoint: 'http://127.0.0.1:1', bucket: b}";
  EXPECT_EQ(thrown_by([&] { open_shelf(data.path()); }).reason(), "S3_AWAY");
}

}  // namespace
}  // namespace wring
