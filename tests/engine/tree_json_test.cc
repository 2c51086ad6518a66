// Trees of files that one engine tells another of.
#include "engine/run/tree_json.h"

#include <gtest/gtest.h>

#include "common/error.h"
#include "common/files.h"
#include "formats/manifest.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

// Whether both hold the same files.
void expect_same(const FileTree& told, const FileTree& tree) {
  ASSERT_EQ(told.paths(), tree.paths());
  for (const auto& path : tree.paths())
    EXPECT_EQ(told.open(path).read_all().text(), tree.open(path).read_all().text()) << path;
}

FileTree after_travel(const FileTree& tree) {
  return tree_from_json(parse_json(tree_to_json(tree).dump(), "told"));
}

TEST(TreeJson, AFolderAndAFileAreTheSameAfterwards) {
  const TempDir folder;
  fs::create_directories(folder.path() / "sub");
  write_file_atomic(folder.path() / "sub" / "a", "one");
  expect_same(after_travel(FileTree::on_disk(folder.path() / "sub")),
              FileTree::on_disk(folder.path() / "sub"));
  expect_same(after_travel(FileTree::on_disk(folder.path())), FileTree::on_disk(folder.path()));
  write_file_atomic(folder.path() / "b", "two");
  expect_same(after_travel(FileTree::on_disk(folder.path())), FileTree::on_disk(folder.path()));
  expect_same(after_travel(FileTree::on_disk(folder.path() / "b")), FileTree::on_disk(folder.path() / "b"));
}

TEST(TreeJson, ChunksAreFoundWhereTheyLie) {
  const TempDir blobs;
  Manifest manifest{"model", {{"sub/a", 6, {}}}, Json::object()};
  for (const std::string piece : {"one", "two"}) {
    const fs::path path = blob_path(blobs.path(), sha256(piece));
    fs::create_directories(path.parent_path());
    write_file_atomic(path, piece);
    manifest.files.front().chunks.push_back({sha256(piece), 3});
  }
  const auto tree = FileTree::from_chunks(manifest, blobs.path());
  const auto told = after_travel(tree);
  expect_same(told, tree);
  EXPECT_EQ(told.open("sub/a").read_all().text(), "onetwo");
}

TEST(TreeJson, FilesWithoutBytesHaveNoChunks) {
  const auto tree = FileTree::from_chunks({"model", {{"empty", 0, {}}}, Json::object()}, "nowhere");
  expect_same(after_travel(tree), tree);
}

TEST(TreeJson, WhatIsNoTreeIsRefused) {
  EXPECT_THROW((void)tree_from_json(Json::object()), Error);
  EXPECT_THROW((void)tree_from_json({{"blobs", "/tmp"}, {"files", 3}}), Error);
  EXPECT_THROW((void)tree_from_json({{"blobs", "/tmp"}, {"files", {{"a", {"not a digest"}}}}}), Error);
}

}  // namespace
}  // namespace wring
