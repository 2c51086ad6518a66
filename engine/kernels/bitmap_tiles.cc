// Sixty-four tiles at a time are expanded into the first-level cache, eight elements by one permutation that
// a table gives for their bits, and multiplied there with all rows at once.
#include "engine/kernels/bitmap_tiles.h"

#include <algorithm>
#include <array>
#include <bit>

#include "engine/kernels/lanes.h"
#include "engine/kernels/multiversion.h"

namespace wring {
namespace {

constexpr std::int64_t kEight = 8, kTilesAtOnce = 64, kRowsAtOnce = 4;

using Eight = Lanes<kEight>;
using EightInts = IntLanes<kEight>;
using EightShorts = std::int16_t __attribute__((vector_size(16)));

// For each byte of a bitmap: which of the next values an element is; -1 where its bit is not set.
constexpr auto kPlaces = [] {
  std::array<std::array<std::int16_t, kEight>, 256> places{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::int16_t next = 0;
    for (unsigned i = 0; i < kEight; ++i)
      places[byte][i] = (byte >> i & 1) != 0 ? next++ : static_cast<std::int16_t>(-1);
  }
  return places;
}();

WRING_INLINE EightInts widened(const std::int16_t* from) {
  EightShorts x;
  std::memcpy(&x, from, sizeof x);
  return __builtin_convertvector(x, EightInts);
}

WRING_INLINE Eight eight_values(const float* from) {
  return load_lanes<kEight>(from);
}

// float16's exponent and fraction are the upper ones of a float32 that is 2^112 times too small.
WRING_INLINE Eight eight_values(const std::uint16_t* from) {
  const EightInts bits =
      (widened(reinterpret_cast<const std::int16_t*>(from)) << 13) & std::bit_cast<std::int32_t>(0x8FFFE000U);
  Eight x;
  std::memcpy(&x, &bits, sizeof x);
  return x * 0x1p112F;
}

WRING_INLINE Eight permuted(const Eight& x, const EightInts& place) {
#if defined(__clang__)
  Eight y{};
  for (int i = 0; i < kEight; ++i) y[i] = x[place[i] & 7];
  return y;
#else
  return __builtin_shuffle(x, place);
#endif
}

template <typename Value>
WRING_INLINE void expand(std::uint64_t bitmap, const Value* values, float* tile) {
#pragma GCC unroll 8
  for (std::int64_t first = 0; first < kTile; first += kEight, bitmap >>= kEight) {
    const unsigned byte = bitmap & 255;
    const EightInts place = widened(kPlaces[byte].data());
    const Eight moved = permuted(eight_values(values), place);
    const Eight kept = place < 0 ? Eight{} : moved;
    store_lanes(tile + first, kept);
    values += std::popcount(byte);
  }
}

// sums[r] += sum_i rows[r][i] * tiles[i] for `Rows` rows, whose sums stay in registers.
template <int Rows>
WRING_INLINE void multiply_rows(const float* tiles, std::int64_t count, const float* rows,
                                std::int64_t stride, float* sums, std::int64_t sum_stride) {
  for (std::int64_t lane = 0; lane < kTile; lane += 2 * kEight) {
    Eight low[Rows], high[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      low[r] = eight_values(sums + r * sum_stride + lane);
      high[r] = eight_values(sums + r * sum_stride + lane + kEight);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const Eight x = eight_values(tiles + i * kTile + lane),
                  y = eight_values(tiles + i * kTile + lane + kEight);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const float w = rows[r * stride + i];
        low[r] += w * x;
        high[r] += w * y;
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      store_lanes(sums + r * sum_stride + lane, low[r]);
      store_lanes(sums + r * sum_stride + lane + kEight, high[r]);
    }
  }
}

// `first`: the weights' element of the first tile.
WRING_INLINE void multiply_expanded(const float* tiles, std::int64_t count, const TileWeights& weights,
                                    std::int64_t first, float* sums, std::int64_t stride) {
  for (std::int64_t r = 0; r < weights.count; r += kRowsAtOnce) {
    const float* rows = weights.rows + r * weights.stride + first;
    float* to = sums + r * stride;
    switch (std::min(kRowsAtOnce, weights.count - r)) {
      case 1:
        multiply_rows<1>(tiles, count, rows, weights.stride, to, stride);
        break;
      case 2:
        multiply_rows<2>(tiles, count, rows, weights.stride, to, stride);
        break;
      case 3:
        multiply_rows<3>(tiles, count, rows, weights.stride, to, stride);
        break;
      default:
        multiply_rows<4>(tiles, count, rows, weights.stride, to, stride);
    }
  }
}

template <typename Value>
WRING_INLINE void multiply_run(const TileRun<Value>& tiles, const TileWeights& weights, float* sums,
                               std::int64_t stride) {
  alignas(64) float expanded[kTilesAtOnce * kTile];
  for (std::int64_t first = 0; first < tiles.count; first += kTilesAtOnce) {
    const std::int64_t count = std::min(kTilesAtOnce, tiles.count - first);
    for (std::int64_t i = 0; i < count; ++i)
      expand(tiles.bitmaps[first + i], tiles.values + tiles.offsets[first + i], expanded + i * kTile);
    multiply_expanded(expanded, count, weights, first, sums, stride);
  }
}

}  // namespace

WRING_MULTIVERSION
void multiply_tiles(const TileRun<float>& tiles, const TileWeights& weights, float* sums,
                    std::int64_t stride) {
  multiply_run(tiles, weights, sums, stride);
}

WRING_MULTIVERSION
void multiply_tiles(const TileRun<std::uint16_t>& tiles, const TileWeights& weights, float* sums,
                    std::int64_t stride) {
  multiply_run(tiles, weights, sums, stride);
}

WRING_MULTIVERSION
void multiply_tiles(const float* tiles, std::int64_t count, const TileWeights& weights, float* sums,
                    std::int64_t stride) {
  multiply_expanded(tiles, count, weights, 0, sums, stride);
}

WRING_MULTIVERSION
void multiply_tiles(const std::uint16_t* tiles, std::int64_t count, const TileWeights& weights, float* sums,
                    std::int64_t stride) {
  alignas(64) float floats[kTilesAtOnce * kTile];
  for (std::int64_t first = 0; first < count; first += kTilesAtOnce) {
    const std::int64_t some = std::min(kTilesAtOnce, count - first);
    for (std::int64_t i = 0; i < some * kTile; i += kEight) {
      store_lanes(floats + i, eight_values(tiles + first * kTile + i));
    }
    multiply_expanded(floats, some, weights, first, sums, stride);
  }
}

}  // namespace wring
