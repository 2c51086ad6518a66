// Files on a POSIX system: mapped reading, and writing that survives a crash at any instruction.
#include "common/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <utility>

#include "common/error.h"
#include "common/ids.h"

namespace wring {

namespace fs = std::filesystem;

FileDescriptor::~FileDescriptor() {
  reset();
}
FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}
int FileDescriptor::release() {
  return std::exchange(fd_, -1);
}
void FileDescriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void throw_io_error(std::string_view action, const fs::path& path, int error_number) {
  const std::string message =
      "cannot " + std::string(action) + " " + path.string() + ": " + std::strerror(error_number);
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      throw Error(ErrorCode::kNotFound, "NO_SUCH_FILE", message);
    case EACCES:
    case EPERM:
    case EROFS:
      throw Error(ErrorCode::kPermissionDenied, "NO_ACCESS", message);
    case ENOSPC:
    case EDQUOT:
      throw Error(ErrorCode::kResourceExhausted, "DISK_FULL", message, "",
                  "Free disk space there and try again.");
    case ENOMEM:
      throw Error(ErrorCode::kResourceExhausted, "OUT_OF_MEMORY", message);
    default:
      throw Error(ErrorCode::kInternal, "IO_ERROR", message);
  }
}

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw_io_error("open", path, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw_io_error("stat", path, errno);
  if (S_ISDIR(status.st_mode)) throw_io_error("read", path, EISDIR);
  const auto refuse_larger = [&](std::uint64_t size) {
    if (size > max_bytes)
      throw Error(ErrorCode::kResourceExhausted, "FILE_TOO_LARGE",
                  path.string() + " is larger than the " + std::to_string(max_bytes) + " bytes allowed here");
  };
  refuse_larger(static_cast<std::uint64_t>(status.st_size));
  std::string content;
  content.reserve(static_cast<std::size_t>(status.st_size));
  char buffer[1 << 16];
  for (;;) {  // by read, not by size: /proc and pipes report none
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io_error("read", path, errno);
    if (n == 0) return content;
    refuse_larger(content.size() + static_cast<std::size_t>(n));
    content.append(buffer, static_cast<std::size_t>(n));
  }
}

void write_all(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io_error("write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void sync_path(const fs::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw_io_error("open", path, errno);
  if (::fsync(fd.get()) != 0) throw_io_error("fsync", path, errno);
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  const auto name = path_.filename().string().substr(0, 200);  // names end at 255 bytes
  temporary_ = path_.parent_path() / ("." + name + "." + random_id(8) + ".tmp");
  fd_ = FileDescriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd_) throw_io_error("create", temporary_, errno);
}

AtomicFile::~AtomicFile() {
  if (fd_) ::unlink(temporary_.c_str());
}

// The disk begins with a piece while the next is made, so that fsync has less to wait for.
void AtomicFile::write(std::span<const std::byte> bytes) {
  constexpr std::size_t kPiece = 8u << 20;
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kPiece));
    write_all(fd_.get(), piece, temporary_);
    written_ += piece.size();
    if (written_ - begun_ >= kPiece) {
      (void)::sync_file_range(fd_.get(), static_cast<off64_t>(begun_),
                              static_cast<off64_t>(written_ - begun_),
                              SYNC_FILE_RANGE_WRITE);  // a hint: commit() asks for the promise
      begun_ = written_;
    }
    bytes = bytes.subspan(piece.size());
  }
}

void AtomicFile::commit(Durability durability) {
  const bool synced = durability == Durability::kMachine;
  if (synced && ::fsync(fd_.get()) != 0) throw_io_error("fsync", temporary_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_io_error("rename", path_, errno);
  fd_.reset();
  if (synced) sync_path(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
}

void write_file_atomic(const fs::path& path, std::string_view content, Durability durability) {
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(content)));
  file.commit(durability);
}

std::string boot_id() {
  return read_file("/proc/sys/kernel/random/boot_id");
}

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw_io_error("open", path, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw_io_error("stat", path, errno);
  if (!S_ISREG(status.st_mode)) throw_io_error("map", path, S_ISDIR(status.st_mode) ? EISDIR : EINVAL);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return std::shared_ptr<const MappedFile>(new MappedFile(nullptr, 0));
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) throw_io_error("map", path, errno);
  return std::shared_ptr<const MappedFile>(new MappedFile(static_cast<const std::byte*>(data), size));
}

namespace {

// Addresses in mappings that were let go. One page that is read brings back all pages of its folio, 2 MiB
// since Linux 6.18, neighbours that nobody needs any more among them.
class Gone {
 public:
  // Adds addresses and returns what is gone around them, as far as folios reach.
  std::pair<std::uintptr_t, std::uintptr_t> add(std::uintptr_t begin, std::uintptr_t end) {
    constexpr std::uintptr_t kReach = 4u << 20;
    const std::lock_guard lock(mutex_);
    const auto from = begin - std::min(begin, kReach), to = end + kReach;
    auto next = ranges_.upper_bound(begin);
    if (next != ranges_.begin() && std::prev(next)->second >= begin) --next;
    for (; next != ranges_.end() && next->first <= end; next = ranges_.erase(next)) {
      begin = std::min(begin, next->first);
      end = std::max(end, next->second);
    }
    ranges_.emplace(begin, end);
    return {std::max(begin, from), std::min(end, to)};
  }

  void remove(std::uintptr_t begin, std::uintptr_t end) {
    const std::lock_guard lock(mutex_);
    auto next = ranges_.lower_bound(begin);
    if (next != ranges_.begin()) {
      const auto before = std::prev(next);
      if (before->second > end) ranges_.emplace(end, before->second);
      before->second = std::min(before->second, begin);
    }
    for (; next != ranges_.end() && next->first < end; next = ranges_.erase(next))
      if (next->second > end) ranges_.emplace(end, next->second);
  }

 private:
  std::mutex mutex_;
  std::map<std::uintptr_t, std::uintptr_t> ranges_;  // begin -> end, apart from each other
};

Gone& gone() {
  static Gone ranges;
  return ranges;
}

}  // namespace

void MappedFile::let_go(std::span<const std::byte> part) const {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  if (part.empty()) return;
  const auto start = reinterpret_cast<std::uintptr_t>(part.data()),
             first = reinterpret_cast<std::uintptr_t>(data_), last = first + size_;
  auto [begin, end] = gone().add(start / page * page, start + part.size());
  begin = std::max(begin, first);  // never what lies beside this mapping
  end = std::min(end, last);
  (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (!data_) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(data_);
  gone().remove(begin, begin + size_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

TempDir::TempDir(const fs::path& parent) {
  auto pattern = ((parent.empty() ? fs::temp_directory_path() : parent) / "wring-XXXXXX").string();
  if (!::mkdtemp(pattern.data())) throw_io_error("create a folder", pattern, errno);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

bool is_safe_relative_path(std::string_view path) {
  if (path.empty() || path.size() > 1024) return false;
  const auto unsafe = [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; };
  if (std::any_of(path.begin(), path.end(), unsafe)) return false;
  while (true) {
    const auto slash = path.find('/');
    const auto component = path.substr(0, slash);
    if (component.empty() || component == "." || component == ".." || component.size() > 255) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

std::filesystem::path without_slash(const std::filesystem::path& path) {
  const auto plain = path.lexically_normal();
  return plain.has_filename() ? plain : plain.parent_path();
}

}  // namespace wring
