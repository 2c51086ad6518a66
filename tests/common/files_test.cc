// Files: a write is there whole or not at all, reads are bounded, unsafe names are refused.
#include "common/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <sstream>

#include "common/error.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

std::string reason_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.reason();
  }
  return "";
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(WriteFileAtomic, ReplacesTheWholeFileAndLeavesNothingElse) {
  const TempDir folder;
  const auto file = folder.path() / "f";
  write_file_atomic(file, "first, and longer");
  write_file_atomic(file, "second");
  EXPECT_EQ(read_file(file), "second");
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(WriteFileAtomic, ThatFailsKeepsTheOldContentAndLeavesNothing) {
  const TempDir folder;
  const auto blocked = folder.path() / "blocked";
  fs::create_directories(blocked / "inside");  // a file cannot be renamed over a folder that is not empty
  EXPECT_NE(reason_of([&] { write_file_atomic(blocked, "x"); }), "");
  EXPECT_TRUE(fs::is_directory(blocked / "inside"));
  EXPECT_EQ(entries(folder.path()), 1u);
  EXPECT_NE(reason_of([&] { write_file_atomic(folder.path() / "no" / "folder", "x"); }), "");
}

TEST(ReadFile, IsBoundedAndNamesWhatIsMissing) {
  const TempDir folder;
  const auto file = folder.path() / "f";
  write_file_atomic(file, std::string(100, 'x'));
  EXPECT_EQ(read_file(file, 100).size(), 100u);
  EXPECT_EQ(reason_of([&] { (void)read_file(file, 99); }), "FILE_TOO_LARGE");
  try {
    (void)read_file(folder.path() / "none");
    ADD_FAILURE() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_NE(error.message().find("none"), std::string::npos);
  }
}

TEST(IoError, TellsAFullDiskFromAMissingFile) {
  EXPECT_EQ(reason_of([] { throw_io_error("write", "f", ENOSPC); }), "DISK_FULL");
  try {
    throw_io_error("open", "f", EACCES);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kPermissionDenied);
  }
}

TEST(MappedFile, HoldsTheBytesAlsoOnceTheNameIsGone) {
  const TempDir folder;
  const auto file = folder.path() / "f", empty = folder.path() / "empty";
  write_file_atomic(file, "bytes");
  write_file_atomic(empty, "");
  const auto mapped = MappedFile::open(file);
  fs::remove(file);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(mapped->bytes().data()), mapped->bytes().size()),
            "bytes");
  EXPECT_TRUE(MappedFile::open(empty)->bytes().empty());
  EXPECT_THROW(MappedFile::open(file), Error);
}

TEST(FileDescriptor, ClosesOnceAndMoves) {
  int number = -1;
  {
    FileDescriptor first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    number = first.get();
    FileDescriptor second(std::move(first));
    EXPECT_FALSE(first);
    EXPECT_EQ(second.get(), number);
    EXPECT_NE(::fcntl(number, F_GETFD), -1);
  }
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

TEST(TempDir, IsGoneWithEverythingInIt) {
  fs::path path;
  {
    const TempDir folder;
    path = folder.path();
    fs::create_directories(path / "a/b");
    write_file_atomic(path / "a/b/c", "x");
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(SafeRelativePath, StaysInsideItsFolder) {
  for (const char* good : {"a", "a/b.txt", "weights/model-00001-of-00002.safetensors", "a..b", "\xc3\xa4"})
    EXPECT_TRUE(is_safe_relative_path(good)) << good;
  for (const std::string& bad :
       std::vector<std::string>{"", ".", "..", "../a", "a/../b", "a/./b", "/a", "a//b", "a/", "a\\b", "a\nb",
                                std::string("a\0b", 3), std::string(1025, 'a')})
    EXPECT_FALSE(is_safe_relative_path(bad)) << bad;
}

// Lets no file of this process grow beyond `bytes`; a write that would fails with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(WriteFileAtomic, ThatFailsHalfWayThroughKeepsTheOldContentAndLeavesNothing) {
  const TempDir folder;
  const auto file = folder.path() / "f";
  write_file_atomic(file, "old");
  std::string reason;
  {
    const FileSizeLimit limit(4096);
    reason = reason_of([&] { write_file_atomic(file, std::string(100'000, 'n')); });
  }
  EXPECT_EQ(reason, "IO_ERROR");
  EXPECT_EQ(read_file(file), "old");
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(WriteFileAtomic, LeavesAReaderOfTheOldFileItsContent) {
  const TempDir folder;
  const auto file = folder.path() / "f";
  write_file_atomic(file, "old");
  const auto mapped = MappedFile::open(file);
  write_file_atomic(file, "new");
  EXPECT_EQ(static_cast<char>(mapped->bytes()[0]), 'o');
  EXPECT_EQ(read_file(file), "new");
}

TEST(WriteFileAtomic, KeepsEveryByteAlsoThoseThatEndATextInC) {
  const TempDir folder;
  const std::string content("a\0\xff\n", 4);
  write_file_atomic(folder.path() / "f", content);
  EXPECT_EQ(read_file(folder.path() / "f"), content);
}

TEST(WriteAll, ToAFullDeviceSaysThatTheDiskIsFull) {
  const FileDescriptor full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full);
  const std::string text = "x";
  try {
    write_all(full.get(), std::as_bytes(std::span(text)), "/dev/full");
    ADD_FAILURE() << "was written";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "DISK_FULL");
    EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
    EXPECT_NE(error.message().find("/dev/full"), std::string::npos);
    EXPECT_NE(error.hint(), "");
  }
}

TEST(ReadFile, ReadsAndBoundsFilesThatReportNoSize) {
  EXPECT_NE(read_file("/proc/self/status").find("VmRSS"), std::string::npos);
  EXPECT_EQ(reason_of([] { (void)read_file("/proc/self/status", 1); }), "FILE_TOO_LARGE");
}

TEST(ReadFile, RefusesAFolder) {
  const TempDir folder;
  EXPECT_EQ(reason_of([&] { (void)read_file(folder.path()); }), "IO_ERROR");
  EXPECT_EQ(reason_of([&] { (void)MappedFile::open(folder.path()); }), "IO_ERROR");
}

TEST(SyncPath, TakesFilesAndFoldersAndNamesWhatIsMissing) {
  const TempDir folder;
  write_file_atomic(folder.path() / "f", "x");
  EXPECT_NO_THROW(sync_path(folder.path() / "f"));
  EXPECT_NO_THROW(sync_path(folder.path()));
  EXPECT_EQ(reason_of([&] { sync_path(folder.path() / "none"); }), "NO_SUCH_FILE");
}

// This process's resident bytes that come from files: the third number of statm.
std::size_t resident_file_bytes() {
  std::istringstream statm(read_file("/proc/self/statm"));
  std::size_t total = 0, resident = 0, shared = 0;
  statm >> total >> resident >> shared;
  return shared * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(MappedFile, LetsGoOfMemoryButNotOfBytes) {
  constexpr std::size_t kSize = 8 << 20;
  const TempDir folder;
  std::string content(kSize, '\0');
  for (std::size_t i = 0; i < kSize; ++i) content[i] = static_cast<char>(i * 7 + i / 4096);
  write_file_atomic(folder.path() / "f", content);
  const auto mapped = MappedFile::open(folder.path() / "f");
  const auto whole = [&] {
    return std::string_view(reinterpret_cast<const char*>(mapped->bytes().data()), mapped->bytes().size());
  };
  EXPECT_TRUE(whole() == content);
  const std::size_t held = resident_file_bytes();
  mapped->let_go(mapped->bytes().subspan(100, kSize - 200));  // off the pages' borders on both sides
  EXPECT_LE(resident_file_bytes() + kSize / 2, held);
  EXPECT_TRUE(whole() == content);
  mapped->let_go(mapped->bytes().subspan(0, 0));
  EXPECT_TRUE(whole() == content);
}

// Pages come in folios: the last page of one piece brings back those of the one before.
TEST(MappedFile, LetsGoOfAllPiecesThatAreReadOneAfterTheOther) {
  constexpr std::size_t kSize = 32 << 20, kPiece = 100'000;
  const TempDir folder;
  write_file_atomic(folder.path() / "f", std::string(kSize, 'x'));
  const auto mapped = MappedFile::open(folder.path() / "f");
  const std::size_t before = resident_file_bytes();
  for (std::size_t at = 0; at < kSize; at += kPiece) {
    const auto piece = mapped->bytes().subspan(at, std::min(kPiece, kSize - at));
    EXPECT_EQ(std::count(piece.begin(), piece.end(), std::byte{'x'}), static_cast<long>(piece.size()));
    mapped->let_go(piece);
  }
  EXPECT_LE(resident_file_bytes(), before + (5u << 20));
}

TEST(FileDescriptor, ClosesWhatItHeldWhenItIsGivenAnotherAndNotWhatItReleased) {
  const auto open_null = [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); };
  FileDescriptor held(open_null());
  const int first = held.get();
  held = FileDescriptor(open_null());
  EXPECT_EQ(::fcntl(first, F_GETFD), -1);
  const int second = held.release();
  EXPECT_FALSE(held);
  held.reset();
  EXPECT_NE(::fcntl(second, F_GETFD), -1);
  FileDescriptor again(second);
  again.reset();
  EXPECT_EQ(::fcntl(second, F_GETFD), -1);
}

TEST(TempDir, IsFreshAndBelowTheParentThatIsNamed) {
  const TempDir parent;
  const TempDir a(parent.path()), b(parent.path());
  EXPECT_EQ(a.path().parent_path(), parent.path());
  EXPECT_NE(a.path(), b.path());
  EXPECT_EQ(entries(a.path()), 0u);
  EXPECT_EQ(reason_of([&] { const TempDir c(parent.path() / "none"); }), "NO_SUCH_FILE");
}

TEST(SafeRelativePath, HasComponentsThatAFileSystemTakes) {
  EXPECT_TRUE(is_safe_relative_path(std::string(255, 'a') + "/" + std::string(255, 'b')));
  EXPECT_FALSE(is_safe_relative_path("a/" + std::string(256, 'b')));
  std::string longest = "a";
  while (longest.size() < 1024) longest += longest.size() % 2 ? "/" : "a";
  EXPECT_FALSE(is_safe_relative_path(longest));  // ends in a slash
  longest.back() = 'a';
  EXPECT_TRUE(is_safe_relative_path(longest));
  EXPECT_FALSE(is_safe_relative_path(longest + "a"));
  EXPECT_FALSE(is_safe_relative_path("a\x7f"));
}

TEST(IoError, HasTheCodeThatStandsForTheSystems) {
  const auto code_of = [](int number) {
    try {
      throw_io_error("open", "some/file", number);
    } catch (const Error& error) {
      EXPECT_NE(error.message().find("cannot open some/file"), std::string::npos);
      return error.code();
    }
  };
  EXPECT_EQ(code_of(ENOENT), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(ENOTDIR), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(EROFS), ErrorCode::kPermissionDenied);
  EXPECT_EQ(code_of(EDQUOT), ErrorCode::kResourceExhausted);
  EXPECT_EQ(code_of(ENOMEM), ErrorCode::kResourceExhausted);
  EXPECT_EQ(code_of(EIO), ErrorCode::kInternal);
}

}  // namespace
}  // namespace wring
