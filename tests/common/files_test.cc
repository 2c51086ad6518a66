// Files: a write is there whole or not at all, reads are bounded, unsafe names are refused.
#include "common/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

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

}  // namespace
}  // namespace wring
