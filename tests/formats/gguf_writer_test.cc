// GGUF written: every byte where the format has it, and what the format cannot hold refused before a file is
// there.
#include "formats/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/gguf.h"
#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GgufTensorToWrite tensor_of(std::string name, std::vector<std::int64_t> shape, std::string bytes,
                            GgmlType type = GgmlType::kF32) {
  return {std::move(name), type, std::move(shape), [bytes](const ByteSink& sink) {
            sink(std::as_bytes(std::span(bytes)).first(bytes.size() / 2));  // in two pieces
            sink(std::as_bytes(std::span(bytes)).subspan(bytes.size() / 2));
          }};
}

std::string written(const std::vector<GgufKeyToWrite>& keys, const std::vector<GgufTensorToWrite>& tensors) {
  TempDir folder;
  write_gguf(folder.path() / "m.gguf", keys, tensors, Durability::kProcess);
  return read_file(folder.path() / "m.gguf");
}

TEST(GgufWriter, LaysOutHeadKeysAndTensorsAsTheFormatSays) {
  const std::string content =
      written({{"general.alignment", std::uint32_t{16}}, {"n", std::string("ab")}},
              {tensor_of("w", {2, 3}, std::string(24, 'w')), tensor_of("b", {1}, std::string(4, 'b'))});
  ByteString wanted =
      ByteString().text("GGUF").add(std::uint32_t{3}).add(std::uint64_t{2}).add(std::uint64_t{2});
  wanted.counted("general.alignment").add(std::uint32_t{4}).add(std::uint32_t{16});
  wanted.counted("n").add(std::uint32_t{8}).counted("ab");
  wanted.counted("w").add(std::uint32_t{2}).add(std::uint64_t{3}).add(std::uint64_t{2});  // fastest first
  wanted.add(std::uint32_t{0}).add(std::uint64_t{0});
  wanted.counted("b")
      .add(std::uint32_t{1})
      .add(std::uint64_t{1})
      .add(std::uint32_t{0})
      .add(std::uint64_t{32});
  wanted.pad_to(16).text(std::string(24, 'w')).pad_to(16).text("bbbb").pad_to(16);
  EXPECT_EQ(content, wanted.str());
}

TEST(GgufWriter, KeysOfEveryKindReadBackAsTheirOwn) {
  TempDir folder;
  const std::vector<GgufKeyToWrite> keys{{"u8", std::uint8_t{200}},
                                         {"i8", std::int8_t{-5}},
                                         {"u16", std::uint16_t{60000}},
                                         {"i16", std::int16_t{-300}},
                                         {"u32", std::uint32_t{4000000000}},
                                         {"i32", std::int32_t{-7}},
                                         {"f32", 0.5f},
                                         {"true", true},
                                         {"text", std::string("a\0b", 3)},
                                         {"u64", std::uint64_t{1} << 60},
                                         {"i64", -(std::int64_t{1} << 60)},
                                         {"f64", 0.1},
                                         {"u32s", std::vector<std::uint32_t>{1, 4000000000}},
                                         {"i32s", std::vector<std::int32_t>{-1, 2}},
                                         {"f32s", std::vector<float>{0.5f, -2}},
                                         {"flags", std::vector<bool>{true, false, true}},
                                         {"texts", std::vector<std::string>{"", "b"}},
                                         {"none", std::vector<std::int64_t>{}}};
  write_gguf(folder.path() / "m.gguf", keys, {});
  const GgufFile file(FileTree::on_disk(folder.path()).open("m.gguf"));
  EXPECT_EQ(file.keys().size(), keys.size());
  for (const auto& key : keys)
    EXPECT_EQ(file.key_bytes(key.name).text(), gguf_value_bytes(key.value)) << key.name;
  EXPECT_EQ(gguf_value_bytes(std::uint32_t{5}), std::string("\x04\0\0\0\x05\0\0\0", 8));
  EXPECT_EQ(gguf_value_bytes(std::vector<std::string>{"b"}),
            std::string("\x09\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0b", 25));
  EXPECT_EQ(file.integer("u8"), 200);
  EXPECT_EQ(file.integer("i8"), -5);
  EXPECT_EQ(file.integer("u16"), 60000);
  EXPECT_EQ(file.integer("i16"), -300);
  EXPECT_EQ(file.integer("u32"), 4000000000);
  EXPECT_EQ(file.integer("i32"), -7);
  EXPECT_EQ(file.number("f32"), 0.5);
  EXPECT_TRUE(file.boolean_or("true", false));
  EXPECT_EQ(file.string("text"), std::string("a\0b", 3));
  EXPECT_EQ(file.integer("u64"), std::int64_t{1} << 60);
  EXPECT_EQ(file.integer("i64"), -(std::int64_t{1} << 60));
  EXPECT_EQ(file.number("f64"), 0.1);
  EXPECT_THAT(file.integers("u32s"), ElementsAre(1, 4000000000));
  EXPECT_THAT(file.integers("i32s"), ElementsAre(-1, 2));
  EXPECT_THAT(std::get<std::vector<double>>(file.keys().at("f32s").value), ElementsAre(0.5, -2));
  EXPECT_THAT(std::get<std::vector<bool>>(file.keys().at("flags").value), ElementsAre(true, false, true));
  EXPECT_THAT(file.strings("texts"), ElementsAre("", "b"));
  EXPECT_TRUE(file.integers("none").empty());
}

TEST(GgufWriter, TheSameInputGivesTheSameBytesAndTensorsReadBack) {
  const std::vector<GgufTensorToWrite> tensors{
      tensor_of("a", {2, 32}, std::string(36, 'q'), GgmlType::kQ4_0),
      tensor_of("b", {2, 1, 1, 3}, std::string(12, 'h'), GgmlType::kF16)};
  const std::string content = written({}, tensors);
  EXPECT_EQ(content, written({}, tensors));
  TempDir folder;
  const GgufFile file(view_of(folder, "m.gguf", content));
  EXPECT_THAT(file.tensor("a").shape, ElementsAre(2, 32));
  EXPECT_EQ(file.tensor("a").type, GgmlType::kQ4_0);
  EXPECT_EQ(file.raw(file.tensor("a")).text(), std::string(36, 'q'));
  EXPECT_THAT(file.tensor("b").shape, ElementsAre(2, 1, 1, 3));
  EXPECT_EQ(file.raw(file.tensor("b")).text(), std::string(12, 'h'));
  EXPECT_EQ(content.size() % 32, 0u);
}

TEST(GgufWriter, LargeTensorsReadBackWhateverPiecesTheyComeIn) {
  std::string large(9'000'004, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761u >> 13);
  const std::string exact(4u << 20, 'e');
  const std::string content =
      written({}, {tensor_of("large", {2'250'001}, large), tensor_of("exact", {1 << 20}, exact),
                   tensor_of("small", {1}, "four")});
  TempDir folder;
  const GgufFile file(view_of(folder, "m.gguf", content));
  EXPECT_TRUE(file.raw(file.tensor("large")).text() == large);
  EXPECT_TRUE(file.raw(file.tensor("exact")).text() == exact);
  EXPECT_EQ(file.raw(file.tensor("small")).text(), "four");
}

TEST(GgufWriter, AnErrorInTheMiddleLeavesNoFile) {
  TempDir folder;
  const std::string first(6u << 20, 'x');
  const std::vector<GgufTensorToWrite> tensors{tensor_of("first", {3 << 19}, first),
                                               {"second", GgmlType::kF32, {1}, [](const ByteSink&) {
                                                  throw Error(ErrorCode::kInternal, "LATE", "late");
                                                }}};
  EXPECT_EQ(error_of([&] { write_gguf(folder.path() / "m.gguf", {}, tensors); }).reason(), "LATE");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

void expect_refused(const std::vector<GgufKeyToWrite>& keys, const std::vector<GgufTensorToWrite>& tensors,
                    const std::string& field, const std::string& why) {
  TempDir folder;
  const Error error = error_of([&] { write_gguf(folder.path() / "m.gguf", keys, tensors); });
  EXPECT_EQ(error.reason(), "GGUF_CANNOT_HOLD");
  EXPECT_EQ(error.field(), field);
  EXPECT_THAT(error.message(), HasSubstr(why));
  EXPECT_FALSE(error.hint().empty());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(GgufWriter, WhatGgufCannotHoldIsNamedWithAWayOutAndLeavesNoFile) {
  const std::string name(64, 'n'), data(128, '\0');
  expect_refused({}, {tensor_of(name, {1}, "four")}, name, "64 bytes");
  expect_refused({}, {tensor_of("", {1}, "four")}, "", "0 bytes");
  expect_refused({}, {tensor_of("t", {}, "four")}, "t", "0 dimensions");
  expect_refused({}, {tensor_of("t", {1, 1, 1, 1, 1}, "four")}, "t", "5 dimensions");
  expect_refused({}, {tensor_of("t", {2, 0}, "")}, "t", "empty");
  expect_refused({}, {tensor_of("t", {1ll << 40, 1ll << 40}, "")}, "t", "overflows");
  expect_refused({}, {tensor_of("t", {2, 200}, data, GgmlType::kQ4_K)}, "t", "256, which Q4_K needs");
  expect_refused({}, {tensor_of("t", {1}, "four"), tensor_of("t", {1}, "four")}, "t", "twice");
  expect_refused({{"k", true}, {"k", false}}, {}, "k", "twice");
  expect_refused({{"", true}}, {}, "", "0 bytes");
  expect_refused({{"general.alignment", std::uint64_t{32}}}, {}, "general.alignment", "UINT32");
  expect_refused({{"general.alignment", std::uint32_t{24}}}, {}, "general.alignment", "power of two");
}

TEST(GgufWriter, ATensorWhoseBytesDoNotMatchItsShapeLeavesNoFile) {
  for (const std::size_t bytes : {15, 17}) {
    TempDir folder;
    const std::vector<GgufTensorToWrite> tensors{tensor_of("t", {4}, std::string(bytes, 'x'))};
    const Error error = error_of([&] { write_gguf(folder.path() / "m.gguf", {}, tensors); });
    EXPECT_EQ(error.reason(), "TENSOR_SIZE");
    EXPECT_EQ(error.field(), "t");
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  }
}

}  // namespace
}  // namespace wring
