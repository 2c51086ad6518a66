// Files on disk or in chunks, seen alike.
#include "formats/file_tree.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "formats/model_kind.h"

namespace wring {

namespace fs = std::filesystem;

FileView::FileView(std::string name, std::vector<std::shared_ptr<const MappedFile>> pieces)
    : name_(std::move(name)), pieces_(std::move(pieces)) {
  for (const auto& piece : pieces_) {
    starts_.push_back(size_);
    size_ += piece->bytes().size();
  }
}

Bytes FileView::read(std::uint64_t offset, std::uint64_t length) const {
  if (offset > size_ || length > size_ - offset)
    throw Error(ErrorCode::kDataLoss, "TRUNCATED_FILE",
                name_ + " ends at byte " + std::to_string(size_) + ", bytes " + std::to_string(offset) +
                    " to " + std::to_string(offset) + "+" + std::to_string(length) + " were asked for");
  if (length == 0) return {};
  auto index =
      static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin()) -
      1;
  const auto within = offset - starts_[index];
  const auto& file = pieces_[index];
  if (length <= file->bytes().size() - within) {
    const auto part = file->bytes().subspan(within, length);
    return {part, {part.data(), [file, part](const void*) { file->let_go(part); }}};
  }
  const auto copy = std::make_shared<std::vector<std::byte>>(length);
  for (std::uint64_t filled = 0, start = within; filled < length; ++index, start = 0) {
    const auto piece = pieces_[index]->bytes().subspan(start);
    const auto count = std::min<std::uint64_t>(piece.size(), length - filled);
    std::memcpy(copy->data() + filled, piece.data(), count);
    filled += count;
  }
  return {*copy, copy};
}

namespace {

void add_checked(std::map<std::string, std::vector<fs::path>>& files, const std::string& name,
                 const fs::path& path) {
  if (!is_safe_relative_path(name))
    throw Error(ErrorCode::kInvalidArgument, "UNSAFE_PATH",
                "the file name '" + name + "' cannot be part of an artifact", "",
                "Rename it: no control characters, no backslash, at most 1,024 bytes.");
  files[name] = {path};
}

void add_folder(std::map<std::string, std::vector<fs::path>>& files, const fs::path& folder,
                const std::string& prefix, int depth) {
  constexpr int kMaxDepth = 32;
  constexpr std::size_t kMaxFiles = 100'000;
  if (depth > kMaxDepth || files.size() > kMaxFiles)
    throw Error(ErrorCode::kInvalidArgument, "TREE_TOO_LARGE",
                folder.string() + " is deeper than 32 folders or holds more than 100,000 files");
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.')) continue;
    if (entry.is_directory() && !entry.is_symlink())
      add_folder(files, entry.path(), prefix + name + "/", depth + 1);
    else if (entry.is_regular_file())
      add_checked(files, prefix + name, entry.path());
  }
}

}  // namespace

FileTree FileTree::on_disk(const fs::path& path) {
  FileTree tree;
  tree.origin_ = path.string();
  std::error_code failed;
  const auto status = fs::status(path, failed);
  if (fs::is_regular_file(status)) {
    add_checked(tree.files_, path.filename().string(), path);
    for (const auto& name : external_weights(path.filename().string()))
      if (const auto file = path.parent_path() / name; fs::is_regular_file(file, failed))
        add_checked(tree.files_, name, file);
  } else if (fs::is_directory(status)) {
    add_folder(tree.files_, path, "", 0);
  } else {
    throw Error(ErrorCode::kNotFound, "NO_SUCH_FILE", "there is no file or folder " + path.string());
  }
  return tree;
}

FileTree FileTree::from_chunks(const Manifest& manifest, const fs::path& blobs) {
  FileTree tree;
  tree.origin_ = "artifact " + manifest.digest().hex().substr(0, 12);
  for (const auto& file : manifest.files) {
    auto& pieces = tree.files_[file.path];
    for (const auto& chunk : file.chunks) pieces.push_back(blob_path(blobs, chunk.digest));
  }
  return tree;
}

std::vector<std::string> FileTree::paths() const {
  std::vector<std::string> names;
  for (const auto& [name, pieces] : files_) names.push_back(name);
  return names;
}

bool FileTree::has(const std::string& path) const {
  return files_.contains(path);
}

const std::vector<fs::path>& FileTree::pieces(const std::string& path) const {
  const auto it = files_.find(path);
  if (it == files_.end())
    throw Error(ErrorCode::kNotFound, "NO_SUCH_FILE", origin_ + " holds no file " + path);
  return it->second;
}

FileView FileTree::open(const std::string& path) const {
  std::vector<std::shared_ptr<const MappedFile>> mapped;
  for (const auto& piece : pieces(path)) mapped.push_back(MappedFile::open(piece));
  return FileView(path, std::move(mapped));
}

fs::path blob_path(const fs::path& blobs, const Digest& digest) {
  const std::string hex = digest.hex();
  return blobs / hex.substr(0, 2) / hex;
}

}  // namespace wring
