// The loops over lanes have a fixed length, so that the compiler makes each of them one or two vector
// instructions.
#include "engine/kernels/column_walk.h"

#include <algorithm>

#include "engine/kernels/multiversion.h"

namespace wring {
namespace {

// Nearest integer, ties to even, of |x| < 2^22: adding and taking away 1.5 * 2^23 leaves no fraction bits.
WRING_INLINE float round_to_even(float x) {
  constexpr float kMagic = 12582912.0F;
  return (x + kMagic) - kMagic;
}

// The nearest point's code less the zero point.
WRING_INLINE float grid_steps(float w, float scale, float zero, float max_code) {
  const float low = -zero, high = max_code - zero;
  const float steps = w / scale;
  return round_to_even(steps < low ? low : (steps > high ? high : steps));
}

WRING_INLINE void propagate(const ColumnTile& tile, std::int64_t i, const float* error) {
  const float* u = tile.upper + i * tile.stride;
  for (std::int64_t j = i + 1; j < tile.columns; ++j) {
    float* __restrict w = tile.w + j * kLanes;
    const float factor = u[j];
    for (int lane = 0; lane < kLanes; ++lane) w[lane] -= error[lane] * factor;
  }
}

}  // namespace

WRING_MULTIVERSION void quantize_columns(const ColumnTile& tile, std::int64_t first, std::int64_t last,
                                         const Grids& grids, const float* keep, std::uint8_t* codes) {
  float all[kLanes];
  std::fill(all, all + kLanes, 1.0F);
  for (std::int64_t i = first; i < last; ++i) {
    float* __restrict w = tile.w + i * kLanes;
    const float* scale = grids.scale + i * kLanes;
    const float* zero = grids.zero + i * kLanes;
    const float* kept = keep ? keep + i * kLanes : all;
    const float inverse = 1.0F / tile.upper[i * tile.stride + i];
    float error[kLanes], code[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const float steps = grid_steps(w[lane], scale[lane], zero[lane], grids.max_code) * kept[lane];
      const float value = steps * scale[lane];
      error[lane] = (w[lane] - value) * inverse;
      code[lane] = steps + zero[lane];
      w[lane] = value;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      codes[i * kLanes + lane] = static_cast<std::uint8_t>(static_cast<std::int32_t>(code[lane]));
      tile.errors[i * kLanes + lane] = error[lane];
    }
    propagate(tile, i, error);
  }
}

WRING_MULTIVERSION void prune_columns(const ColumnTile& tile, std::int64_t first, std::int64_t last,
                                      const float* keep) {
  for (std::int64_t i = first; i < last; ++i) {
    float* __restrict w = tile.w + i * kLanes;
    const float inverse = 1.0F / tile.upper[i * tile.stride + i];
    float error[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = w[lane] * keep[i * kLanes + lane];
      error[lane] = (w[lane] - value) * inverse;
      tile.errors[i * kLanes + lane] = error[lane];
      w[lane] = value;
    }
    propagate(tile, i, error);
  }
}

WRING_MULTIVERSION void set_column(const ColumnTile& tile, std::int64_t i, const float* values) {
  float* __restrict w = tile.w + i * kLanes;
  const float inverse = 1.0F / tile.upper[i * tile.stride + i];
  float error[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    error[lane] = (w[lane] - values[lane]) * inverse;
    tile.errors[i * kLanes + lane] = error[lane];
    w[lane] = values[lane];
  }
  propagate(tile, i, error);
}

WRING_MULTIVERSION void round_columns(const float* w, std::int64_t columns, const Grids& grid,
                                      std::uint8_t* codes) {
  float scale[kLanes], zero[kLanes];
  std::copy(grid.scale, grid.scale + kLanes, scale);
  std::copy(grid.zero, grid.zero + kLanes, zero);
  for (std::int64_t i = 0; i < columns * kLanes; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) {
      const float steps = grid_steps(w[i + lane], scale[lane], zero[lane], grid.max_code);
      codes[i + lane] = static_cast<std::uint8_t>(static_cast<std::int32_t>(steps + zero[lane]));
    }
}

WRING_MULTIVERSION void lane_range(const float* w, std::int64_t columns, float* low, float* high) {
  float least[kLanes] = {}, largest[kLanes] = {};
  for (std::int64_t i = 0; i < columns; ++i)
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = w[i * kLanes + lane];
      least[lane] = value < least[lane] ? value : least[lane];
      largest[lane] = value > largest[lane] ? value : largest[lane];
    }
  std::copy(least, least + kLanes, low);
  std::copy(largest, largest + kLanes, high);
}

WRING_MULTIVERSION void grid_error(const float* w, std::int64_t columns, const Grids& grid,
                                   const float* importance, float* error) {
  float sum[kLanes] = {}, scale[kLanes], inverse[kLanes], low[kLanes], high[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    scale[lane] = grid.scale[lane];
    inverse[lane] = 1.0F / scale[lane];
    low[lane] = -grid.zero[lane];
    high[lane] = grid.max_code - grid.zero[lane];
  }
  for (std::int64_t i = 0; i < columns; ++i)
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = w[i * kLanes + lane], steps = value * inverse[lane];
      const float clamped = steps < low[lane] ? low[lane] : (steps > high[lane] ? high[lane] : steps);
      const float difference = value - round_to_even(clamped) * scale[lane];
      sum[lane] += importance[i] * difference * difference;
    }
  std::copy(sum, sum + kLanes, error);
}

}  // namespace wring
