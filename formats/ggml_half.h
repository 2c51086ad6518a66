// IEEE half precision to fp32 and back, rounding to nearest even, without branches that stop vectorisation.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace wring {

inline float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16, exponent = (half >> 10) & 31,
                      mantissa = half & 1023;
  if (exponent == 0) {  // zero or subnormal: mantissa x 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(exponent == 31 ? sign | 0x7f800000u | mantissa << 13
                                             : sign | (exponent + 112) << 23 | mantissa << 13);
}

// Infinity from 65520 on; every NaN becomes 0x7e00 with its sign, as ggml has it.
inline std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  // Below 2^-14 the sum with 0.5 rounds to a multiple of 2^-24, whose count stands in the low bits.
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
                                  std::bit_cast<std::uint32_t>(0.5f);
  const std::uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
  std::uint32_t half = magnitude < 0x38800000 ? subnormal : normal;
  half = magnitude >= 0x47800000 ? 0x7c00 : half;
  half = magnitude > 0x7f800000 ? 0x7e00 : half;
  return static_cast<std::uint16_t>(sign | half);
}

inline float half_at(const std::uint8_t* p) {
  std::uint16_t half;
  std::memcpy(&half, p, 2);
  return half_to_float(half);
}

// Stores `value` as half precision; returns what was stored.
inline float put_half(float value, std::uint8_t* p) {
  const std::uint16_t half = float_to_half(value);
  std::memcpy(p, &half, 2);
  return half_to_float(half);
}

}  // namespace wring
