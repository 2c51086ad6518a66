// The quantisers behind ggml_encode(): whole rows of blocks, one function a block type.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>

namespace wring {

// One row: `x` holds blocks * (elements of a block) values, `importance` as many weights or is null, `out`
// the blocks' bytes.
using GgmlQuantiser = void(const float* x, const float* importance, std::int64_t blocks, std::uint8_t* out);

GgmlQuantiser quantise_q4_0, quantise_q4_1, quantise_q5_0, quantise_q5_1, quantise_q8_0, quantise_iq4_nl,
    quantise_mxfp4;                                                                       // 32 values
GgmlQuantiser quantise_q2_k, quantise_q3_k, quantise_q4_k, quantise_q5_k, quantise_q6_k;  // 256 values

// The non-linear grid of IQ4_NL, and twice the values of fp4 (E2M1) as MXFP4 has them.
inline constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr std::int8_t kFp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Half the value of an E8M0 scale, 2^(exponent - 128), which makes up for kFp4Values.
inline float half_of_e8m0(std::uint8_t exponent) {
  const std::uint32_t bits =
      exponent < 2 ? 0x00200000u << exponent : static_cast<std::uint32_t>(exponent - 1) << 23;
  return std::bit_cast<float>(bits);
}

// Scale and minimum j, of eight each, in the 12 bytes that Q4_K and Q5_K pack them into.
inline std::pair<int, int> six_bit_scale_and_minimum(const std::uint8_t* packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4, (packed[j + 4] >> 4) | (packed[j] >> 6) << 4};
}

}  // namespace wring
