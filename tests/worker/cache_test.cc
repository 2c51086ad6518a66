// The cache folder: its bound, what is evicted, what survives.
#include "worker/cache.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <future>
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

// As an engine does, of a stage that is not whole.
fs::path write_snapshot(const Cache& cache, const std::string& project, const Digest& key,
                        std::size_t bytes) {
  const auto folder = cache.snapshots(project) / key.hex();
  fs::create_directories(folder);
  std::ofstream(folder / "state.json") << std::string(bytes, '.');
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
  const auto stages = folder.path() / "cache" / "stages" / sha256("p").hex().substr(0, 16);
  std::ofstream(stages / (other.hex() + ".json")) << R"({"bytes":5,"boot":"an earlier one","digest":""})";
  fs::create_directories(stages / bare.hex());
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold hold(cache);
  EXPECT_EQ(cache.find_stage("p", other, hold), std::nullopt);
  EXPECT_EQ(cache.find_stage("p", bare, hold), std::nullopt);
  EXPECT_FALSE(fs::exists(stages / other.hex()));
  EXPECT_FALSE(fs::exists(stages / bare.hex()));
  EXPECT_NE(cache.find_stage("p", key, hold), std::nullopt);
  const auto record = parse_json(read_file(stages / (key.hex() + ".json")), "record");
  EXPECT_EQ(json_at<std::string>(record, "digest", "record").size(), 64u);
}

TEST(StageCache, FindsNoStageAgainWhoseFilesHaveChangedAlsoWhereTheyAreAsLarge) {
  const TempDir folder;
  const auto damaged = sha256("damaged"), renamed = sha256("renamed"), whole = sha256("whole");
  fs::path stages;
  {
    Cache cache(folder.path() / "cache", 3000);
    Cache::Hold hold(cache);
    cache.keep_stage("p", damaged, write_stage(cache, "one output"), hold);
    cache.keep_stage("p", renamed, write_stage(cache, "another"), hold);
    cache.keep_stage("p", whole, write_stage(cache, "third"), hold);
    stages = cache.stages("p");
  }
  std::fstream(stages / damaged.hex() / "sub" / "weights", std::ios::in | std::ios::out) << "X";
  fs::rename(stages / renamed.hex() / "sub" / "weights", stages / renamed.hex() / "sub" / "weightz");
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold hold(cache);
  for (const auto& key : {damaged, renamed}) {
    EXPECT_EQ(cache.find_stage("p", key, hold), std::nullopt);
    EXPECT_FALSE(fs::exists(stages / key.hex()));
  }
  EXPECT_NE(cache.find_stage("p", whole, hold), std::nullopt);
  EXPECT_EQ(cache.bytes(), 5u);
}

TEST(StageCache, IsOpenToOthersAndToBeStoppedWhileItReadsAStage) {
  const TempDir folder;
  const auto key = sha256("key");
  {
    Cache cache(folder.path() / "cache", 3000);
    Cache::Hold hold(cache);
    cache.keep_stage("p", key, write_stage(cache, "kept"), hold);
  }
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold hold(cache);
  EXPECT_EQ(thrown_by([&] { cache.find_stage("p", key, hold, [] { return true; }); }).reason(), "STOPPED");
  std::future<void> other;
  bool came_in = false;
  const auto stop = [&] {
    other = std::async(std::launch::async, [&] { use(cache, {'a'}); });
    came_in = other.wait_for(std::chrono::seconds(20)) == std::future_status::ready;
    return false;
  };
  EXPECT_NE(cache.find_stage("p", key, hold, stop), std::nullopt);
  EXPECT_TRUE(came_in);
}

TEST(StageCache, DropsWhatAnEarlierReleaseKeptOfAllProjectsInOneFolder) {
  const TempDir folder;
  const auto stages = folder.path() / "cache" / "stages";
  const auto name = sha256("p/" + sha256("key").hex()).hex();
  fs::create_directories(stages / name);
  std::ofstream(stages / name / "weights") << "kept";
  std::ofstream(stages / (name + ".json")) << R"({"bytes":4,"boot":"any","synced":true})";
  const Cache cache(folder.path() / "cache", 3000);
  EXPECT_TRUE(fs::is_empty(stages));
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(Snapshots, ShareTheLimitAndGoByLastUseOverARestartToo) {
  const TempDir folder;
  fs::path old, newer;
  {
    Cache cache(folder.path() / "cache", 3000);
    old = write_snapshot(cache, "p", sha256("old"), 1000);
    cache.trim();
    EXPECT_EQ(cache.bytes(), 1000u);
    newer = write_snapshot(cache, "q", sha256("newer"), 1000);
    fs::last_write_time(newer, fs::last_write_time(old) + std::chrono::hours(1));
    std::ofstream(cache.snapshots("q") / "stray") << "of an engine";
  }
  Cache cache(folder.path() / "cache", 3000);
  EXPECT_EQ(cache.bytes(), 2000u);
  EXPECT_FALSE(fs::exists(cache.snapshots("q") / "stray"));
  use(cache, {'a', 'b'});
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(newer) && has(cache, 'a') && has(cache, 'b'));
  EXPECT_EQ(cache.bytes(), 3000u);
}

TEST(Snapshots, OfAPausedJobStayHoweverManyComeLaterAsLongAsThereIsRoom) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  const auto paused = write_snapshot(cache, "p", sha256("paused"), 100);
  for (const char* later : {"1", "2", "3", "4", "5", "6", "7", "8"}) {
    write_snapshot(cache, "p", sha256(later), 100);
    cache.trim();
  }
  EXPECT_TRUE(fs::exists(paused));
}

TEST(Snapshots, ThatHaveGrownMakeOthersGoWhenTheJobEnds) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  use(cache, {'a', 'b'});
  const auto snapshot = write_snapshot(cache, "p", sha256("key"), 1500);
  cache.trim();
  EXPECT_FALSE(has(cache, 'a'));
  EXPECT_TRUE(has(cache, 'b') && fs::exists(snapshot));
  EXPECT_EQ(cache.bytes(), 2500u);
}

TEST(Snapshots, ThatARunningJobHoldsAreNeverDropped) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  const auto snapshot = write_snapshot(cache, "p", sha256("key"), 2000);
  cache.trim();
  {
    Cache::Hold job(cache);
    cache.hold_snapshot("p", sha256("key"), job);
    use(cache, {'a'});
    use(cache, {'b'});
    EXPECT_TRUE(fs::exists(snapshot) && has(cache, 'b'));
    EXPECT_FALSE(has(cache, 'a'));
  }
  use(cache, {'c'});
  EXPECT_FALSE(fs::exists(snapshot));
}

TEST(Snapshots, OfAProjectThatHasAJobGoLast) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  const auto own = write_snapshot(cache, "p", sha256("key"), 1000);
  cache.trim();
  const auto strangers = write_snapshot(cache, "q", sha256("key"), 1000);
  cache.trim();
  use(cache, {'a'});
  Cache::Hold job(cache);
  cache.spare_snapshots("p", job);
  use(cache, {'b'});
  EXPECT_TRUE(fs::exists(own) && has(cache, 'a'));
  EXPECT_FALSE(fs::exists(strangers));
  use(cache, {'c'});
  EXPECT_TRUE(fs::exists(own) && has(cache, 'b'));
  EXPECT_FALSE(has(cache, 'a'));
  EXPECT_EQ(cache.claim(std::vector{blob('x', 3000)}, job).size(), 1u) << "rather than CACHE_TOO_SMALL";
  EXPECT_FALSE(fs::exists(own));
}

TEST(Snapshots, GiveTheirRoomToTheirStageOnceItIsKept) {
  const TempDir folder;
  Cache cache(folder.path() / "cache", 3000);
  Cache::Hold job(cache);
  cache.claim(std::vector{blob('a')}, job);
  fetch(cache, 'a');
  const auto key = sha256("key");
  cache.hold_snapshot("p", key, job);
  const auto snapshot = write_snapshot(cache, "p", key, 2500);  // together more than the limit
  const auto others = write_snapshot(cache, "q", key, 10);
  EXPECT_TRUE(cache.keep_stage("p", key, write_stage(cache, std::string(1900, 's')), job));
  EXPECT_FALSE(fs::exists(snapshot));
  EXPECT_TRUE(fs::exists(others) && has(cache, 'a'));
  EXPECT_EQ(cache.bytes(), 2910u);
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
