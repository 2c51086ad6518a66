// ggml's types, and their blocks as fp32 (block layouts: llama.cpp's ggml-common.h, as told in its
// documentation).
#include "formats/ggml_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstring>
#include <string>
#include <utility>

#include "common/error.h"
#include "formats/ggml_half.h"
#include "formats/ggml_quantisers.h"

namespace wring {
namespace {

using Byte = std::uint8_t;

void f32(const Byte* b, float* y) {
  std::memcpy(y, b, 4);
}
void f16(const Byte* b, float* y) {
  *y = half_at(b);
}
void bf16(const Byte* b, float* y) {
  std::uint16_t h;
  std::memcpy(&h, b, 2);
  *y = std::bit_cast<float>(static_cast<std::uint32_t>(h) << 16);
}

void q4_0(const Byte* b, float* y) {
  const float d = half_at(b);
  for (int i = 0; i < 16; ++i) {
    y[i] = static_cast<float>((b[2 + i] & 15) - 8) * d;
    y[i + 16] = static_cast<float>((b[2 + i] >> 4) - 8) * d;
  }
}

void q4_1(const Byte* b, float* y) {
  const float d = half_at(b), m = half_at(b + 2);
  for (int i = 0; i < 16; ++i) {
    y[i] = static_cast<float>(b[4 + i] & 15) * d + m;
    y[i + 16] = static_cast<float>(b[4 + i] >> 4) * d + m;
  }
}

// The fifth bits of a block's 32 elements.
std::uint32_t high_bits(const Byte* p) {
  std::uint32_t bits;
  std::memcpy(&bits, p, 4);
  return bits;
}

void q5_0(const Byte* b, float* y) {
  const float d = half_at(b);
  const std::uint32_t high = high_bits(b + 2);
  for (int i = 0; i < 16; ++i) {
    y[i] = static_cast<float>(static_cast<int>((b[6 + i] & 15) | (high >> i & 1) << 4) - 16) * d;
    y[i + 16] = static_cast<float>(static_cast<int>((b[6 + i] >> 4) | (high >> (i + 16) & 1) << 4) - 16) * d;
  }
}

void q5_1(const Byte* b, float* y) {
  const float d = half_at(b), m = half_at(b + 2);
  const std::uint32_t high = high_bits(b + 4);
  for (int i = 0; i < 16; ++i) {
    y[i] = static_cast<float>((b[8 + i] & 15) | (high >> i & 1) << 4) * d + m;
    y[i + 16] = static_cast<float>((b[8 + i] >> 4) | (high >> (i + 16) & 1) << 4) * d + m;
  }
}

void q8_0(const Byte* b, float* y) {
  const float d = half_at(b);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(static_cast<std::int8_t>(b[2 + i])) * d;
}

void q2_k(const Byte* b, float* y) {  // 16 scale/min bytes, 64 bytes of codes, d, dmin
  const float d = half_at(b + 80), minimum = half_at(b + 82);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, shift = i % 128 / 32 * 2, code = b[16 + 32 * half + i % 32] >> shift & 3;
    const Byte sc = b[i / 16];
    y[i] = d * static_cast<float>(sc & 15) * static_cast<float>(code) - minimum * static_cast<float>(sc >> 4);
  }
}

int q3_scale(const Byte* s, int j) {
  const int low = j < 8 ? s[j] & 15 : s[j - 8] >> 4, high = s[8 + j % 4] >> (2 * (j / 4)) & 3;
  return (low | high << 4) - 32;
}

void q3_k(const Byte* b, float* y) {  // hmask 32, qs 64, scales 12, d
  const float d = half_at(b + 108);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, group = i / 32, shift = group % 4 * 2,
              code = b[32 + 32 * half + i % 32] >> shift & 3;
    const int low = b[i % 32] >> group & 1 ? 0 : 4;
    y[i] = d * static_cast<float>(q3_scale(b + 96, i / 16)) * static_cast<float>(code - low);
  }
}

void q4_k(const Byte* b, float* y) {
  const float d = half_at(b), minimum = half_at(b + 2);
  for (int j = 0; j < 8; ++j) {
    const auto [sc, m] = six_bit_scale_and_minimum(b + 4, j);
    for (int i = 0; i < 32; ++i) {
      const int code = b[16 + 32 * (j / 2) + i] >> (j % 2 * 4) & 15;
      y[32 * j + i] = d * static_cast<float>(sc) * static_cast<float>(code) - minimum * static_cast<float>(m);
    }
  }
}

void q5_k(const Byte* b, float* y) {
  const float d = half_at(b), minimum = half_at(b + 2);
  for (int j = 0; j < 8; ++j) {
    const auto [sc, m] = six_bit_scale_and_minimum(b + 4, j);
    for (int i = 0; i < 32; ++i) {
      const int code = (b[48 + 32 * (j / 2) + i] >> (j % 2 * 4) & 15) | (b[16 + i] >> j & 1) << 4;
      y[32 * j + i] = d * static_cast<float>(sc) * static_cast<float>(code) - minimum * static_cast<float>(m);
    }
  }
}

void q6_k(const Byte* b, float* y) {  // ql 128, qh 64, 16 int8 scales, d
  const float d = half_at(b + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, within = i % 128, row = within / 32, l = within % 32;
    const int low = b[64 * half + l + 32 * (row % 2)] >> (row / 2 * 4) & 15,
              high = b[128 + 32 * half + l] >> (2 * row) & 3;
    y[i] = d * static_cast<float>(static_cast<std::int8_t>(b[192 + i / 16])) *
           static_cast<float>((low | high << 4) - 32);
  }
}

// A grid's values at the nibbles of 16 bytes, low ones first.
void nibbles(const Byte* b, const std::int8_t* grid, float scale, float* y) {
  for (int i = 0; i < 16; ++i) {
    y[i] = scale * static_cast<float>(grid[b[i] & 15]);
    y[i + 16] = scale * static_cast<float>(grid[b[i] >> 4]);
  }
}

void iq4_nl(const Byte* b, float* y) {
  nibbles(b + 2, kIq4Values, half_at(b), y);
}
void mxfp4(const Byte* b, float* y) {
  nibbles(b + 1, kFp4Values, half_of_e8m0(b[0]), y);
}

struct TypeInfo {
  GgmlType type;
  std::string_view name;
  std::uint64_t elements, bytes;
  void (*decode)(const Byte*, float*);
};
constexpr std::array<TypeInfo, 15> kTypes{{{GgmlType::kF32, "F32", 1, 4, f32},
                                           {GgmlType::kF16, "F16", 1, 2, f16},
                                           {GgmlType::kBF16, "BF16", 1, 2, bf16},
                                           {GgmlType::kQ4_0, "Q4_0", 32, 18, q4_0},
                                           {GgmlType::kQ4_1, "Q4_1", 32, 20, q4_1},
                                           {GgmlType::kQ5_0, "Q5_0", 32, 22, q5_0},
                                           {GgmlType::kQ5_1, "Q5_1", 32, 24, q5_1},
                                           {GgmlType::kQ8_0, "Q8_0", 32, 34, q8_0},
                                           {GgmlType::kQ2_K, "Q2_K", 256, 84, q2_k},
                                           {GgmlType::kQ3_K, "Q3_K", 256, 110, q3_k},
                                           {GgmlType::kQ4_K, "Q4_K", 256, 144, q4_k},
                                           {GgmlType::kQ5_K, "Q5_K", 256, 176, q5_k},
                                           {GgmlType::kQ6_K, "Q6_K", 256, 210, q6_k},
                                           {GgmlType::kIQ4_NL, "IQ4_NL", 32, 18, iq4_nl},
                                           {GgmlType::kMXFP4, "MXFP4", 32, 17, mxfp4}}};
constexpr const char* kSupported =
    "Supported: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, MXFP4.";

const TypeInfo& info(GgmlType type) {
  for (const auto& entry : kTypes)
    if (entry.type == type) return entry;
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_GGML_TYPE",
              "ggml tensor type " + std::to_string(static_cast<std::uint32_t>(type)) + " is not supported",
              "", kSupported);
}

}  // namespace

std::string_view to_string(GgmlType type) {
  return info(type).name;
}
std::uint64_t ggml_block_elements(GgmlType type) {
  return info(type).elements;
}
std::uint64_t ggml_block_bytes(GgmlType type) {
  return info(type).bytes;
}

GgmlType ggml_type_from_string(std::string_view name) {
  const auto same = [](char a, char b) { return std::toupper(static_cast<unsigned char>(a)) == b; };
  for (const auto& entry : kTypes)
    if (std::equal(name.begin(), name.end(), entry.name.begin(), entry.name.end(), same)) return entry.type;
  throw Error(ErrorCode::kInvalidArgument, "UNSUPPORTED_GGML_TYPE",
              "'" + std::string(name.substr(0, 40)) + "' is no ggml tensor type that is supported", "",
              kSupported);
}

std::uint64_t ggml_row_bytes(GgmlType type, std::uint64_t elements) {
  const TypeInfo& t = info(type);
  if (elements % t.elements != 0)
    throw Error(ErrorCode::kInvalidArgument, "GGML_ROW",
                "rows of " + std::to_string(elements) + " elements are no whole blocks of " +
                    std::to_string(t.elements) + ", which " + std::string(t.name) + " needs",
                "", "Take a type with smaller blocks: 32 for Q4_0 to Q8_0, IQ4_NL and MXFP4, 1 for F16.");
  return elements / t.elements * t.bytes;
}

void ggml_decode(GgmlType type, std::span<const std::byte> blocks, std::span<float> values) {
  const TypeInfo& t = info(type);
  const auto count = blocks.size() / t.bytes;
  if (blocks.size() % t.bytes != 0 || values.size() != count * t.elements)
    throw Error(ErrorCode::kInternal, "GGML_DECODE", "blocks and values do not match");
  const auto* bytes = reinterpret_cast<const Byte*>(blocks.data());
  for (std::size_t i = 0; i < count; ++i) t.decode(bytes + i * t.bytes, values.data() + i * t.elements);
}

}  // namespace wring
