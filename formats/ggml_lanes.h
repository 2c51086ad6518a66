// Four blocks side by side: element i of each in one vector, so that every block is summed in the reference's
// order.
#pragma once

#include <bit>
#include <cstdint>

namespace wring {

inline constexpr int kLanes = 4;
using Floats = float __attribute__((vector_size(16)));
using Ints = std::int32_t __attribute__((vector_size(16)));  // also masks: -1 where true

// Element i of each block, for all N.
template <int N>
struct FloatLanes {
  Floats element[N];
};
template <int N>
struct IntLanes {
  Ints element[N];
};

inline Floats all(float value) {
  return Floats{value, value, value, value};
}
inline Ints all(std::int32_t value) {
  return Ints{value, value, value, value};
}
inline Floats select(Ints mask, Floats a, Floats b) {
  return mask ? a : b;
}
inline Ints select(Ints mask, Ints a, Ints b) {
  return mask ? a : b;
}
inline bool any(Ints mask) {
  return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
}
inline Floats magnitude(Floats value) {
  return std::bit_cast<Floats>(std::bit_cast<Ints>(value) & 0x7fffffff);
}
inline Floats to_float(Ints value) {
  return __builtin_convertvector(value, Floats);
}
inline Ints clamp(Ints value, std::int32_t low, std::int32_t high) {
  value = select(value < low, all(low), value);
  return select(value > high, all(high), value);
}

// Nearest whole number, half to even, below 2^22; beyond it, and of what is not finite, ggml's very bits.
inline std::int32_t nearest(float value) {
  return (std::bit_cast<std::int32_t>(value + 12582912.0f) & 0x007fffff) - 0x00400000;
}
inline Ints nearest(Floats value) {
  return (std::bit_cast<Ints>(value + 12582912.0f) & 0x007fffff) - 0x00400000;
}

// Towards zero; 0 where the value is beyond any code.
inline Ints truncated(Floats value) {
  const Ints usable = magnitude(value) < 65536.0f;
  return __builtin_convertvector(std::bit_cast<Floats>(std::bit_cast<Ints>(value) & usable), Ints);
}

// Blocks that follow each other at `x`; the last of `blocks` stands for those that are missing.
template <int N>
FloatLanes<N> side_by_side(const float* x, std::int64_t blocks = kLanes) {
  FloatLanes<N> lanes;
  const float* block[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) block[lane] = x + N * (lane < blocks ? lane : blocks - 1);
  for (int i = 0; i < N; ++i) lanes.element[i] = Floats{block[0][i], block[1][i], block[2][i], block[3][i]};
  return lanes;
}

}  // namespace wring
