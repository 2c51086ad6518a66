// The cache's bookkeeping and its files.
#include "worker/cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <system_error>
#include <tuple>
#include <utility>

#include "common/error.h"
#include "common/folder_lock.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/text.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

// Of the files below `folder`, without those that vanish meanwhile: an engine may be at work there.
std::uint64_t tree_bytes(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code ended;
  for (fs::recursive_directory_iterator at(folder, ended), end; at != end; at.increment(ended)) {
    std::error_code gone;
    if (at->is_symlink(gone) || !at->is_regular_file(gone)) continue;
    const auto size = at->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

// Of the names and bytes of all files below `folder`. Throws kCancelled "STOPPED" where `stop` says so.
Digest tree_digest(const fs::path& folder, const std::function<bool()>& stop) {
  constexpr std::size_t kPiece = 16u << 20;
  std::map<std::string, fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files.emplace(entry.path().lexically_relative(folder).string(), entry.path());
  Sha256 sum;
  for (const auto& [name, path] : files) {
    const auto file = MappedFile::open(path);
    auto bytes = file->bytes();
    sum.update(name + '\0' + std::to_string(bytes.size()) + '\0');
    while (!bytes.empty()) {
      if (stop()) throw Error(ErrorCode::kCancelled, "STOPPED", "the look into the cache was stopped");
      const auto piece = bytes.first(std::min(bytes.size(), kPiece));
      sum.update(piece);
      file->let_go(piece);
      bytes = bytes.subspan(piece.size());
    }
  }
  return sum.finish();
}

bool has_digest(const fs::path& folder, const Digest& digest, const std::function<bool()>& stop) {
  try {
    return tree_digest(folder, stop) == digest;
  } catch (const Error& error) {
    if (error.reason() == "STOPPED") throw;
  } catch (const fs::filesystem_error&) {  // something has gone
  }
  return false;
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
void keep_newest(const fs::path& folder, std::size_t count) {
  std::vector<std::pair<fs::file_time_type, fs::path>> entries;
  for (const auto& entry : fs::directory_iterator(folder))
    entries.emplace_back(entry.last_write_time(), entry.path());
  std::sort(entries.begin(), entries.end());
  for (std::size_t i = 0; i + count < entries.size(); ++i) fs::remove_all(entries[i].second);
}

// By digest, as a project's name may hold anything.
std::string folder_of(const std::string& project) {
  return sha256(project).hex().substr(0, 16);
}

bool is_project(const fs::directory_entry& entry) {
  const auto name = entry.path().filename().string();
  return entry.is_directory() && !entry.is_symlink() && name.size() == 16 &&
         name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::optional<Digest> digest_of_name(const fs::path& path) {
  const auto name = path.filename().string();
  if (name.size() != 64) return std::nullopt;
  try {
    const auto digest = Digest::parse(name);
    if (digest.hex() == name) return digest;
  } catch (const Error&) {  // it is none
  }
  return std::nullopt;
}

// `digest`: of its files, once they have reached the disk.
std::string stage_record(std::uint64_t bytes, const std::optional<Digest>& digest) {
  return Json{{"bytes", bytes}, {"boot", boot_id()}, {"digest", digest ? digest->hex() : ""}}.dump();
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
  std::vector<Found> found;
  read_blobs(found);
  read_stages(found);
  read_snapshots(found);
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return std::tie(a.used, a.name) < std::tie(b.used, b.name);
  });
  const std::lock_guard lock(mutex_);
  for (auto& [used, name, entry] : found) {
    entry.used = ++uses_;
    bytes_ += entry.bytes;
    if (name.kind == kStage && !entry.digest) unsynced_.push_back(name);
    entries_[name] = entry;
  }
  shrink();
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

// Half-written files of a killed worker go.
void Cache::read_blobs(std::vector<Found>& found) const {
  for (const auto& entry : fs::recursive_directory_iterator(blobs())) {
    if (!entry.is_regular_file()) continue;
    if (const auto digest = digest_of_name(entry.path()))
      found.push_back({entry.last_write_time(), {kBlob, "", *digest}, {entry.file_size()}});
    else
      fs::remove(entry.path());
  }
}

// What is not trusted goes, and all that lies in no project's folder, as stages of earlier releases did.
void Cache::read_stages(std::vector<Found>& found) const {
  const auto boot = boot_id();
  for (const auto& project : fs::directory_iterator(folder_ / "stages")) {
    if (!is_project(project)) {
      fs::remove_all(project.path());
      continue;
    }
    for (const auto& entry : fs::directory_iterator(project.path())) {
      const auto& path = entry.path();
      const bool is_record =
          path.extension() == ".json" && fs::is_directory(path.parent_path() / path.stem());
      if (is_record) continue;  // its folder's turn comes
      const auto digest = digest_of_name(path);
      const Name name{kStage, project.path().filename().string(), digest.value_or(Digest{})};
      const auto stage = digest ? read_stage(name, boot) : std::nullopt;
      if (stage) {
        found.push_back({fs::last_write_time(record_of(name)), name, *stage});
      } else {
        if (digest) fs::remove(record_of(name));
        fs::remove_all(path);
      }
    }
  }
}

// A stage is trusted where its record has a digest, as it reached the disk, or was written in this boot.
std::optional<Cache::Entry> Cache::read_stage(const Name& name, const std::string& boot) const {
  try {
    const auto record = parse_json(read_file(record_of(name)), "stage record");
    Entry entry;
    entry.bytes = json_at<std::uint64_t>(record, "bytes", "stage record");
    const auto digest = json_at<std::string>(record, "digest", "stage record");
    if (!digest.empty()) entry.digest = Digest::parse(digest);
    entry.verified = !entry.digest;  // there is nothing to verify it by
    const bool is_trusted = entry.digest || json_at<std::string>(record, "boot", "stage record") == boot;
    if (is_trusted && tree_bytes(path_of(name)) == entry.bytes) return entry;
  } catch (const Error&) {  // no record
  }
  return std::nullopt;
}

// What else an engine has left there goes.
void Cache::read_snapshots(std::vector<Found>& found) const {
  for (const auto& project : fs::directory_iterator(snapshots())) {
    if (!is_project(project)) {
      fs::remove_all(project.path());
      continue;
    }
    for (const auto& entry : fs::directory_iterator(project.path())) {
      const auto digest = digest_of_name(entry.path());
      if (digest && entry.is_directory() && !entry.is_symlink())
        found.push_back({entry.last_write_time(),
                         {kSnapshot, project.path().filename().string(), *digest},
                         {tree_bytes(entry.path())}});
      else
        fs::remove_all(entry.path());
    }
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
  touch(name.kind == kStage ? record_of(name) : path_of(name));
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
    this->hold({kBlob, "", blob.digest}, hold);
    claimed_ += blob.size;
    if (is_whole(blob)) continue;
    absent.push_back(blob);
    needed += blob.size;
  }
  missed_ += needed;
  if (needed > 0) {
    measure_snapshots();
    make_room(needed);
  }
  return absent;
}

bool Cache::is_whole(const BlobRef& blob) {
  const Name name{kBlob, "", blob.digest};
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
    auto& entry = entries_[{kBlob, "", blob.digest}];
    bytes_ += blob.size - entry.bytes;
    entry = {blob.size, ++uses_, true};
  }
}

std::optional<KeptStage> Cache::find_stage(const std::string& project, const Digest& key, Hold& hold,
                                           const std::function<bool()>& stop) {
  std::unique_lock lock(mutex_);
  const Name name{kStage, folder_of(project), key};
  auto it = entries_.find(name);
  if (it == entries_.end()) return std::nullopt;
  this->hold(name, hold);  // so that it is there while it is read
  std::error_code gone;
  bool whole = fs::is_directory(path_of(name), gone) && tree_bytes(path_of(name)) == it->second.bytes;
  if (whole && !it->second.verified) {
    const Digest digest = it->second.digest.value();
    lock.unlock();
    whole = has_digest(path_of(name), digest, stop);
    lock.lock();
    it = entries_.find(name);
    if (it == entries_.end()) return std::nullopt;
    whole = whole || it->second.verified;  // it has been made anew
  }
  if (!whole) {
    spdlog::warn("the kept stage {} is damaged; it is run again", key.hex());
    remove(name);
    return std::nullopt;
  }
  it->second.verified = true;
  return KeptStage{path_of(name), it->second.bytes};
}

std::optional<std::uint64_t> Cache::keep_stage(const std::string& project, const Digest& key,
                                               const fs::path& folder, Hold& hold) {
  const Name name{kStage, folder_of(project), key}, snapshot{kSnapshot, name.project, key};
  const auto bytes = tree_bytes(folder);
  const TempDir half(work());
  link_tree(folder, half.path() / "stage");
  const std::lock_guard lock(mutex_);
  this->hold(snapshot, hold);
  if (!entries_.contains(name)) {
    try {
      measure_snapshots();
      const auto it = entries_.find(snapshot);
      const std::uint64_t replaced = it == entries_.end() ? 0 : it->second.bytes;
      make_room(bytes, replaced);
    } catch (const Error& error) {
      spdlog::warn("stage {} is not kept: {}", key.hex(), error.what());
      return std::nullopt;
    }
    fs::create_directories(stages(project));
    write_file_atomic(record_of(name), stage_record(bytes, std::nullopt));
    fs::rename(half.path() / "stage", path_of(name));
    ++uses_;
    entries_[name] = {bytes, uses_, true, uses_, std::nullopt};
    bytes_ += bytes;
    unsynced_.push_back(name);
    unsynced_changed_.notify_one();
  }
  remove(snapshot);
  this->hold(name, hold);
  return bytes;
}

// Stages are renamed into place at once (a killed worker loses nothing), brought to the disk and hashed here,
// off everyone's way.
void Cache::sync_stages(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (unsynced_changed_.wait(lock, stop, [&] { return !unsynced_.empty(); }), !unsynced_.empty()) {
    const Name name = unsynced_.front();
    unsynced_.pop_front();
    if (!entries_.contains(name)) continue;
    const auto made = entries_[name].made;
    lock.unlock();
    try {
      const auto digest = tree_digest(path_of(name), [] { return false; });
      sync_tree(path_of(name));
      lock.lock();
      if (const auto it = entries_.find(name); it != entries_.end() && it->second.made == made) {
        write_file_atomic(record_of(name), stage_record(it->second.bytes, digest));
        it->second.digest = digest;
      }
    } catch (const std::exception&
                 error) {  // evicted meanwhile; or it stays as it is, and is not trusted after this boot
      spdlog::debug("stage {} has not reached the disk: {}", name.digest.hex(), error.what());
    }
    if (!lock) lock.lock();
  }
}

// Engines write them: what they take is looked up.
void Cache::measure_snapshots() {
  std::map<Name, std::uint64_t> there;
  for (const auto& project : fs::directory_iterator(snapshots())) {
    if (!is_project(project)) continue;
    for (const auto& entry : fs::directory_iterator(project.path())) {
      const auto digest = digest_of_name(entry.path());
      if (digest && entry.is_directory() && !entry.is_symlink())
        there[{kSnapshot, project.path().filename().string(), *digest}] = tree_bytes(entry.path());
    }
  }
  for (auto it = entries_.lower_bound({kSnapshot, "", Digest{}}); it != entries_.end();) {
    bytes_ -= it->second.bytes;
    it->second.bytes = 0;
    it = there.contains(it->first) ? std::next(it) : entries_.erase(it);
  }
  for (const auto& [name, bytes] : there) {
    auto& entry = entries_[name];
    if (entry.used == 0) entry.used = ++uses_;
    entry.bytes = bytes;
    bytes_ += bytes;
  }
}

// For `bytes`, with which `given_up` bytes of what is there go.
void Cache::make_room(std::uint64_t bytes, std::uint64_t given_up) {
  while (bytes_ + bytes > max_bytes_ + given_up && evict_one()) {
  }
  if (bytes_ + bytes > max_bytes_ + given_up)
    throw Error(ErrorCode::kResourceExhausted, "CACHE_TOO_SMALL",
                "the job needs " + human_bytes(bytes) + " more in the worker's cache, which may hold " +
                    human_bytes(max_bytes_) + " and has " + human_bytes(bytes_) + " of this job",
                "--cache-bytes", "Start the worker with a larger --cache-bytes.");
}

void Cache::shrink() {
  while (bytes_ > max_bytes_ && evict_one()) {
  }
}

bool Cache::evict_one() {
  const auto turn = [&](const auto& entry) {
    const bool spared = entry.first.kind == kSnapshot && holds_.contains(all_snapshots(entry.first.project));
    return std::pair(spared, entry.second.used);
  };
  auto oldest = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end(); ++it)
    if (!holds_.contains(it->first) && (oldest == entries_.end() || turn(*it) < turn(*oldest))) oldest = it;
  if (oldest == entries_.end()) return false;
  remove(oldest->first);
  return true;
}

// By value: the name may lie in the entry.
void Cache::remove(Name name) {
  if (const auto it = entries_.find(name); it != entries_.end()) {
    bytes_ -= it->second.bytes;
    entries_.erase(it);
  }
  std::error_code ignored;
  if (name.kind == kStage)
    fs::remove(record_of(name), ignored);  // first: a folder without a record counts as nothing
  fs::remove_all(path_of(name), ignored);
}

fs::path Cache::path_of(const Name& name) const {
  const auto hex = name.digest.hex();
  if (name.kind == kBlob) return blobs() / hex.substr(0, 2) / hex;
  return folder_ / (name.kind == kStage ? "stages" : "snapshots") / name.project / hex;
}

// Of a stage.
fs::path Cache::record_of(const Name& name) const {
  return path_of(name) += ".json";
}

fs::path Cache::log_folder(const std::string& job_id) const {
  if (!is_safe_relative_path(job_id) || job_id.find('/') != std::string::npos)
    throw Error(ErrorCode::kInvalidArgument, "BAD_JOB_ID", "'" + job_id + "' can be no job's id");
  return folder_ / "jobs" / job_id;
}

fs::path Cache::stages(const std::string& project) const {
  return folder_ / "stages" / folder_of(project);
}

fs::path Cache::snapshots(const std::string& project) const {
  return snapshots() / folder_of(project);
}

void Cache::hold_snapshot(const std::string& project, const Digest& key, Hold& hold) {
  const std::lock_guard lock(mutex_);
  this->hold({kSnapshot, folder_of(project), key}, hold);
}

void Cache::spare_snapshots(const std::string& project, Hold& hold) {
  const std::lock_guard lock(mutex_);
  this->hold(all_snapshots(folder_of(project)), hold);
}

void Cache::remove_snapshot(const std::string& project, const Digest& key) {
  const std::lock_guard lock(mutex_);
  remove({kSnapshot, folder_of(project), key});
}

void Cache::trim() {
  keep_newest(folder_ / "jobs", kMaxLogs);
  const std::lock_guard lock(mutex_);
  measure_snapshots();
  shrink();
  for (const auto* kind : {"stages", "snapshots"})
    for (const auto& project : fs::directory_iterator(folder_ / kind)) {
      std::error_code ignored;
      fs::remove(project.path(), ignored);  // only where it is empty
    }
}

}  // namespace wring
