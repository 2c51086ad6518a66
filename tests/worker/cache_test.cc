// The cache folder: its bound, what is evicted, what survives.
#include "worker/cache.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "common/error.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

BlobRef blob(char c, std::uint64_t size = 1000) {
  return {sha256(std::string(size, c)), size};
}

// Does what download_blobs does.
void fetch(Cache& cache, char c, std::uint64_t size = 1000) {
  const auto b = blob(c, size);
  const auto path = cache.blobs() / b.digest.hex().substr(0, 2) / b.digest.hex();
  fs::create_directories(path.parent_path());
  std::ofstream(path) << std::string(size, c);
  cache.add(std::vector{b});
}

void use(Cache& cache, std::initializer_list<char> names) {
  Cache::Hold hold(cache);
  for (const char c : names)
    if (!cache.claim(std::vector{blob(c)}, hold).empty()) fetch(cache, c);
}

bool has(Cache& cache, char c) {
  const auto hex = blob(c).digest.hex();
  return fs::exists(cache.blobs() / hex.substr(0, 2) / hex);
}

fs::path write_stage(const Cache& cache, const std::string& text) {
  const auto folder = cache.work() / ("stage-" + text.substr(0, 4));
  fs::create_directories(folder / "sub");
  std::ofstream(folder / "sub" / "weights") << text;
  return folder;
}

TEST(Cache, StaysBelowItsLimitByDroppingWhatWasUsedLongestAgo) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  use(cache, {'a', 'b', 'c'});
  use(cache, {'a'});
  use(cache, {'d'});
  EXPECT_EQ(cache.bytes(), 3000u);
  EXPECT_TRUE(has(cache, 'a'));
  EXPECT_FALSE(has(cache, 'b'));
  EXPECT_TRUE(has(cache, 'c'));
  EXPECT_TRUE(has(cache, 'd'));
}

TEST(Cache, NeverDropsWhatARunningJobHolds) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold job(cache);
  cache.claim(std::vector{blob('a'), blob('b')}, job);
  fetch(cache, 'a');
  fetch(cache, 'b');
  use(cache, {'c'});
  use(cache, {'d'});
  EXPECT_TRUE(has(cache, 'a') && has(cache, 'b') && has(cache, 'd'));
  EXPECT_FALSE(has(cache, 'c'));
  Cache::Hold other(cache);
  try {
    cache.claim(std::vector{blob('e', 1500)}, other);
    FAIL() << "there is no room for it";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "CACHE_TOO_SMALL");
    EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  }
}

TEST(Cache, KeepsItsIdItsBlobsAndTheirOrderOfUseOverARestart) {
  const TempDir folder;
  std::string id;
  {
    Cache cache(folder.path() / "cache", 3000);
    id = cache.worker_id();
    for (const char c : {'a', 'b', 'c', 'a'}) {
      use(cache, {c});
      std::this_thread::sleep_for(std::chrono::milliseconds(10));  // file times order them
    }
    std::ofstream(cache.blobs() / ".half.tmp") << "half";
    std::ofstream(cache.work() / "leftover") << "scratch";
  }
  Cache cache(folder.path() / "cache", 3000);
  EXPECT_EQ(cache.worker_id(), id);
  EXPECT_EQ(cache.bytes(), 3000u);
  EXPECT_FALSE(fs::exists(cache.blobs() / ".half.tmp"));
  EXPECT_TRUE(fs::is_empty(cache.work()));
  use(cache, {'d'});
  EXPECT_TRUE(has(cache, 'a'));
  EXPECT_FALSE(has(cache, 'b'));
}

TEST(Cache, FetchesABlobAgainThatWasDamagedOnDisk) {
  const TempDir folder;
  {
    Cache cache(folder.path() / "cache", 3000);
    use(cache, {'a'});
    const auto hex = blob('a').digest.hex();
    std::fstream(cache.blobs() / hex.substr(0, 2) / hex, std::ios::in | std::ios::out) << "X";
  }
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold hold(cache);
  EXPECT_EQ(cache.claim(std::vector{blob('a')}, hold).size(), 1u);
}

TEST(Cache, BelongsToOneProcessAtATime) {
  const TempDir folder;
  const Cache cache(folder.path() / "cache", 3000);
  try {
    const Cache second(folder.path() / "cache", 3000);
    FAIL() << "two have it";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "CACHE_IN_USE");
  }
}

TEST(StageCache, KeepsTheFilesOfTheFirstWriterAndLeavesTheEnginesOwnInPlace) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold hold(cache);
  const auto key = sha256("key");
  EXPECT_EQ(cache.find_stage("p", key, hold), std::nullopt);
  const auto made = write_stage(cache, "first output");
  EXPECT_TRUE(cache.keep_stage("p", key, made, hold));
  EXPECT_TRUE(cache.keep_stage("p", key, write_stage(cache, "another output"), hold));
  EXPECT_TRUE(fs::exists(made / "sub" / "weights"));
  EXPECT_EQ(read_file(cache.find_stage("p", key, hold).value().path / "sub" / "weights"), "first output");
  EXPECT_EQ(cache.find_stage("another project", key, hold), std::nullopt);
  EXPECT_EQ(cache.bytes(), 12u);
}

TEST(StageCache, SharesTheLimitWithBlobs) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  use(cache, {'a', 'b'});
  {
    Cache::Hold hold(cache);
    cache.keep_stage("p", sha256("key"), write_stage(cache, std::string(1500, 's')), hold);
    EXPECT_FALSE(cache.keep_stage("p", sha256("huge"), write_stage(cache, std::string(5000, 'h')), hold));
  }
  EXPECT_LE(cache.bytes(), 3000u);
  EXPECT_FALSE(has(cache, 'a'));
  Cache::Hold hold(cache);
  cache.claim(std::vector{blob('x', 3000)}, hold);
  EXPECT_EQ(cache.find_stage("p", sha256("key"), hold), std::nullopt);
}

TEST(StageCache, SurvivesKill9AtOnce) {
  const TempDir folder;
  const auto key = sha256("key");
  const pid_t child = ::fork();
  if (child == 0) {
    Cache cache(folder.path() / "cache", 3000);
    Cache::Hold hold(cache);
    cache.keep_stage("p", key, write_stage(cache, "kept"), hold);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold hold(cache);
  EXPECT_EQ(read_file(cache.find_stage("p", key, hold).value().path / "sub" / "weights"), "kept");
}

TEST(StageCache, TrustsNothingOfAnotherBootThatHadNotReachedTheDisk) {
  const TempDir folder;
  const auto key = sha256("key"), other = sha256("other"), bare = sha256("bare");
  {
    Cache cache(folder.path() / "cache", 3000);
    Cache::Hold hold(cache);
    cache.keep_stage("p", key, write_stage(cache, "kept"), hold);
    cache.keep_stage("p", other, write_stage(cache, "other"), hold);
  }
  const auto stages = folder.path() / "cache" / "stages";
  const auto name = [](const Digest& of) { return sha256("p/" + of.hex()).hex(); };
  std::ofstream(stages / (name(other) + ".json")) << R"({"bytes":5,"boot":"an earlier one","synced":false})";
  fs::create_directories(stages / name(bare));
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold hold(cache);
  EXPECT_EQ(cache.find_stage("p", other, hold), std::nullopt);
  EXPECT_EQ(cache.find_stage("p", bare, hold), std::nullopt);
  EXPECT_FALSE(fs::exists(stages / name(other)));
  EXPECT_FALSE(fs::exists(stages / name(bare)));
  EXPECT_NE(cache.find_stage("p", key, hold), std::nullopt);
  EXPECT_EQ(
      json_at<bool>(parse_json(read_file(stages / (name(key) + ".json")), "record"), "synced", "record"),
      true);
}

TEST(Cache, KeepsTheNewestSnapshotsAndNoneOfAKeptStage) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  const auto snapshot = [&](const Digest& key) { return cache.snapshots("p") / key.hex(); };
  std::vector<Digest> keys;
  for (std::size_t i = 0; i < Cache::kMaxSnapshots + 2; ++i) {
    keys.push_back(sha256(std::to_string(i)));
    fs::create_directories(snapshot(keys.back()));
    fs::last_write_time(snapshot(keys.back()), fs::file_time_type::clock::now() + std::chrono::hours(i));
  }
  cache.trim();
  EXPECT_FALSE(fs::exists(snapshot(keys[0])) || fs::exists(snapshot(keys[1])));
  EXPECT_TRUE(fs::exists(snapshot(keys[2])));
  Cache::Hold hold(cache);
  cache.keep_stage("p", keys[2], write_stage(cache, "kept"), hold);
  EXPECT_FALSE(fs::exists(snapshot(keys[2])));
  EXPECT_TRUE(fs::exists(snapshot(keys[3])));
}

TEST(Cache, RefusesAJobIdThatLeavesTheFolder) {
  const TempDir folder;
  const Cache cache(folder.path() / "cache", 3000);
  EXPECT_THROW(cache.log_folder("../../x"), Error);
  EXPECT_THROW(cache.log_folder("a/b"), Error);
  EXPECT_EQ(cache.log_folder("k3f9").filename(), "k3f9");
}

TEST(Cache, WorkersOfOneMachineEachFindAFolderBelowACommonOne) {
  const TempDir folder;
  const auto first = take_cache_folder(folder.path(), true);
  {
    const auto second = take_cache_folder(folder.path(), true);
    EXPECT_EQ(first.path, folder.path() / "0");
    EXPECT_EQ(second.path, folder.path() / "1");
  }
  EXPECT_EQ(take_cache_folder(folder.path(), true).path, folder.path() / "1") << "that one has gone";
  EXPECT_EQ(thrown_by([&] { take_cache_folder(first.path); }).reason(), "CACHE_IN_USE");
}

TEST(Cache, ALookThatIsStoppedLeavesTheCacheAsItWas) {
  TempDir folder;
  Cache cache(folder.path(), 5000);
  Cache::Hold hold(cache);
  int asked = 0;
  const auto stop = [&] {
    cache.use();  // a heartbeat asks at any time
    return ++asked > 1;
  };
  EXPECT_EQ(thrown_by([&] {
              cache.claim(std::vector{blob('a'), blob('b')}, hold, stop);
            }).reason(),
            "STOPPED");
  EXPECT_EQ(cache.claim(std::vector{blob('a'), blob('b')}, hold).size(), 2u);
}

}  // namespace
}  // namespace wring
