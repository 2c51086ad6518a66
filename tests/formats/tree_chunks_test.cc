// Chunks of a tree: each once, with the bytes that its digest says.
#include "formats/tree_chunks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/formats/test_files.h"

namespace wring {
namespace {

TEST(TreeChunks, HoldEachChunkOnceWithItsBytes) {
  const TempDir folder;
  const std::string large(40u << 20, 'x');  // three chunks, of which the first two are equal
  write_file_atomic(folder.path() / "a", large);
  write_file_atomic(folder.path() / "b", "b");
  write_file_atomic(folder.path() / "copy", "b");
  const auto manifest = build_manifest(folder.path(), "dataset");
  const TreeChunks chunks(folder.path(), manifest);
  ASSERT_EQ(chunks.chunks().size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto bytes = chunks.read(i);
    EXPECT_EQ(bytes.data.size(), chunks.chunks()[i].size);
    EXPECT_EQ(sha256(bytes.data), chunks.chunks()[i].digest);
  }
  EXPECT_EQ(chunks.read(2).text(), "b");
}

TEST(TreeChunks, OfOneFileAreReadWhereItLies) {
  const TempDir folder;
  write_file_atomic(folder.path() / "text.txt", "some text");
  const auto file = folder.path() / "text.txt";
  EXPECT_EQ(TreeChunks(file, build_manifest(file, "dataset")).read(0).text(), "some text");
}

}  // namespace
}  // namespace wring
