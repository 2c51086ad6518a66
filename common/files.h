// Files: read whole, mapped, and written so that a crash leaves the old file or the new one, never half.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace wring {

// A file descriptor that closes itself. Movable; -1 is "none".
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// Throws Error for the operating-system error `error_number` of `action` on `path`: kNotFound,
// kPermissionDenied, kResourceExhausted ("DISK_FULL") or kInternal ("IO_ERROR").
[[noreturn]] void throw_io_error(std::string_view action, const std::filesystem::path& path,
                                 int error_number);

// The whole file. Refuses one larger than `max_bytes` (Error kResourceExhausted, "FILE_TOO_LARGE").
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes = 64u << 20);

// What a written file outlives: the machine's death (fsync of file and folder), or this process's alone.
enum class Durability { kMachine, kProcess };

// A file that has its name only once it is whole: written beside `path`, then renamed over it.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();  // without commit() nothing is left of it
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void commit(Durability durability = Durability::kMachine);

 private:
  std::filesystem::path path_, temporary_;
  FileDescriptor fd_;
  std::uint64_t written_ = 0, begun_ = 0;  // bytes; of these the disk has begun to write
};

void write_file_atomic(const std::filesystem::path& path, std::string_view content,
                       Durability durability = Durability::kMachine);

// A name of this boot of the machine: what Durability::kProcess wrote is whole while it stays the same.
std::string boot_id();

// write(2) until all is written. Throws as throw_io_error.
void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

// fsync of a file or a folder by its path.
void sync_path(const std::filesystem::path& path);

// A whole file, mapped read-only. Immutable, so any thread may read it; the bytes live as long as the object.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Says that `part` of bytes() is not needed for now: its pages no longer count as this process's memory,
  // and come back from the file when they are read again. Safe while others read them.
  void let_go(std::span<const std::byte> part) const;

 private:
  MappedFile(const std::byte* data, std::size_t size) : data_(data), size_(size) {}
  const std::byte* data_;
  std::size_t size_;
};

// A fresh folder below `parent` (the system's temporary folder by default), removed with everything in it at
// the end.
class TempDir {
 public:
  explicit TempDir(const std::filesystem::path& parent = {});
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Whether `path` is safe as a relative name inside an artifact: no "..", no ".", no absolute start, no
// backslash, no control character, no empty component, at most 1,024 bytes.
bool is_safe_relative_path(std::string_view path);

// The path in normal form, without the slash at its end: "a/../small/" is "small".
std::filesystem::path without_slash(const std::filesystem::path& path);

}  // namespace wring
