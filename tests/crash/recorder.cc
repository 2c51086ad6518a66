// libc's calls on files, each carried out and written down under one lock.
#include "tests/crash/recorder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <mutex>
#include <unordered_map>

#include "tests/interpose.h"

namespace wring::crash {
namespace {

namespace fs = std::filesystem;

struct Log {
  std::mutex mutex;
  bool recording = false;
  std::string root;  // with a slash at its end
  std::vector<Call> calls;
  std::unordered_map<std::uint64_t, std::uint64_t> files;  // inode -> number
  std::uint64_t next_file = 1;
};

Log& log() {
  static Log* const kept = new Log;  // calls come until the very end
  return *kept;
}

// The path below the root; nothing for others, and for what is left out.
std::optional<std::string> below_root(const std::string& path) {
  if (!log().recording || path.ends_with("-shm")) return std::nullopt;
  if (path + "/" == log().root) return "";
  if (!path.starts_with(log().root)) return std::nullopt;
  return path.substr(log().root.size());
}

std::optional<std::string> path_of(int fd) {
  if (!log().recording) return std::nullopt;
  return below_root(path_behind(fd));
}

// The file behind `fd`, whatever it is called by now.
std::uint64_t number_of(int fd) {
  struct stat status {};
  ::fstat(fd, &status);
  const auto [it, is_new] = log().files.emplace(status.st_ino, log().next_file);
  if (is_new) ++log().next_file;
  return it->second;
}

void keep(Call::Kind kind, std::uint64_t file, std::string path, std::string to = {},
          std::uint64_t offset = 0, std::string bytes = {}) {
  log().calls.push_back({kind, file, std::move(path), std::move(to), offset, std::move(bytes)});
}

void forget_inode(const char* path) {
  struct stat status {};
  if (::lstat(path, &status) == 0) log().files.erase(status.st_ino);
}

int open_file(const char* name, const char* path, int flags, mode_t mode) {
  const std::lock_guard lock(log().mutex);
  const auto inside = below_root(path);
  const bool is_new = inside && (flags & O_CREAT) != 0 && ::access(path, F_OK) != 0;
  const int fd = real<int(const char*, int, ...)>(name)(path, flags, mode);
  if (!inside || fd < 0) return fd;
  if (is_new) {
    keep(Call::Kind::kCreate, number_of(fd), *inside);
  } else if ((flags & O_TRUNC) != 0) {
    keep(Call::Kind::kTruncate, number_of(fd), *inside);
  }
  return fd;
}

template <typename Write>
ssize_t write_file(int fd, const void* data, off_t offset, const Write& write) {
  const std::lock_guard lock(log().mutex);
  const auto inside = path_of(fd);
  const auto at = inside && offset < 0 ? ::lseek(fd, 0, SEEK_CUR) : offset;
  const ssize_t written = write();
  if (inside && written > 0)
    keep(Call::Kind::kWrite, number_of(fd), *inside, "", static_cast<std::uint64_t>(at),
         {static_cast<const char*>(data), static_cast<std::size_t>(written)});
  return written;
}

int sync_file(const char* name, int fd) {
  const std::lock_guard lock(log().mutex);
  const int result = real<int(int)>(name)(fd);
  struct stat status {};
  if (const auto inside = path_of(fd); inside && result == 0 && ::fstat(fd, &status) == 0) {
    if (S_ISDIR(status.st_mode))
      keep(Call::Kind::kSyncFolder, 0, *inside);
    else
      keep(Call::Kind::kSync, number_of(fd), *inside);
  }
  return result;
}

int truncate_file(const char* name, int fd, off_t size) {
  const std::lock_guard lock(log().mutex);
  const auto inside = path_of(fd);
  const int result = real<int(int, off_t)>(name)(fd, size);
  if (inside && result == 0)
    keep(Call::Kind::kTruncate, number_of(fd), *inside, "", static_cast<std::uint64_t>(size));
  return result;
}

int remove_name(const char* name, const char* path) {
  const std::lock_guard lock(log().mutex);
  const auto inside = below_root(path);
  if (inside) forget_inode(path);  // its number in the file system may be given again
  const int result = real<int(const char*)>(name)(path);
  if (inside && result == 0) keep(Call::Kind::kRemove, 0, *inside);
  return result;
}

}  // namespace

Recorder::Recorder(const fs::path& root, const Disk& disk) {
  const std::lock_guard lock(log().mutex);
  log().root = root.string() + "/";
  log().calls.clear();
  log().files.clear();
  log().next_file = disk.next_file();
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    struct stat status {};
    const auto number = disk.find(entry.path().lexically_relative(root).string());
    if (number && ::lstat(entry.path().c_str(), &status) == 0) log().files.emplace(status.st_ino, *number);
  }
  log().recording = true;
}

Recorder::~Recorder() {
  const std::lock_guard lock(log().mutex);
  log().recording = false;
}

std::size_t Recorder::count() const {
  const std::lock_guard lock(log().mutex);
  return log().calls.size();
}

std::vector<Call> Recorder::calls() const {
  const std::lock_guard lock(log().mutex);
  return log().calls;
}

}  // namespace wring::crash

using namespace wring::crash;
using wring::real;

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_file("open", path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_file("open64", path, flags, mode);
}
ssize_t write(int fd, const void* data, size_t size) {
  return write_file(fd, data, -1,
                    [&] { return real<ssize_t(int, const void*, size_t)>("write")(fd, data, size); });
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return write_file(fd, data, offset, [&] {
    return real<ssize_t(int, const void*, size_t, off_t)>("pwrite")(fd, data, size, offset);
  });
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return write_file(fd, data, offset, [&] {
    return real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64")(fd, data, size, offset);
  });
}
int fsync(int fd) {
  return sync_file("fsync", fd);
}
int fdatasync(int fd) {
  return sync_file("fdatasync", fd);
}
int ftruncate(int fd, off_t size) noexcept {
  return truncate_file("ftruncate", fd, size);
}
int ftruncate64(int fd, off64_t size) noexcept {
  return truncate_file("ftruncate64", fd, size);
}
int unlink(const char* path) noexcept {
  return remove_name("unlink", path);
}
int remove(const char* path) noexcept {
  return remove_name("remove", path);
}
int rmdir(const char* path) noexcept {
  return remove_name("rmdir", path);
}
int rename(const char* from, const char* to) noexcept {
  const std::lock_guard lock(log().mutex);
  const auto inside = below_root(from), target = below_root(to);
  if (target) forget_inode(to);
  const int result = real<int(const char*, const char*)>("rename")(from, to);
  if (inside && target && result == 0) keep(Call::Kind::kRename, 0, *inside, *target);
  return result;
}
int mkdir(const char* path, mode_t mode) noexcept {
  const std::lock_guard lock(log().mutex);
  const int result = real<int(const char*, mode_t)>("mkdir")(path, mode);
  if (const auto inside = below_root(path); inside && result == 0) keep(Call::Kind::kMakeFolder, 0, *inside);
  return result;
}

}  // extern "C"
