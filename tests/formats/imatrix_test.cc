// Importance matrices: both forms read alike, lies are refused by name, and what is written reads back.
#include "formats/imatrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// One entry of the old form: sums that llama-imatrix scaled to `calls` chunks.
ByteString& add_entry(ByteString& bytes, const std::string& name, std::int32_t calls,
                      const std::vector<float>& values) {
  bytes.add(static_cast<std::int32_t>(name.size())).text(name).add(calls);
  bytes.add(static_cast<std::int32_t>(values.size()));
  for (const float value : values) bytes.add(value);
  return bytes;
}

ByteString binary(std::int32_t entries) {
  return ByteString().add(entries);
}

Imatrix read(const std::string& content) {
  TempDir folder;
  return read_imatrix(view_of(folder, "imatrix.dat", content));
}

void expect_refused(const std::string& content, const std::string& field, const std::string& why) {
  const Error error = error_of([&] { (void)read(content); });
  EXPECT_EQ(error.reason(), "BAD_IMATRIX");
  EXPECT_EQ(error.field(), field);
  EXPECT_THAT(error.message(), HasSubstr("imatrix.dat"));
  EXPECT_THAT(error.message(), HasSubstr(why));
}

TEST(Imatrix, OfTheOldFormGivesMeansDatasetAndChunks) {
  ByteString bytes = binary(2);
  add_entry(bytes, "blk.0.attn_q.weight", 4, {2, 6});
  add_entry(bytes, "output.weight", 0, {3});  // before calls were counted
  bytes.add(std::int32_t{7}).add(std::int32_t{4}).text("text");
  const Imatrix imatrix = read(bytes.str());
  EXPECT_THAT(imatrix.importance("blk.0.attn_q.weight", 2), ElementsAre(0.5f, 1.5f));
  EXPECT_THAT(imatrix.importance("output.weight", 1), ElementsAre(3.0f));
  EXPECT_TRUE(imatrix.importance("blk.1.attn_q.weight", 2).empty());
  EXPECT_THAT(imatrix.datasets, ElementsAre("text"));
  EXPECT_EQ(imatrix.chunk_count, 7u);
}

TEST(Imatrix, OfTheOldestFormEndsBehindItsEntries) {
  ByteString bytes = binary(1);
  EXPECT_THAT(read(add_entry(bytes, "w", 1, {1, 2}).str()).importance("w", 2), ElementsAre(1.0f, 2.0f));
}

TEST(Imatrix, WrittenReadsBackWithExpertsThatSawNoTokenCountedAsOne) {
  Imatrix imatrix;
  imatrix.entries["blk.0.ffn_down_exps.weight"] = {{2, 4, 9, 9}, {2, 0}};
  imatrix.entries["blk.0.attn_q.weight"] = {{8, 4}, {4}};
  imatrix.datasets = {"a.txt", "b.txt"};
  imatrix.chunk_count = 3;
  imatrix.chunk_size = 512;
  TempDir folder;
  write_imatrix(folder.path() / "imatrix.gguf", imatrix, Durability::kProcess);
  const FileView view = FileTree::on_disk(folder.path()).open("imatrix.gguf");
  const Imatrix again = read_imatrix(view);
  EXPECT_THAT(again.importance("blk.0.ffn_down_exps.weight", 2, 2), ElementsAre(1, 2, 1, 1));
  EXPECT_THAT(again.importance("blk.0.attn_q.weight", 2), ElementsAre(2, 1));
  EXPECT_EQ(again.datasets, imatrix.datasets);
  EXPECT_EQ(again.chunk_count, 3u);
  EXPECT_EQ(again.chunk_size, 512u);
  const GgufFile file(view);
  EXPECT_EQ(file.string("general.type"), "imatrix");
  EXPECT_THAT(file.tensor("blk.0.attn_q.weight.in_sum2").shape, ElementsAre(2));
  EXPECT_THAT(file.tensor("blk.0.ffn_down_exps.weight.counts").shape, ElementsAre(2, 1));
}

TEST(Imatrix, OfAnotherModelIsRefusedByTheTensorsName) {
  Imatrix imatrix;
  imatrix.entries["blk.0.attn_q.weight"] = imatrix.entries["token_embd.weight"] = {{1, 2, 3}, {1}};
  const Error error = error_of([&] { (void)imatrix.importance("blk.0.attn_q.weight", 4); });
  EXPECT_EQ(error.reason(), "IMATRIX_SHAPE");
  EXPECT_EQ(error.field(), "blk.0.attn_q.weight");
  EXPECT_TRUE(imatrix.importance("token_embd.weight", 4).empty());  // computed for the tied head
}

TEST(Imatrix, CountsAndLengthsThatCannotFitAreRefusedBeforeAnythingIsAllocated) {
  expect_refused(binary(2000000000).str(), "entry count", "2000000000 entries");
  expect_refused(binary(-1).str(), "entry count", "-1 entries");
  const std::string rest(64, '\0');
  expect_refused(binary(1).add(std::int32_t{2000000000}).text(rest).str(), "entry 0",
                 "a name of 2000000000 bytes");
  ByteString many =
      binary(1).add(std::int32_t{1}).text("w").add(std::int32_t{1}).add(std::int32_t{2000000000});
  expect_refused(many.text(rest).str(), "w", "ends in the middle");
  ByteString none = binary(1).add(std::int32_t{1}).text("w").add(std::int32_t{1}).add(std::int32_t{0});
  expect_refused(none.text(rest).str(), "w", "0 values");
}

TEST(Imatrix, CutShortIsRefusedAtEveryLength) {
  ByteString bytes = binary(2);
  add_entry(bytes, "a", 1, {1, 2});
  add_entry(bytes, "b", 1, {1, 2});
  for (std::size_t length = 0; length < bytes.str().size(); ++length)
    EXPECT_EQ(error_of([&] { (void)read(bytes.str().substr(0, length)); }).reason(), "BAD_IMATRIX") << length;
}

TEST(Imatrix, ValuesThatAreNoSumsOfSquaresAreRefused) {
  for (const float value : {-1.0f, NAN, INFINITY}) {
    ByteString bytes = binary(1);
    expect_refused(add_entry(bytes, "w", 1, {1, value}).str(), "w", "negative or not finite");
  }
  ByteString twice = binary(2);
  add_entry(twice, "w", 1, {1});
  expect_refused(add_entry(twice, "w", 1, {1}).str(), "w", "twice");
}

std::string gguf_of(const std::vector<std::pair<std::string, std::int64_t>>& tensors) {
  TempDir folder;
  std::vector<GgufTensorToWrite> all;
  for (const auto& [name, count] : tensors)
    all.push_back({name, GgmlType::kF32, {count}, [count = count](const ByteSink& sink) {
                     sink(std::vector<std::byte>(static_cast<std::size_t>(4 * count)));
                   }});
  write_gguf(folder.path() / "i", {}, all, Durability::kProcess);
  return read_file(folder.path() / "i");
}

TEST(Imatrix, GgufFilesWithoutSumsAndTheirCountsAreRefused) {
  expect_refused(gguf_of({{"w", 1}}), "tensors", "no imatrix");
  expect_refused(gguf_of({{"w.in_sum2", 1}}), "w", "no counts");
  expect_refused(gguf_of({{"w.in_sum2", 3}, {"w.counts", 2}}), "w", "2 counts do not divide 3 sums");
}

}  // namespace
}  // namespace wring
