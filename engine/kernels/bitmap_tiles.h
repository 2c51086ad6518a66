// Products with tiles of 64 elements that are stored as a bitmap and the values of its set bits.
#pragma once

#include <cstdint>

namespace wring {

inline constexpr std::int64_t kTile = 64;      // elements of a tile; bit i is element i
inline constexpr std::int64_t kTileSlack = 8;  // values that may be read behind a tile's last

// Values are float, or float16 as its bits.
template <typename Value>
struct TileRun {
  const std::uint64_t* bitmaps;  // [count]
  const std::int32_t* offsets;   // [count], of a tile's first value
  const Value* values;           // kTileSlack of them behind the last tile's last
  std::int64_t count;
};

// What tiles are multiplied with: rows [rows, stride], element i of a row belongs to tile i.
struct TileWeights {
  const float* rows;
  std::int64_t count, stride;
};

// sums[r][0 .. 64) += sum over tiles i of weights[r][i] * tile i. sums [weights.count, stride].
void multiply_tiles(const TileRun<float>& tiles, const TileWeights& weights, float* sums,
                    std::int64_t stride);
void multiply_tiles(const TileRun<std::uint16_t>& tiles, const TileWeights& weights, float* sums,
                    std::int64_t stride);

// The same of dense tiles [count, 64].
void multiply_tiles(const float* tiles, std::int64_t count, const TileWeights& weights, float* sums,
                    std::int64_t stride);
void multiply_tiles(const std::uint16_t* tiles, std::int64_t count, const TileWeights& weights, float* sums,
                    std::int64_t stride);

}  // namespace wring
