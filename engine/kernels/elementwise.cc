// Lane by lane, the rest of a row one by one; the order of a sum does not depend on threads.
#include "engine/kernels/elementwise.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/kernels/lanes.h"
#include "engine/kernels/multiversion.h"

namespace wring {
namespace {

WRING_INLINE float as_float(float x) {
  return x;
}

WRING_INLINE float as_float(std::uint16_t bf16) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bf16) << 16);
}

template <typename T>
WRING_INLINE void add_squares_of(const T* x, std::int64_t rows, std::int64_t columns, std::int64_t stride,
                                 double* sums) {
  constexpr std::int64_t kRows = 64, kColumns = 128;
  for (std::int64_t first = 0; first < columns; first += kColumns) {
    const std::int64_t width = std::min(kColumns, columns - first);
    for (std::int64_t top = 0; top < rows; top += kRows) {
      float part[kColumns] = {};
      for (std::int64_t i = top; i < std::min(top + kRows, rows); ++i)
        for (std::int64_t j = 0; j < width; ++j) {
          const float v = as_float(x[i * stride + first + j]);
          part[j] += v * v;
        }
      for (std::int64_t j = 0; j < width; ++j) sums[first + j] += part[j];
    }
  }
}

template <int L>
WRING_INLINE void normalize_row_in(const float* x, const float* gain, float epsilon, std::int64_t n,
                                   float* y) {
  Lanes<L> squares[kMostLanes / L] = {};
  std::int64_t i = 0;
  for (; i + kMostLanes <= n; i += kMostLanes)
#pragma GCC unroll 4
    for (int part = 0; part < kMostLanes / L; ++part) {
      const Lanes<L> v = load_lanes<L>(x + i + part * L);
      squares[part] += v * v;
    }
  float sum = sum_of_lanes<L>(squares);
  for (; i < n; ++i) sum += x[i] * x[i];
  const float scale = 1 / std::sqrt(sum / static_cast<float>(n) + epsilon);
  for (i = 0; i < n; ++i) y[i] = x[i] * scale * gain[i];
}

template <int L>
WRING_INLINE void silu_multiply_in(float* gate, const float* up, std::int64_t n) {
  std::int64_t i = 0;
  const std::int64_t whole = n / kMostLanes * kMostLanes;  // for any L, so that all give the same bits
  for (; i < whole; i += L) {
    const Lanes<L> g = load_lanes<L>(gate + i), negative = -g;
    const Lanes<L> bounded = negative > 88.0F ? Lanes<L>{} + 88.0F : negative;
    store_lanes(gate + i, g / (exp_lanes<L>(bounded) + 1.0F) * load_lanes<L>(up + i));
  }
  for (; i < n; ++i) gate[i] = gate[i] / (std::exp(-gate[i]) + 1.0F) * up[i];
}

}  // namespace

WRING_MULTIVERSION
void rotate_head(const float* x, const float* cosine, const float* sine, std::int64_t half, float* y) {
  const float *low = x, *high = x + half;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = low[i], b = high[i];
    y[i] = a * cosine[i] - b * sine[i];
    y[half + i] = b * cosine[i] + a * sine[i];
  }
}

WRING_PER_REGISTER(normalize_row,
                   (const float* x, const float* gain, float epsilon, std::int64_t n, float* y),
                   (x, gain, epsilon, n, y))

WRING_PER_REGISTER(silu_multiply, (float* gate, const float* up, std::int64_t n), (gate, up, n))

WRING_MULTIVERSION
void add_squares(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t stride, double* sums) {
  add_squares_of(x, rows, columns, stride, sums);
}

WRING_MULTIVERSION void add_squares(const std::uint16_t* x, std::int64_t rows, std::int64_t columns,
                                    std::int64_t stride, double* sums) {
  add_squares_of(x, rows, columns, stride, sums);
}

WRING_MULTIVERSION void widen(const std::uint16_t* x, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = as_float(x[i]);
}

WRING_MULTIVERSION void narrow(const float* x, std::int64_t n, std::uint16_t* y) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(x[i]);
    const std::uint32_t rounded = bits + 0x7FFF + ((bits >> 16) & 1);
    y[i] = static_cast<std::uint16_t>((x[i] != x[i] ? bits | 0x400000 : rounded) >> 16);
  }
}

}  // namespace wring
