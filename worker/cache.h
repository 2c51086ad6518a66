// The worker's cache folder: blobs, finished stages and snapshots under one size limit, the least recently
// used out first.
#pragma once

#include <atomic>
#include <compare>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "common/digest.h"
#include "common/files.h"
#include "proto/rpc/transfer.h"

namespace wring {

// A finished stage's output that is kept.
struct KeptStage {
  std::filesystem::path path;
  std::uint64_t bytes = 0;  // of its files
};

// A cache folder that is this process's own for as long as the lock lives.
struct CacheFolder {
  std::filesystem::path path;
  FileDescriptor lock;
};

// `folder` itself, or the first of FOLDER/0, FOLDER/1, ... that no other process has. Throws
// Error(kFailedPrecondition, "CACHE_IN_USE") where another process has the folder.
CacheFolder take_cache_folder(const std::filesystem::path& folder, bool below = false);

struct CacheUse {
  std::uint64_t bytes = 0, limit = 0;     // of blobs, stages and snapshots, these as last looked at
  std::uint64_t claimed = 0, missed = 0;  // of blobs, since the start: asked for, and of them not there
};

// The folder, which belongs to one process at a time:
//   lock  worker.json                  who has it, and the id under which the server knows it
//   blobs/ab/abcdef...                 chunks, whole and verified when they came
//   stages/PROJECT/KEY/  .../KEY.json  output of a stage, and its digest once it has reached the disk
//   snapshots/PROJECT/KEY/             what an engine has finished of a stage
//   jobs/ID/engine.log                 logs, of the newest kMaxLogs jobs
//   work/                              scratch; emptied at start
// What is in it survives kill -9 at any instruction. What a Hold names is never evicted. Any thread may call.
class Cache {
  enum Kind : int { kBlob, kStage, kSnapshot };
  struct Name {
    Kind kind;
    std::string project;  // its folder's name; of blobs none
    Digest digest;
    auto operator<=>(const Name&) const = default;
  };

 public:
  static constexpr std::size_t kMaxLogs = 100;

  Cache(CacheFolder folder, std::uint64_t max_bytes);
  Cache(const std::filesystem::path& folder, std::uint64_t max_bytes)
      : Cache(take_cache_folder(folder), max_bytes) {}
  ~Cache();  // once all kept stages have reached the disk
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  const std::string& worker_id() const { return worker_id_; }
  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path blobs() const { return folder_ / "blobs"; }
  std::filesystem::path work() const { return folder_ / "work"; }
  // Throws Error(kInvalidArgument, "BAD_JOB_ID") for an id that is no plain file name.
  std::filesystem::path log_folder(const std::string& job_id) const;
  std::uint64_t bytes() const { return use().bytes; }
  CacheUse use() const;  // at once, whatever the cache is at

  // Keeps what it names from being evicted, for as long as it lives.
  class Hold {
   public:
    explicit Hold(Cache& cache) : cache_(cache) {}
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    friend class Cache;
    Cache& cache_;
    std::set<Name> names_;
  };

  // Holds all of `blobs` and returns those that must be fetched: absent, of another size, or (looked at once
  // a process) not what their digest says. Makes room for them: Error(kResourceExhausted, "CACHE_TOO_SMALL")
  // where what is held leaves too little, and kCancelled "STOPPED" once `stop`, asked before each look, says
  // so.
  std::vector<BlobRef> claim(
      std::span<const BlobRef> blobs, Hold& hold, const std::function<bool()>& stop = [] { return false; });
  // Blobs that claim() asked for have come.
  void add(std::span<const BlobRef> blobs);

  // The kept output of a stage of the project, held; nullopt where there is none, or (looked at once a
  // process) it is not what its record says. A project learns nothing of what ran for another one. Throws
  // kCancelled "STOPPED" where `stop`, asked now and then while it is read, says so.
  std::optional<KeptStage> find_stage(
      const std::string& project, const Digest& key, Hold& hold,
      const std::function<bool()>& stop = [] { return false; });
  // Keeps the files below `folder` (on the same file system: they are linked, not copied) as the output under
  // `key`, and holds it. The first writer wins. Returns its bytes; nullopt where it is too large to be kept.
  std::optional<std::uint64_t> keep_stage(const std::string& project, const Digest& key,
                                          const std::filesystem::path& folder, Hold& hold);

  // Where a project's kept stages lie, each in a folder named by its key.
  std::filesystem::path stages(const std::string& project) const;

  // Of stages that are not whole; a project's engines write below the second. Kept stages have none.
  std::filesystem::path snapshots() const { return folder_ / "snapshots"; }
  std::filesystem::path snapshots(const std::string& project) const;
  void hold_snapshot(const std::string& project, const Digest& key, Hold& hold);
  // Of a job that does not know yet which of its project's snapshots it goes on from: they are evicted only
  // where nothing else is left, as long as `hold` lives.
  void spare_snapshots(const std::string& project, Hold& hold);
  void remove_snapshot(const std::string& project, const Digest& key);

  // Removes the logs of the oldest jobs beyond kMaxLogs, and what no longer has room beside the snapshots
  // that have grown.
  void trim();

 private:
  struct Entry {
    std::uint64_t bytes = 0;
    std::uint64_t used = 0;          // rises with every use
    bool verified = false;           // by this process
    std::uint64_t made = 0;          // of stages: tells it from one that had the key before
    std::optional<Digest> digest{};  // of stages that have reached the disk: of their files
  };
  struct Found {
    std::filesystem::file_time_type used;
    Name name;
    Entry entry;
  };

  void read_id();
  void read_blobs(std::vector<Found>& found) const;
  void read_stages(std::vector<Found>& found) const;
  std::optional<Entry> read_stage(const Name& name, const std::string& boot) const;
  void read_snapshots(std::vector<Found>& found) const;
  // Stands for all snapshots below the project's folder of that name.
  static Name all_snapshots(const std::string& folder) { return {kSnapshot, folder, Digest{}}; }
  void hold(const Name& name, Hold& hold);
  bool is_whole(const BlobRef& blob);
  void measure_snapshots();
  void make_room(std::uint64_t bytes, std::uint64_t given_up = 0);
  void shrink();
  bool evict_one();
  void remove(Name name);
  void sync_stages(const std::stop_token& stop);
  std::filesystem::path path_of(const Name& name) const;
  std::filesystem::path record_of(const Name& name) const;

  std::filesystem::path folder_;
  std::uint64_t max_bytes_;
  FileDescriptor lock_;
  std::string worker_id_;

  mutable std::mutex mutex_;
  std::map<Name, Entry> entries_;
  std::map<Name, int> holds_;
  std::atomic<std::uint64_t> bytes_ = 0, claimed_ = 0, missed_ = 0;  // written under the mutex
  std::uint64_t uses_ = 0;
  std::deque<Name> unsynced_;
  std::condition_variable_any unsynced_changed_;
  std::jthread syncer_;
};

}  // namespace wring
