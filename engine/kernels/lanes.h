// Sixteen floats as one value: the compiler makes them one AVX-512 register, two of AVX2, four of SSE.
#pragma once

#include <cstdint>
#include <cstring>

namespace wring {

inline constexpr std::int64_t kVectorLanes = 16;

using FloatLanes = float __attribute__((vector_size(64)));
using IntLanes = std::int32_t __attribute__((vector_size(64)));

// Inlined always: each compiled level of its caller (multiversion.h) then has its own copy.
#define WRING_INLINE inline __attribute__((always_inline))

WRING_INLINE FloatLanes load_lanes(const float* from) {
  FloatLanes x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

WRING_INLINE void store_lanes(float* to, const FloatLanes& x) {
  std::memcpy(to, &x, sizeof x);
}

WRING_INLINE float sum_of_lanes(const FloatLanes& x) {
  float sum = 0;
  for (int lane = 0; lane < kVectorLanes; ++lane) sum += x[lane];
  return sum;
}

// e^x for x <= 88, 0 below -87.3: Cody and Waite's reduction to |r| <= ln(2) / 2, Taylor's polynomial of
// degree 7 there (relative error below 2^-23), the power of two by its exponent bits.
WRING_INLINE FloatLanes exp_lanes(const FloatLanes& x) {
  constexpr float kLowest = -87.3F, kMagic = 12582912.0F;  // adding 1.5 * 2^23 rounds to an integer
  const FloatLanes clamped = x < kLowest ? FloatLanes{} + kLowest : x;
  const FloatLanes n = (clamped * 1.44269504F + kMagic) - kMagic;
  const FloatLanes r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  FloatLanes p = r * (1.0F / 5040) + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const IntLanes exponent = (__builtin_convertvector(n, IntLanes) + 127) << 23;
  FloatLanes power;
  std::memcpy(&power, &exponent, sizeof power);
  return x < kLowest ? FloatLanes{} : p * power;
}

}  // namespace wring
