// safetensors: every lie a header can tell is refused by name; what is written reads back.
#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/json.h"
#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return ByteString().counted(header).str() + std::string(data_bytes, '\1');
}

Error refusal(const std::string& content) {
  TempDir folder;
  return error_of([&] { (void)read_safetensors_header(view_of(folder, "m.safetensors", content)); });
}

// The header's error: its reason is BAD_SAFETENSORS, it names the file and `tensor`, and says `why`.
void expect_refused(const std::string& content, const std::string& tensor, const std::string& why) {
  const Error error = refusal(content);
  EXPECT_EQ(error.reason(), "BAD_SAFETENSORS");
  EXPECT_EQ(error.field(), tensor);
  EXPECT_THAT(error.message(), HasSubstr("m.safetensors"));
  EXPECT_THAT(error.message(), HasSubstr(why));
}

TEST(SafetensorsHeader, OfTwoTensorsGivesTypeShapeAndPlace) {
  TempDir folder;
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})";
  const auto parsed = read_safetensors_header(view_of(folder, "m.safetensors", file_of(header, 16)));
  ASSERT_EQ(parsed.entries.size(), 2u);
  EXPECT_EQ(parsed.metadata.at("format"), "pt");
  EXPECT_EQ(parsed.entries[0].name, "a");
  EXPECT_EQ(parsed.entries[0].offset, 8 + header.size());
  EXPECT_TRUE(parsed.entries[0].shape.empty());
  EXPECT_EQ(parsed.entries[1].type, ElementType::kBF16);
  EXPECT_THAT(parsed.entries[1].shape, ElementsAre(2, 3));
  EXPECT_EQ(parsed.entries[1].offset, 8 + header.size() + 4);
  EXPECT_EQ(parsed.entries[1].bytes, 12u);
}

TEST(SafetensorsHeader, ThatIsCutShortIsRefusedAtEveryLength) {
  const std::string whole = file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_EQ(refusal(whole.substr(0, length)).reason(), "BAD_SAFETENSORS") << "of " << length << " bytes";
}

TEST(SafetensorsHeader, ThatClaimsMoreThanTheFileHoldsIsRefused) {
  expect_refused(ByteString().add(std::uint64_t{1000}).text("{}").str(), "", "claims 1000 bytes");
  expect_refused(ByteString().add(~std::uint64_t{0}).text("{}").str(), "", "at most 100 MB");
}

TEST(SafetensorsHeader, WhoseDataLieOutsideTheFileIsRefused) {
  expect_refused(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4), "a",
                 "outside the file");
  expect_refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4), "a",
                 "outside the file");
}

TEST(SafetensorsHeader, WhoseShapeAndOffsetsDisagreeIsRefused) {
  expect_refused(file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), "a",
                 "needs 12 bytes");
}

TEST(SafetensorsHeader, WithOverlappingTensorsIsRefused) {
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                         R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                         6),
                 "b", "overlap");
}

TEST(SafetensorsHeader, WithAHoleBeforeATensorIsRefused) {
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                         R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
                         6),
                 "b", "hole");
}

TEST(SafetensorsHeader, WithBytesBehindTheLastTensorIsRefused) {
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 5), "",
                 "3 bytes behind");
}

TEST(SafetensorsHeader, WithTheSameTensorTwiceIsRefused) {
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                         R"("a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                         4),
                 "a", "twice");
}

TEST(SafetensorsHeader, WhoseShapeOverflowsIsRefused) {
  const auto with_shape = [](const std::string& shape) {
    return file_of(R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,0]}})", 0);
  };
  // 2^32 x 2^32 x 4 bytes is 2^66, which is 0 in 64 bits: just what the offsets say.
  expect_refused(with_shape("[4294967296,4294967296]"), "a", "overflows");
  expect_refused(with_shape("[18446744073709551615]"), "a", "overflows");
  expect_refused(with_shape("[-1]"), "a", "no whole number");
  expect_refused(with_shape("[1.5]"), "a", "no whole number");
  expect_refused(with_shape("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"), "a", "16 dimensions");
}

TEST(SafetensorsHeader, ThatIsNoJsonObjectOrOfUnknownTypeIsRefused) {
  expect_refused(file_of("[]", 0), "", "does not begin with");
  expect_refused(file_of("{\"a\":", 0), "", "not JSON");
  expect_refused(file_of(R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}})", 1), "a",
                 "'F7' is not known");
  expect_refused(file_of(R"({"__metadata__":{"n":1}})", 0), "__metadata__", "no string");
}

Bytes bytes_of(const std::string& text) {
  const auto copy = std::make_shared<const std::string>(text);
  return {std::as_bytes(std::span(*copy)), copy};
}

std::vector<TensorToWrite> three_tensors() {
  return {{"w", ElementType::kF32, {2, 2}, [] { return bytes_of("0123456789abcdef"); }},
          {"b", ElementType::kU8, {3}, [] { return bytes_of("xyz"); }},
          {"a", ElementType::kI16, {1, 2}, [] { return bytes_of("PQRS"); }}};
}

void expect_three_tensors(const SafetensorsReader& reader) {
  EXPECT_THAT(reader.names(), ElementsAre("a", "b", "w"));
  EXPECT_EQ(reader.tensor("w").data.text(), "0123456789abcdef");
  EXPECT_EQ(reader.tensor("w").type, ElementType::kF32);
  EXPECT_THAT(reader.tensor("w").shape, ElementsAre(2, 2));
  EXPECT_EQ(reader.tensor("b").data.text(), "xyz");
  EXPECT_EQ(reader.tensor("a").data.text(), "PQRS");
  EXPECT_EQ(reader.metadata().at("format"), "pt");
  EXPECT_EQ(reader.metadata().at("by"), "test");
}

TEST(Safetensors, WrittenToOneFileReadBackTheSame) {
  TempDir folder;
  write_safetensors(folder.path(), "model", three_tensors(), {{"by", "test"}});
  const FileTree tree = FileTree::on_disk(folder.path());
  EXPECT_THAT(tree.paths(), ElementsAre("model.safetensors"));
  expect_three_tensors(SafetensorsReader(tree));
  EXPECT_EQ(read_safetensors_header(tree.open("model.safetensors")).entries[0].offset % 64, 0u);
}

TEST(Safetensors, AboveTheShardSizeAreCutAndReadBackTheSame) {
  TempDir folder;
  write_safetensors(folder.path(), "model", three_tensors(), {{"by", "test"}}, 16);
  const FileTree tree = FileTree::on_disk(folder.path());
  EXPECT_THAT(tree.paths(), ElementsAre("model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors", "model.safetensors.index.json"));
  expect_three_tensors(SafetensorsReader(tree));
  const Json index = parse_json(tree.open("model.safetensors.index.json").read_all().text(), "index");
  EXPECT_EQ(index.at("metadata").at("total_size"), 23);
  EXPECT_EQ(index.at("weight_map").at("w"), "model-00001-of-00002.safetensors");
  EXPECT_EQ(index.at("weight_map").at("b"), "model-00002-of-00002.safetensors");
}

TEST(Safetensors, WhoseIndexNamesAMissingShardAreRefused) {
  TempDir folder;
  write_safetensors(folder.path(), "model", three_tensors(), {}, 16);
  std::filesystem::remove(folder.path() / "model-00002-of-00002.safetensors");
  const Error error = error_of([&] { SafetensorsReader reader(FileTree::on_disk(folder.path())); });
  EXPECT_EQ(error.reason(), "NO_SUCH_FILE");
  EXPECT_THAT(error.message(), HasSubstr("model-00002-of-00002.safetensors"));
}

TEST(Safetensors, WithATensorInTwoShardsAreRefused) {
  TempDir folder;
  write_safetensors(folder.path(), "one", three_tensors());
  write_safetensors(folder.path(), "two", three_tensors());
  const Error error = error_of([&] { SafetensorsReader reader(FileTree::on_disk(folder.path())); });
  EXPECT_EQ(error.reason(), "BAD_SAFETENSORS");
  EXPECT_THAT(error.message(), HasSubstr("two files"));
}

TEST(Safetensors, WhoseWriterFailsLeaveNothingBehind) {
  TempDir folder;
  auto tensors = three_tensors();
  tensors[1].data = [] { return bytes_of("four"); };
  EXPECT_EQ(error_of([&] { write_safetensors(folder.path(), "model", tensors); }).reason(), "TENSOR_SIZE");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, OfAFolderWithoutWeightsOrATensorThatIsNotThereAreNotFound) {
  TempDir folder;
  EXPECT_EQ(error_of([&] { SafetensorsReader reader(FileTree::on_disk(folder.path())); }).reason(),
            "NO_WEIGHTS");
  write_safetensors(folder.path(), "model", three_tensors());
  const SafetensorsReader reader(FileTree::on_disk(folder.path()));
  const Error error = error_of([&] { (void)reader.tensor("c"); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(error.field(), "c");
}

}  // namespace
}  // namespace wring
