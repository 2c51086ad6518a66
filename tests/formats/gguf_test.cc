// GGUF: counts and offsets that lie are refused by name; blocks decode as ggml decodes them.
#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A file's head; then `keys` key-values and `tensors` tensor records follow.
ByteString head(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
  return ByteString().text("GGUF").add(version).add(tensors).add(keys);
}

struct Record {
  std::string name = "t";
  std::vector<std::uint64_t> ne{4};  // ggml's order: fastest first
  std::uint32_t type = 0;
  std::uint64_t offset = 0;
};

void add_record(ByteString& bytes, const Record& record) {
  bytes.counted(record.name).add(static_cast<std::uint32_t>(record.ne.size()));
  for (const auto n : record.ne) bytes.add(n);
  bytes.add(record.type).add(record.offset);
}

std::string file_of(const std::vector<Record>& records, const std::string& data) {
  ByteString bytes = head(records.size(), 0);
  for (const auto& record : records) add_record(bytes, record);
  return bytes.pad_to(32).text(data).str();
}

Error refusal(const std::string& content) {
  TempDir folder;
  return error_of([&] { GgufFile file(view_of(folder, "m.gguf", content)); });
}

void expect_refused(const std::string& content, const std::string& field, const std::string& why) {
  const Error error = refusal(content);
  EXPECT_EQ(error.reason(), "BAD_GGUF");
  EXPECT_EQ(error.field(), field);
  EXPECT_THAT(error.message(), HasSubstr("m.gguf"));
  EXPECT_THAT(error.message(), HasSubstr(why));
}

TEST(Gguf, KeysOfEveryKindReadBack) {
  ByteString bytes = head(0, 8);
  bytes.counted("u8").add(std::uint32_t{0}).add(std::uint8_t{200});
  bytes.counted("i32").add(std::uint32_t{5}).add(std::int32_t{-7});
  bytes.counted("f32").add(std::uint32_t{6}).add(0.5f);
  bytes.counted("flag").add(std::uint32_t{7}).add(std::uint8_t{1});
  bytes.counted("name").add(std::uint32_t{8}).counted("llama");
  bytes.counted("list")
      .add(std::uint32_t{9})
      .add(std::uint32_t{8})
      .add(std::uint64_t{2})
      .counted("a")
      .counted("b");
  bytes.counted("ids").add(std::uint32_t{9}).add(std::uint32_t{2}).add(std::uint64_t{2});
  bytes.add(std::uint16_t{1}).add(std::uint16_t{65535});
  bytes.counted("big")
      .add(std::uint32_t{9})
      .add(std::uint32_t{10})
      .add(std::uint64_t{1})
      .add(~std::uint64_t{0});
  TempDir folder;
  const GgufFile file(view_of(folder, "m.gguf", bytes.str()));
  EXPECT_EQ(file.integer("u8"), 200);
  EXPECT_EQ(file.integer("i32"), -7);
  EXPECT_EQ(file.number("f32"), 0.5);
  EXPECT_EQ(file.number("i32"), -7.0);
  EXPECT_TRUE(file.boolean_or("flag", false));
  EXPECT_TRUE(file.boolean_or("absent", true));
  EXPECT_EQ(file.string("name"), "llama");
  EXPECT_THAT(file.strings("list"), ElementsAre("a", "b"));
  EXPECT_THAT(file.integers("ids"), ElementsAre(1, 65535));
  for (const auto& [key, look_up] : std::map<std::string, std::function<void()>>{
           {"big", [&] { (void)file.integers("big"); }},  // 2^64 - 1 is no std::int64_t
           {"name", [&] { (void)file.integer("name"); }},
           {"u8", [&] { (void)file.string("u8"); }},
           {"absent", [&] { (void)file.strings("absent"); }}}) {
    const Error error = error_of(look_up);
    EXPECT_EQ(error.reason(), "BAD_GGUF_KEY");
    EXPECT_EQ(error.field(), key);
  }
}

TEST(Gguf, CountsThatCannotFitAreRefusedBeforeAnythingIsAllocated) {
  constexpr std::uint64_t kHuge = 1ull << 60;
  expect_refused(head(kHuge, 0).str(), "tensor count", "1152921504606846976 tensors cannot fit");
  expect_refused(head(0, kHuge).str(), "key count", "1152921504606846976 keys cannot fit");
  expect_refused(head(0, 1).counted("k").add(std::uint32_t{9}).add(std::uint32_t{0}).add(kHuge).str(), "k",
                 "more than the file can hold");
  expect_refused(head(0, 1).counted("k").add(std::uint32_t{8}).add(kHuge).str(), "k", "a string of");
  expect_refused(head(0, 1).counted("k").add(std::uint32_t{8}).add(std::uint64_t{1000}).str(), "k",
                 "ends in the middle");
}

TEST(Gguf, OfAnotherMagicVersionOrValueTypeIsRefused) {
  expect_refused("GGML" + head(0, 0).str().substr(4), "magic", "no GGUF");
  expect_refused(head(0, 0, 1).str(), "version", "version 1");
  EXPECT_EQ(refusal(head(0, 0, 4).str()).code(), ErrorCode::kUnimplemented);
  expect_refused(head(0, 1).counted("key").add(std::uint32_t{13}).str(), "key", "type 13");
}

TEST(Gguf, WithTheSameKeyOrTensorTwiceIsRefused) {
  ByteString keys = head(0, 2);
  for (int i = 0; i < 2; ++i) keys.counted("k").add(std::uint32_t{0}).add(std::uint8_t{1}).text("");
  expect_refused(keys.text(std::string(8, '\0')).str(), "k", "key stands twice");
  expect_refused(file_of({{"t"}, {"t"}}, std::string(32, '\0')), "t", "tensor stands twice");
}

TEST(Gguf, TensorsOutsideTheFileOrOffTheAlignmentAreRefused) {
  expect_refused(file_of({{"t", {4}, 0, 0}}, std::string(15, '\0')), "t", "outside the file");
  expect_refused(file_of({{"t", {4}, 0, 32}}, std::string(32, '\0')), "t", "outside the file");
  expect_refused(file_of({{"t", {4}, 0, ~std::uint64_t{31}}}, std::string(32, '\0')), "t",
                 "outside the file");
  expect_refused(file_of({{"t", {4}, 0, 4}}, std::string(64, '\0')), "t", "not aligned");
}

TEST(Gguf, ShapesThatOverflowAreEmptyOrNoWholeBlocksAreRefused) {
  const std::string data(32, '\0');
  expect_refused(file_of({{"t", {1ull << 32, 1ull << 32}}}, data), "t", "overflows");
  expect_refused(file_of({{"t", {1ull << 62}}}, data), "t", "overflows");  // 2^64 bytes
  expect_refused(file_of({{"t", {0}}}, data), "t", "overflows or is empty");
  expect_refused(file_of({{"t", {}}}, data), "t", "0 dimensions");
  expect_refused(file_of({{"t", {1, 1, 1, 1, 1}}}, data), "t", "5 dimensions");
  expect_refused(file_of({{"t", {48, 2}, 2}}, data), "t", "no whole blocks of 32");
  EXPECT_EQ(refusal(file_of({{"t", {4}, 99}}, data)).field(), "t");
}

TEST(Gguf, CutShortIsRefusedAtEveryLength) {
  const std::string whole = file_of({{"t", {4}, 0, 0}}, std::string(16, '\1'));
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_EQ(refusal(whole.substr(0, length)).reason(), "BAD_GGUF") << "of " << length << " bytes";
}

TEST(Gguf, ShapesAreTorchOrderAndValuesDecode) {
  ByteString data;
  for (int i = 0; i < 6; ++i) data.add(static_cast<float>(i));
  TempDir folder;
  const GgufFile file(view_of(folder, "m.gguf", file_of({{"w", {3, 2}, 0, 0}}, data.str())));
  const GgufTensor& w = file.tensor("w");
  EXPECT_THAT(w.shape, ElementsAre(2, 3));
  std::vector<float> values(w.elements);
  file.decode(w, values);
  EXPECT_THAT(values, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(file.raw(w).data.size(), 24u);
  EXPECT_EQ(error_of([&] { (void)file.tensor("v"); }).reason(), "NO_SUCH_TENSOR");
}

}  // namespace
}  // namespace wring
