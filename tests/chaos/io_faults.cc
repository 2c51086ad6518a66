// Preloaded into a process, lets one in N of its calls on files below a folder fail with EIO while a switch
// file is there.
//
// WRING_IO_FAULTS=FOLDER:SWITCH:N:SEED. Calls: read, pread, write, pwrite, fsync, fdatasync, rename, and open
// for writing.
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "tests/interpose.h"

namespace {

using wring::real;

struct Settings {
  std::string folder, control;
  std::uint64_t one_in = 0, seed = 0;
};

Settings read_settings() {
  const char* text = std::getenv("WRING_IO_FAULTS");
  if (!text) return {};
  std::string rest = text;
  const auto last = [&rest] {
    const auto colon = rest.rfind(':');
    std::string value = rest.substr(colon + 1);
    rest.resize(colon == std::string::npos ? 0 : colon);
    return value;
  };
  Settings settings;
  settings.seed = std::strtoull(last().c_str(), nullptr, 10);
  settings.one_in = std::strtoull(last().c_str(), nullptr, 10);
  settings.control = last();
  settings.folder = rest;
  return settings;
}

const Settings& settings() {
  static const Settings* const kept = new Settings(read_settings());  // calls come until the very end
  return *kept;
}

// One in N, from the seed (splitmix64 of a counter).
bool draw() {
  static std::atomic<std::uint64_t> calls{0};
  std::uint64_t x = settings().seed + ++calls * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return (x ^ (x >> 31)) % settings().one_in == 0;
}

bool fails(const char* path) {
  const auto& s = settings();
  if (s.one_in == 0 || ::access(s.control.c_str(), F_OK) != 0) return false;
  return std::string(path).starts_with(s.folder) && draw();
}

bool fails(int fd) {
  if (settings().one_in == 0 || ::access(settings().control.c_str(), F_OK) != 0) return false;
  return fails(wring::path_behind(fd).c_str());
}

// What `name` would return, or -1 with EIO.
template <typename Result, typename Target, typename... Rest>
Result call(const char* name, Target target, Rest... rest) {
  if (fails(target)) {
    errno = EIO;
    return -1;
  }
  return real<Result(Target, Rest...)>(name)(target, rest...);
}

int open_file(const char* name, const char* path, int flags, mode_t mode) {
  if ((flags & (O_WRONLY | O_RDWR)) == 0) return real<int(const char*, int, ...)>(name)(path, flags, mode);
  if (fails(path)) {
    errno = EIO;
    return -1;
  }
  return real<int(const char*, int, ...)>(name)(path, flags, mode);
}

}  // namespace

extern "C" {

ssize_t read(int fd, void* data, size_t size) {
  return call<ssize_t>("read", fd, data, size);
}
ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  return call<ssize_t>("pread", fd, data, size, offset);
}
ssize_t pread64(int fd, void* data, size_t size, off64_t offset) {
  return call<ssize_t>("pread64", fd, data, size, offset);
}
ssize_t write(int fd, const void* data, size_t size) {
  return call<ssize_t>("write", fd, data, size);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return call<ssize_t>("pwrite", fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return call<ssize_t>("pwrite64", fd, data, size, offset);
}
int fsync(int fd) {
  return call<int>("fsync", fd);
}
int fdatasync(int fd) {
  return call<int>("fdatasync", fd);
}
int rename(const char* from, const char* to) {
  return call<int>("rename", from, to);
}

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

}  // extern "C"
