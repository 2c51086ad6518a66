// The cache's bookkeeping and its files.
#include "worker/cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "common/error.h"
#include "common/folder_lock.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/text.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

std::uint64_t tree_bytes(const fs::path& folder) {
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) bytes += entry.file_size();
  return bytes;
}

void link_tree(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    const auto target = to / entry.path().lexically_relative(from);
    if (entry.is_directory())
      fs::create_directories(target);
    else if (entry.is_regular_file() && !entry.is_symlink())
      fs::create_hard_link(entry.path(), target);
    else
      throw Error(ErrorCode::kInternal, "ENGINE_PROTOCOL",
                  "a stage's output holds something that is no file: " + entry.path().string());
  }
}

void sync_tree(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) sync_path(entry.path());
  sync_path(folder);
}

void touch(const fs::path& path) {
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

// Of the entries of `folder`.
using Entries = std::vector<std::pair<fs::file_time_type, fs::path>>;

void add_entries(const fs::path& folder, Entries& entries) {
  for (const auto& entry : fs::directory_iterator(folder))
    entries.emplace_back(entry.last_write_time(), entry.path());
}

void keep_newest(Entries entries, std::size_t count) {
  std::sort(entries.begin(), entries.end());
  for (std::size_t i = 0; i + count < entries.size(); ++i) fs::remove_all(entries[i].second);
}

// A stage's name here: the same key is another one in each project.
Digest own_key(const std::string& project, const Digest& key) {
  return sha256(project + "/" + key.hex());
}

std::optional<Digest> digest_of_name(const fs::path& path) {
  const auto name = path.filename().string();
  if (name.size() != 64) return std::nullopt;
  try {
    return Digest::parse(name);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string stage_record(std::uint64_t bytes, bool synced) {
  return Json{{"bytes", bytes}, {"boot", boot_id()}, {"synced", synced}}.dump();
}

}  // namespace

CacheFolder take_cache_folder(const fs::path& folder, bool below) {
  constexpr int kMostBelow = 1000;
  const auto base = fs::absolute(folder).lexically_normal();
  for (int i = 0;; ++i) {
    const auto path = below ? base / std::to_string(i) : base;
    fs::create_directories(path);
    try {
      return {path, lock_folder(path, Error(ErrorCode::kFailedPrecondition, "CACHE_IN_USE",
                                            "another worker uses the cache folder " + path.string(),
                                            "--cache", "Give each worker a folder of its own."))};
    } catch (const Error& error) {
      if (!below || error.reason() != "CACHE_IN_USE" || i >= kMostBelow) throw;
    }
  }
}

Cache::Cache(CacheFolder folder, std::uint64_t max_bytes)
    : folder_(std::move(folder.path)), max_bytes_(max_bytes), lock_(std::move(folder.lock)) {
  for (const auto* name : {"blobs", "stages", "snapshots", "jobs"}) fs::create_directories(folder_ / name);
  fs::remove_all(work());
  fs::create_directories(work());
  read_id();
  read_blobs();
  read_stages();
  const std::lock_guard lock(mutex_);
  while (bytes_ > max_bytes_ && evict_one()) {
  }
  syncer_ = std::jthread([this](const std::stop_token& stop) { sync_stages(stop); });
}

Cache::~Cache() = default;

void Cache::read_id() {
  const auto path = folder_ / "worker.json";
  if (fs::exists(path)) {
    worker_id_ = json_at<std::string>(parse_json(read_file(path), path.string()), "id", path.string());
    return;
  }
  worker_id_ = "w-" + random_id();
  write_file_atomic(path, Json{{"id", worker_id_}}.dump() + "\n");
}

// What is there, in the order of last use; half-written files of a killed worker go.
void Cache::read_blobs() {
  std::vector<std::tuple<fs::file_time_type, Digest, std::uint64_t>> found;
  for (const auto& entry : fs::recursive_directory_iterator(blobs())) {
    if (!entry.is_regular_file()) continue;
    if (const auto digest = digest_of_name(entry.path()))
      found.emplace_back(entry.last_write_time(), *digest, entry.file_size());
    else
      fs::remove(entry.path());
  }
  std::sort(found.begin(), found.end());
  for (const auto& [time, digest, size] : found) {
    entries_[{kBlob, digest}] = {size, ++uses_, false};
    bytes_ += size;
  }
}

// A stage is trusted where its record says that it reached the disk, or was written in this boot.
void Cache::read_stages() {
  std::vector<std::tuple<fs::file_time_type, Digest, std::uint64_t>> found;
  const auto boot = boot_id();
  for (const auto& entry : fs::directory_iterator(folder_ / "stages")) {
    const auto digest = digest_of_name(entry.is_directory() ? entry.path() : entry.path().stem());
    bool whole = false;
    if (digest && entry.is_directory()) try {
        const auto record = parse_json(read_file(record_of(*digest)), "stage record");
        const auto bytes = json_at<std::uint64_t>(record, "bytes", "stage record");
        const bool synced = json_at<bool>(record, "synced", "stage record");
        whole = (synced || json_at<std::string>(record, "boot", "stage record") == boot) &&
                tree_bytes(entry.path()) == bytes;
        if (whole) found.emplace_back(fs::last_write_time(record_of(*digest)), *digest, bytes);
        if (whole && !synced) unsynced_.push_back(*digest);
      } catch (const Error&) {  // no record: whole stays false
      }
    const bool record_with_folder = digest && !entry.is_directory() && entry.path().extension() == ".json" &&
                                    fs::is_directory(path_of({kStage, *digest}));
    if (!whole && !record_with_folder) fs::remove_all(entry.path());
  }
  std::sort(found.begin(), found.end());
  for (const auto& [time, digest, size] : found) {
    entries_[{kStage, digest}] = {size, ++uses_, true};
    bytes_ += size;
  }
}

CacheUse Cache::use() const {
  return {bytes_, max_bytes_, claimed_, missed_};
}

Cache::Hold::~Hold() {
  const std::lock_guard lock(cache_.mutex_);
  for (const auto& name : names_)
    if (--cache_.holds_[name] == 0) cache_.holds_.erase(name);
}

void Cache::hold(const Name& name, Hold& hold) {
  if (hold.names_.insert(name).second) ++holds_[name];
  const auto it = entries_.find(name);
  if (it == entries_.end()) return;
  it->second.used = ++uses_;
  touch(name.first == kBlob ? path_of(name) : record_of(name.second));
}

std::vector<BlobRef> Cache::claim(std::span<const BlobRef> blobs, Hold& hold,
                                  const std::function<bool()>& stop) {
  const std::lock_guard lock(mutex_);
  std::vector<BlobRef> absent;
  std::set<Digest> seen;
  std::uint64_t needed = 0;
  for (const auto& blob : blobs) {
    if (!seen.insert(blob.digest).second) continue;
    if (stop()) throw Error(ErrorCode::kCancelled, "STOPPED", "the look into the cache was stopped");
    this->hold({kBlob, blob.digest}, hold);
    claimed_ += blob.size;
    if (is_whole(blob)) continue;
    absent.push_back(blob);
    needed += blob.size;
  }
  missed_ += needed;
  make_room(needed);
  return absent;
}

bool Cache::is_whole(const BlobRef& blob) {
  const Name name{kBlob, blob.digest};
  const auto it = entries_.find(name);
  if (it == entries_.end()) return false;
  if (it->second.bytes == blob.size && it->second.verified) return true;
  std::error_code gone;
  if (fs::file_size(path_of(name), gone) == blob.size && !gone &&
      sha256(MappedFile::open(path_of(name))->bytes()) == blob.digest) {
    it->second.verified = true;
    return true;
  }
  spdlog::warn("blob {} in the cache is damaged; it is fetched again", blob.digest.hex());
  remove(name);
  return false;
}

void Cache::add(std::span<const BlobRef> blobs) {
  const std::lock_guard lock(mutex_);
  for (const auto& blob : blobs) {
    auto& entry = entries_[{kBlob, blob.digest}];
    bytes_ += blob.size - entry.bytes;
    entry = {blob.size, ++uses_, true};
  }
}

std::optional<KeptStage> Cache::find_stage(const std::string& project, const Digest& key, Hold& hold) {
  const std::lock_guard lock(mutex_);
  const Name name{kStage, own_key(project, key)};
  const auto it = entries_.find(name);
  if (it == entries_.end()) return std::nullopt;
  std::error_code gone;
  if (!fs::is_directory(path_of(name), gone) || tree_bytes(path_of(name)) != it->second.bytes) {
    spdlog::warn("the kept stage {} is damaged; it is run again", key.hex());
    remove(name);
    return std::nullopt;
  }
  this->hold(name, hold);
  return KeptStage{path_of(name), it->second.bytes};
}

bool Cache::keep_stage(const std::string& project, const Digest& key, const fs::path& folder, Hold& hold) {
  const Name name{kStage, own_key(project, key)};
  const auto bytes = tree_bytes(folder);
  const TempDir half(work());
  link_tree(folder, half.path() / "stage");
  const std::lock_guard lock(mutex_);
  if (!entries_.contains(name)) {
    try {
      make_room(bytes);
    } catch (const Error& error) {
      spdlog::warn("stage {} is not kept: {}", key.hex(), error.what());
      return false;
    }
    write_file_atomic(record_of(name.second), stage_record(bytes, false));
    fs::rename(half.path() / "stage", path_of(name));
    entries_[name] = {bytes, ++uses_, true, uses_};
    bytes_ += bytes;
    unsynced_.push_back(name.second);
    unsynced_changed_.notify_one();
  }
  remove_snapshot(project, key);
  this->hold(name, hold);
  return true;
}

// Stages are renamed into place at once (a killed worker loses nothing) and brought to the disk here, off
// everyone's way.
void Cache::sync_stages(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (unsynced_changed_.wait(lock, stop, [&] { return !unsynced_.empty(); }), !unsynced_.empty()) {
    const Name name{kStage, unsynced_.front()};
    unsynced_.pop_front();
    if (!entries_.contains(name)) continue;
    const auto made = entries_[name].made;
    lock.unlock();
    try {
      sync_tree(path_of(name));
      lock.lock();
      if (const auto it = entries_.find(name); it != entries_.end() && it->second.made == made)
        write_file_atomic(record_of(name.second), stage_record(it->second.bytes, true));
    } catch (const std::exception&
                 error) {  // evicted meanwhile; or it stays as it is, and is not trusted after this boot
      spdlog::debug("stage {} has not reached the disk: {}", name.second.hex(), error.what());
    }
    if (!lock) lock.lock();
  }
}

void Cache::make_room(std::uint64_t bytes) {
  while (bytes_ + bytes > max_bytes_ && evict_one()) {
  }
  if (bytes_ + bytes > max_bytes_)
    throw Error(ErrorCode::kResourceExhausted, "CACHE_TOO_SMALL",
                "the job needs " + human_bytes(bytes) + " more in the worker's cache, which may hold " +
                    human_bytes(max_bytes_) + " and has " + human_bytes(bytes_) + " of this job",
                "--cache-bytes", "Start the worker with a larger --cache-bytes.");
}

bool Cache::evict_one() {
  auto oldest = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end(); ++it)
    if (!holds_.contains(it->first) && (oldest == entries_.end() || it->second.used < oldest->second.used))
      oldest = it;
  if (oldest == entries_.end()) return false;
  remove(oldest->first);
  return true;
}

void Cache::remove(const Name& name) {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return;
  bytes_ -= it->second.bytes;
  const Name gone = name;  // `name` may lie in the entry
  entries_.erase(it);
  std::error_code ignored;
  if (gone.first == kStage)
    fs::remove(record_of(gone.second), ignored);  // first: a folder without a record counts as nothing
  fs::remove_all(path_of(gone), ignored);
}

fs::path Cache::path_of(const Name& name) const {
  const auto hex = name.second.hex();
  return name.first == kBlob ? blobs() / hex.substr(0, 2) / hex : folder_ / "stages" / hex;
}

fs::path Cache::record_of(const Digest& key) const {
  return folder_ / "stages" / (key.hex() + ".json");
}

fs::path Cache::log_folder(const std::string& job_id) const {
  if (!is_safe_relative_path(job_id) || job_id.find('/') != std::string::npos)
    throw Error(ErrorCode::kInvalidArgument, "BAD_JOB_ID", "'" + job_id + "' can be no job's id");
  return folder_ / "jobs" / job_id;
}

// By digest, as a project's name may hold anything.
fs::path Cache::snapshots(const std::string& project) const {
  return snapshots() / sha256(project).hex().substr(0, 16);
}

void Cache::remove_snapshot(const std::string& project, const Digest& key) const {
  std::error_code ignored;
  fs::remove_all(snapshots(project) / key.hex(), ignored);
}

void Cache::trim() const {
  Entries logs, snapshots;
  std::error_code ignored;
  add_entries(folder_ / "jobs", logs);
  for (const auto& project : fs::directory_iterator(this->snapshots()))
    if (project.is_directory() && !fs::remove(project, ignored))  // only where it is empty
      add_entries(project.path(), snapshots);
  keep_newest(std::move(logs), kMaxLogs);
  keep_newest(std::move(snapshots), kMaxSnapshots);
}

}  // namespace wring
