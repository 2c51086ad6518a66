// A folder of files that may lie on disk as they are, or as an artifact's chunks; readers see no difference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/files.h"
#include "formats/manifest.h"

namespace wring {

// Some bytes and whatever keeps them alive (a mapping, or a copy).
struct Bytes {
  std::span<const std::byte> data;
  std::shared_ptr<const void> owner;
  std::string_view text() const { return {reinterpret_cast<const char*>(data.data()), data.size()}; }
};

// One file: one or several mapped pieces, in order. Cheap to copy; any thread may read it.
class FileView {
 public:
  FileView(std::string name, std::vector<std::shared_ptr<const MappedFile>> pieces);

  const std::string& name() const { return name_; }  // for messages
  std::uint64_t size() const { return size_; }

  // Bytes [offset, offset + length): a view into the mapping where they lie in one piece, else a copy. With
  // the last copy of `Bytes` the pages are let go: what was read once is no memory of this process. Throws
  // Error(kDataLoss, "TRUNCATED_FILE") where the file ends before.
  Bytes read(std::uint64_t offset, std::uint64_t length) const;
  Bytes read_all() const { return read(0, size_); }

 private:
  std::string name_;
  std::vector<std::shared_ptr<const MappedFile>> pieces_;
  std::vector<std::uint64_t> starts_;
  std::uint64_t size_ = 0;
};

// Immutable list of files by relative path. Cheap to copy.
class FileTree {
 public:
  // All regular files below `folder` (names that start with '.' are left out; symbolic links to files are
  // followed), or, where `path` is a file, that one file under its own name. Throws kNotFound where there is
  // nothing, kInvalidArgument "UNSAFE_PATH" for a name that no artifact may hold.
  static FileTree on_disk(const std::filesystem::path& path);

  // An artifact whose chunks lie in `blobs` as BLOBS/ab/abcdef...(64 hex). Missing chunks throw kNotFound at
  // open().
  static FileTree from_chunks(const Manifest& manifest, const std::filesystem::path& blobs);

  std::vector<std::string> paths() const;  // sorted
  bool has(const std::string& path) const;
  FileView open(const std::string& path) const;  // throws kNotFound "NO_SUCH_FILE" naming path and the tree
  // The files on disk that lie end to end in `path`. Throws as open() does.
  const std::vector<std::filesystem::path>& pieces(const std::string& path) const;
  const std::string& origin() const { return origin_; }  // where it came from, for messages

 private:
  std::string origin_;
  std::map<std::string, std::vector<std::filesystem::path>> files_;  // path -> pieces
};

// Where the chunk `digest` lies below a blob folder.
std::filesystem::path blob_path(const std::filesystem::path& blobs, const Digest& digest);

}  // namespace wring
