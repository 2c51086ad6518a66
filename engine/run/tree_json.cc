// Where the chunks of a tree lie is read from the paths of its pieces.
#include "engine/run/tree_json.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/digest.h"
#include "formats/manifest.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWhat = "a tree of files";

}  // namespace

Json tree_to_json(const FileTree& tree) {
  Json files = Json::object();
  fs::path blobs, root;
  for (const auto& path : tree.paths()) {
    auto& digests = files[path] = Json::array();
    for (const auto& piece : tree.pieces(path)) {
      const std::string name = piece.filename().string();
      digests.push_back(name);
      const fs::path above = piece.parent_path().parent_path();
      if (name.size() == Digest().hex().size() && piece == above / name.substr(0, 2) / name) blobs = above;
      root = piece.string().substr(0, piece.string().size() - path.size());
    }
  }
  if (!blobs.empty() || root.empty()) return {{"blobs", blobs.string()}, {"files", files}};
  const std::string first = files.begin().key();
  const bool is_file =
      files.size() == 1 && first.find('/') == std::string::npos;  // or a folder that holds no other
  return {{"path", (is_file ? root / first : root).string()}};
}

FileTree tree_from_json(const Json& json) {
  if (json.contains("path")) return FileTree::on_disk(json_at<std::string>(json, "path", kWhat));
  Manifest manifest;
  for (const auto& [path, digests] :
       json_at<std::map<std::string, std::vector<std::string>>>(json, "files", kWhat)) {
    manifest.files.push_back({path, 0, {}});
    for (const auto& digest : digests) manifest.files.back().chunks.push_back({Digest::parse(digest), 0});
  }
  return FileTree::from_chunks(manifest, json_at<std::string>(json, "blobs", kWhat));
}

}  // namespace wring
