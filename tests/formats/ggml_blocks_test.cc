// ggml blocks: decoded and encoded as ggml does it, bit by bit and byte by byte.
#include "formats/ggml_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "common/json.h"
#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::HasSubstr;

constexpr GgmlType kTypes[] = {GgmlType::kF32,  GgmlType::kF16,    GgmlType::kBF16, GgmlType::kQ4_0,
                               GgmlType::kQ4_1, GgmlType::kQ5_0,   GgmlType::kQ5_1, GgmlType::kQ8_0,
                               GgmlType::kQ2_K, GgmlType::kQ3_K,   GgmlType::kQ4_K, GgmlType::kQ5_K,
                               GgmlType::kQ6_K, GgmlType::kIQ4_NL, GgmlType::kMXFP4};

Json golden(const std::string& name) {
  return parse_json(read_file(std::filesystem::path(__FILE__).parent_path() / name), name);
}

std::vector<std::byte> bytes_of(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::vector<float> floats_of(const std::string& hex) {
  std::vector<float> values;
  for (std::size_t i = 0; i < hex.size(); i += 8)
    values.push_back(
        std::bit_cast<float>(static_cast<std::uint32_t>(std::stoul(hex.substr(i, 8), nullptr, 16))));
  return values;
}

std::vector<std::byte> encoded(GgmlType type, std::span<const float> row,
                               std::span<const float> importance = {}) {
  std::vector<std::byte> blocks(ggml_row_bytes(type, row.size()));
  ggml_encode(type, row, blocks, importance);
  return blocks;
}

std::vector<float> decoded(GgmlType type, std::span<const std::byte> blocks) {
  std::vector<float> values(blocks.size() / ggml_block_bytes(type) * ggml_block_elements(type));
  ggml_decode(type, blocks, values);
  return values;
}

// ggml_golden.json is make_golden.py's: blocks and the fp32 bits that the `gguf` package decodes them to.
TEST(GgmlBlocks, OfAllFifteenTypesDecodeToTheBitsOfTheReference) {
  const Json all = golden("ggml_golden.json");
  ASSERT_EQ(all.size(), std::size(kTypes));
  for (const auto& [name, entry] : all.items()) {
    const auto type = static_cast<GgmlType>(entry.at("id").get<std::uint32_t>());
    EXPECT_EQ(to_string(type), name);
    const auto values = decoded(type, bytes_of(entry.at("blocks"))), wanted = floats_of(entry.at("values"));
    ASSERT_EQ(values.size(), wanted.size()) << name;
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(wanted[i]))
          << name << "[" << i << "]: " << values[i] << ", not " << wanted[i];
  }
}

// ggml_encode_golden.json is tests/parity/ggml_parity.py's: rows, and the blocks that llama.cpp makes of
// them.
TEST(GgmlBlocks, OfAllFifteenTypesAreEncodedToTheBytesOfTheReferenceWithAndWithoutImportance) {
  const Json all = golden("ggml_encode_golden.json");
  ASSERT_EQ(all.size(), std::size(kTypes));
  for (const auto& [name, entry] : all.items()) {
    const auto type = ggml_type_from_string(name);
    const auto values = floats_of(entry.at("values")), importance = floats_of(entry.at("importance"));
    std::vector<std::byte> plain, weighted;
    for (std::size_t row = 0; row < values.size(); row += importance.size()) {
      const std::span<const float> one(values.data() + row, importance.size());
      for (const auto byte : encoded(type, one)) plain.push_back(byte);
      for (const auto byte : encoded(type, one, importance)) weighted.push_back(byte);
    }
    EXPECT_EQ(plain, bytes_of(entry.at("blocks"))) << name;
    EXPECT_EQ(weighted, bytes_of(entry.at("weighted"))) << name;
  }
}

TEST(GgmlBlocks, OfRowsThatAreNotFiniteAreEncodedWithoutFault) {
  const float bad[] = {NAN,
                       -NAN,
                       INFINITY,
                       -INFINITY,
                       std::numeric_limits<float>::max(),
                       std::numeric_limits<float>::lowest(),
                       std::numeric_limits<float>::denorm_min()};
  for (const auto type : kTypes)
    for (const float value : bad)
      for (const std::size_t stride : {1, 7, 256}) {
        std::vector<float> row(512, 0.25f), importance(512, 1.0f);
        for (std::size_t i = 0; i < row.size(); i += stride) row[i] = value;
        (void)decoded(type, encoded(type, row));
        (void)decoded(type, encoded(type, row, importance));
      }
}

TEST(GgmlBlocks, OfARowThatIsNoWholeBlocksAreRefusedWithTheBlockAndAWayOut) {
  const std::vector<float> row(200);
  std::vector<std::byte> out(1024);
  const Error error = error_of([&] { ggml_encode(GgmlType::kQ4_K, row, out); });
  EXPECT_EQ(error.reason(), "GGML_ROW");
  EXPECT_THAT(error.message(), HasSubstr("rows of 200 elements"));
  EXPECT_THAT(error.message(), HasSubstr("256, which Q4_K needs"));
  EXPECT_THAT(error.hint(), HasSubstr("smaller blocks"));
}

TEST(GgmlBlocks, AreNotEncodedByAnImportanceOfAnotherLengthOrOfANegativeValue) {
  const std::vector<float> row(32, 1.0f);
  const std::vector<float> longer(33, 1.0f), negative(32, -1.0f), infinite(32, INFINITY);
  EXPECT_EQ(error_of([&] { encoded(GgmlType::kQ4_0, row, longer); }).reason(), "IMPORTANCE_SIZE");
  EXPECT_EQ(error_of([&] { encoded(GgmlType::kQ4_0, row, negative); }).reason(), "IMPORTANCE_VALUE");
  EXPECT_EQ(error_of([&] { encoded(GgmlType::kIQ4_NL, row, infinite); }).reason(), "IMPORTANCE_VALUE");
}

TEST(GgmlBlocks, KnowTheirTypesByNameInAnyCase) {
  for (const auto type : kTypes) EXPECT_EQ(ggml_type_from_string(to_string(type)), type);
  EXPECT_EQ(ggml_type_from_string("q4_K"), GgmlType::kQ4_K);
  EXPECT_EQ(ggml_type_from_string("iq4_nl"), GgmlType::kIQ4_NL);
  const Error error = error_of([] { ggml_type_from_string("Q4_K_M"); });
  EXPECT_EQ(error.reason(), "UNSUPPORTED_GGML_TYPE");
  EXPECT_THAT(error.hint(), HasSubstr("MXFP4"));
}

}  // namespace
}  // namespace wring
