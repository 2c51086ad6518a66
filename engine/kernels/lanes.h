// A register of floats as one value: 4 lanes of SSE or NEON, 8 of AVX2, 16 of AVX-512. Kernels are templates
// over their number (multiversion.h), and add in an order that does not depend on it.
#pragma once

#include <cstdint>
#include <cstring>

#include "engine/kernels/multiversion.h"

namespace wring {

inline constexpr int kMostLanes = 16;  // rows are taken by so many at once, in one register or in several

template <int L>
struct LanesOf {
  typedef float Floats __attribute__((vector_size(L * 4)));
  typedef std::int32_t Ints __attribute__((vector_size(L * 4)));
};
template <int L>
using Lanes = typename LanesOf<L>::Floats;
template <int L>
using IntLanes = typename LanesOf<L>::Ints;

template <int L>
WRING_INLINE Lanes<L> load_lanes(const float* from) {
  Lanes<L> x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

template <typename V>
WRING_INLINE void store_lanes(float* to, const V& x) {
  std::memcpy(to, &x, sizeof x);
}

// The sum of kMostLanes floats that lie in several registers, first to last.
template <int L>
WRING_INLINE float sum_of_lanes(const Lanes<L> (&parts)[kMostLanes / L]) {
  float all[kMostLanes], sum = 0;
  std::memcpy(all, parts, sizeof all);
  for (const float x : all) sum += x;
  return sum;
}

// e^x for x <= 88, 0 below -87.3: Cody and Waite's reduction to |r| <= ln(2) / 2, Taylor's polynomial of
// degree 7 there (relative error below 2^-23), the power of two by its exponent bits.
template <int L>
WRING_INLINE Lanes<L> exp_lanes(const Lanes<L>& x) {
  using V = Lanes<L>;
  constexpr float kLowest = -87.3F, kMagic = 12582912.0F;  // adding 1.5 * 2^23 rounds to an integer
  const V clamped = x < kLowest ? V{} + kLowest : x;
  const V n = (clamped * 1.44269504F + kMagic) - kMagic;
  const V r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  V p = r * (1.0F / 5040) + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const IntLanes<L> exponent = (__builtin_convertvector(n, IntLanes<L>) + 127) << 23;
  V power;
  std::memcpy(&power, &exponent, sizeof power);
  return x < kLowest ? V{} : p * power;
}

}  // namespace wring
