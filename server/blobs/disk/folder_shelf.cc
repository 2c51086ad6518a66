// A blob arrives by a rename, and its name is synced before anyone hears of it.
#include "server/blobs/disk/folder_shelf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "common/ids.h"

namespace wring {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kPiece = 1u << 20;

class OpenFile final : public ShelvedBlob {
 public:
  OpenFile(FileDescriptor fd, fs::path path)
      : fd_(std::move(fd)), path_(std::move(path)), size_(size_of(fd_.get(), path_)) {}
  std::uint64_t size() const override { return size_; }
  bool read(std::uint64_t begin, std::uint64_t end, const ByteSink& sink) const override {
    return read_pieces(fd_.get(), path_, begin, end, sink);
  }

 private:
  FileDescriptor fd_;
  fs::path path_;
  std::uint64_t size_;
};

void copy_durably(const fs::path& from, const fs::path& to) {
  const FileDescriptor source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source) throw_io_error("open", from, errno);
  const FileDescriptor target(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!target) throw_io_error("create", to, errno);
  const auto size = size_of(source.get(), from);
  const bool whole = read_pieces(source.get(), from, 0, size, [&](std::span<const std::byte> piece) {
    write_all(target.get(), piece, to);
    return true;
  });
  if (!whole) throw_io_error("read", from, EIO);
  if (::fsync(target.get()) != 0) throw_io_error("fsync", to, errno);
}

std::uint64_t remove_older_files(const fs::path& folder, fs::file_time_type before) {
  std::uint64_t removed = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.last_write_time(ignored) < before) removed += fs::remove(entry.path(), ignored);
  return removed;
}

}  // namespace

// A folder that is there was synced: by whoever made it, before anyone else could see it here.
void make_folder(const fs::path& path) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (fs::is_directory(path)) return;
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) throw_io_error("create", path, errno);
  sync_path(path.parent_path());
}

bool read_pieces(int fd, const fs::path& path, std::uint64_t begin, std::uint64_t end, const ByteSink& sink) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(kPiece, end - begin)));
  while (begin < end) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - begin));
    const ssize_t n = ::pread(fd, buffer.data(), count, static_cast<off_t>(begin));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io_error("read", path, errno);
    if (n == 0 || !sink(std::span(buffer).first(static_cast<std::size_t>(n)))) return false;
    begin += static_cast<std::uint64_t>(n);
  }
  return true;
}

std::uint64_t size_of(int fd, const fs::path& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_io_error("stat", path, errno);
  return static_cast<std::uint64_t>(status.st_size);
}

FolderShelf::FolderShelf(const fs::path& folder, ShelfUse access)
    : blobs_(folder / "blobs"),
      incoming_(folder / "incoming"),
      corrupt_(folder / "corrupt"),
      owner_(folder / "owner") {
  if (access == ShelfUse::kRead) return;
  for (const auto& path : {blobs_, incoming_, corrupt_}) make_folder(path);
  remove_older_files(incoming_, fs::file_time_type::clock::now() - std::chrono::hours(24));
  sync_names();
}

// A process that was killed may have made folders and renamed blobs without this.
void FolderShelf::sync_names() {
  for (const auto& entry : fs::directory_iterator(blobs_))
    if (entry.is_directory()) sync_path(entry.path());
  sync_path(blobs_);
  sync_path(blobs_.parent_path());
}

void FolderShelf::set_arriving(const Digest& digest, bool arriving) {
  const std::lock_guard lock(mutex_);
  if (arriving)
    arriving_.insert(digest);
  else
    arriving_.erase(digest);
}

fs::path FolderShelf::path_of(const Digest& digest) const {
  const auto hex = digest.hex();
  return blobs_ / hex.substr(0, 2) / hex;
}

bool FolderShelf::has(const Digest& digest) const {
  {
    const std::lock_guard lock(mutex_);
    if (arriving_.contains(digest)) return false;
  }
  std::error_code ignored;
  return fs::is_regular_file(path_of(digest), ignored);
}

std::unique_ptr<ShelvedBlob> FolderShelf::open(const Digest& digest) const {
  const auto path = path_of(digest);
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return nullptr;
  if (!fd) throw_io_error("open", path, errno);
  return std::make_unique<OpenFile>(std::move(fd), path);
}

std::uint64_t FolderShelf::size(const Digest& digest) const {
  std::error_code failed;
  const auto bytes = fs::file_size(path_of(digest), failed);
  if (failed) throw_blob_not_found(digest);
  return bytes;
}

std::vector<Digest> FolderShelf::all() const {
  std::vector<Digest> digests;
  for (const auto& entry : fs::recursive_directory_iterator(blobs_)) {
    const auto digest = digest_named(entry.path().filename().string());
    if (digest && path_of(*digest) == entry.path()) digests.push_back(*digest);
  }
  return digests;
}

bool FolderShelf::renew(const Digest& digest) {
  if (!has(digest)) return false;
  const auto path = path_of(digest);
  if (::utimensat(AT_FDCWD, path.c_str(), nullptr, 0) == 0) return true;
  if (errno != ENOENT) throw_io_error("touch", path, errno);
  return false;
}

void FolderShelf::put(const Digest& digest, const fs::path& part) {
  const auto path = path_of(digest);
  make_folder(path.parent_path());
  const bool is_new = !has(digest);
  if (is_new) set_arriving(digest, true);
  try {
    move_in(part, path);
  } catch (...) {
    if (is_new) set_arriving(digest, false);
    throw;
  }
  sync_path(path.parent_path());
  if (is_new) set_arriving(digest, false);
}

bool FolderShelf::rename_in(const fs::path& part, const fs::path& path) {
  const std::lock_guard lock(renaming_);
  return ::rename(part.c_str(), path.c_str()) == 0;
}

void FolderShelf::move_in(const fs::path& part, const fs::path& path) {
  if (rename_in(part, path)) return;
  if (errno != EXDEV) throw_io_error("rename", path, errno);
  const auto copy = incoming_ / random_uuid();
  std::error_code ignored;
  try {
    copy_durably(part, copy);
    if (!rename_in(copy, path)) throw_io_error("rename", path, errno);
  } catch (...) {
    fs::remove(copy, ignored);
    throw;
  }
  fs::remove(part, ignored);
}

std::uint64_t FolderShelf::remove_older(const Digest& digest, fs::file_time_type before) {
  const std::lock_guard lock(renaming_);
  std::error_code gone;
  const auto path = path_of(digest);
  const auto written = fs::last_write_time(path, gone);
  if (gone || written >= before) return 0;
  const auto bytes = fs::file_size(path, gone);
  return !gone && fs::remove(path) ? bytes : 0;
}

std::uint64_t FolderShelf::forget_unfinished(fs::file_time_type before) {
  return remove_older_files(incoming_, before);
}

std::string FolderShelf::set_aside(const Digest& digest) {
  std::error_code ignored;
  fs::rename(path_of(digest), corrupt_ / digest.hex(), ignored);
  return corrupt_.string();
}

std::string FolderShelf::owner() const {
  return fs::exists(owner_) ? read_file(owner_, 4096) : "";
}

void FolderShelf::set_owner(const std::string& database) {
  const auto file = incoming_ / random_uuid();
  write_file_atomic(file, database);
  const bool linked = ::link(file.c_str(), owner_.c_str()) == 0;
  const int error = errno;
  std::error_code ignored;
  fs::remove(file, ignored);
  if (!linked && error != EEXIST) throw_io_error("create", owner_, error);
  sync_path(owner_.parent_path());
}

}  // namespace wring
