// File trees: an artifact's chunks read like the folder they were cut from.
#include "formats/file_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/manifest.h"
#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

namespace fs = std::filesystem;

// `content` as a blob; its chunk.
Chunk store(const fs::path& blobs, std::string_view content) {
  const Chunk chunk{sha256(content), content.size()};
  fs::create_directories(blob_path(blobs, chunk.digest).parent_path());
  write_file_atomic(blob_path(blobs, chunk.digest), content);
  return chunk;
}

TEST(FileTree, OfChunksReadsLikeTheDiskAtEveryOffsetAndLength) {
  TempDir folder, blobs;
  const std::string content = "0123456789abcdefghij";
  fs::create_directories(folder.path() / "sub");
  write_file_atomic(folder.path() / "sub" / "f", content);
  const Manifest manifest{
      "dataset",
      {{"sub/f",
        content.size(),
        {store(blobs.path(), content.substr(0, 7)), store(blobs.path(), content.substr(7, 1)),
         store(blobs.path(), content.substr(8))}}},
      Json::object()};
  const FileTree disk = FileTree::on_disk(folder.path());
  const FileTree chunks = FileTree::from_chunks(manifest, blobs.path());
  EXPECT_EQ(disk.paths(), chunks.paths());
  const FileView a = disk.open("sub/f"), b = chunks.open("sub/f");
  ASSERT_EQ(b.size(), content.size());
  for (std::size_t offset = 0; offset <= content.size(); ++offset)
    for (std::size_t length = 0; offset + length <= content.size(); ++length) {
      ASSERT_EQ(a.read(offset, length).text(), content.substr(offset, length));
      ASSERT_EQ(b.read(offset, length).text(), content.substr(offset, length)) << offset << "+" << length;
    }
}

TEST(FileTree, BuiltFromAManifestOfAFolderEqualsTheFolder) {
  TempDir folder, blobs;
  const std::string large(17 << 20, 'x');
  write_file_atomic(folder.path() / "large", large);
  write_file_atomic(folder.path() / "empty", "");
  const Manifest manifest = build_manifest(folder.path(), "dataset");
  std::size_t at = 0;
  for (const auto& chunk : manifest.files[1].chunks) {
    store(blobs.path(), std::string_view(large).substr(at, chunk.size));
    at += chunk.size;
  }
  const FileTree tree = FileTree::from_chunks(manifest, blobs.path());
  EXPECT_EQ(manifest.files[1].chunks.size(), 2u);
  EXPECT_EQ(tree.open("large").read_all().text(), large);
  EXPECT_EQ(tree.open("empty").size(), 0u);
}

TEST(FileView, EndsWithAnErrorWhereTheFileEnds) {
  TempDir folder;
  const FileView view = view_of(folder, "f", "abc");
  EXPECT_EQ(error_of([&] { (void)view.read(0, 4); }).reason(), "TRUNCATED_FILE");
  EXPECT_EQ(error_of([&] { (void)view.read(4, 0); }).reason(), "TRUNCATED_FILE");
  EXPECT_EQ(error_of([&] { (void)view.read(1, ~std::uint64_t{0}); }).code(), ErrorCode::kDataLoss);
}

TEST(FileView, BytesOutliveTheViewAndTheFile) {
  TempDir folder;
  Bytes bytes;
  {
    const FileView view = view_of(folder, "f", "abc");
    bytes = view.read(1, 2);
  }
  fs::remove(folder.path() / "f");
  EXPECT_EQ(bytes.text(), "bc");
}

TEST(FileTree, OnDiskLeavesOutHiddenNamesAndFollowsLinksToFiles) {
  TempDir folder, elsewhere;
  write_file_atomic(elsewhere.path() / "target", "abc");
  write_file_atomic(folder.path() / ".hidden", "x");
  fs::create_symlink(elsewhere.path() / "target", folder.path() / "link");
  fs::create_directory_symlink(elsewhere.path(), folder.path() / "loop");
  const FileTree tree = FileTree::on_disk(folder.path());
  EXPECT_THAT(tree.paths(), ElementsAre("link"));
  EXPECT_EQ(tree.open("link").read_all().text(), "abc");
}

TEST(FileTree, OfOneFileHoldsItUnderItsOwnName) {
  TempDir folder;
  write_file_atomic(folder.path() / "m.gguf", "abc");
  EXPECT_THAT(FileTree::on_disk(folder.path() / "m.gguf").paths(), ElementsAre("m.gguf"));
  for (const char* name : {"m.onnx", "m.onnx.data", "n.onnx", "n.onnx_data", "n.onnx.data.old", "o.onnx"})
    write_file_atomic(folder.path() / name, name);
  EXPECT_THAT(FileTree::on_disk(folder.path() / "m.onnx").paths(), ElementsAre("m.onnx", "m.onnx.data"))
      << "its weights lie there";
  EXPECT_THAT(FileTree::on_disk(folder.path() / "n.onnx").paths(), ElementsAre("n.onnx", "n.onnx_data"));
  EXPECT_THAT(FileTree::on_disk(folder.path() / "o.onnx").paths(), ElementsAre("o.onnx"));
}

TEST(FileTree, SaysWhatIsMissingAndWhere) {
  TempDir folder, blobs;
  EXPECT_EQ(error_of([&] { (void)FileTree::on_disk(folder.path() / "none"); }).code(), ErrorCode::kNotFound);
  const FileTree tree = FileTree::on_disk(folder.path());
  const Error missing = error_of([&] { (void)tree.open("config.json"); });
  EXPECT_EQ(missing.reason(), "NO_SUCH_FILE");
  EXPECT_THAT(missing.message(), HasSubstr("config.json"));
  EXPECT_THAT(missing.message(), HasSubstr(folder.path().string()));
  const Manifest manifest{"dataset", {{"f", 3, {{sha256("abc"), 3}}}}, Json::object()};
  const FileTree chunks = FileTree::from_chunks(manifest, blobs.path());
  EXPECT_EQ(error_of([&] { (void)chunks.open("f"); }).code(), ErrorCode::kNotFound);
}

TEST(FileTree, RefusesNamesThatNoArtifactMayHold) {
  TempDir folder;
  write_file_atomic(folder.path() / "a\\b", "x");
  EXPECT_EQ(error_of([&] { (void)FileTree::on_disk(folder.path()); }).reason(), "UNSAFE_PATH");
}

}  // namespace
}  // namespace wring
