// Scores by blocks of six queries and 32 keys, which stay in registers over the head's dimension; exact
// softmax of the whole row (no running maximum: a tile's scores fit the second-level cache); values likewise.
#include "engine/kernels/attention.h"

#include <algorithm>
#include <limits>

#include "engine/kernels/lanes.h"
#include "engine/kernels/multiversion.h"

namespace wring {
namespace {

constexpr int kRows = 6;                  // queries whose sums stay in registers
constexpr std::int64_t kValueBlock = 64;  // values that stay in the first-level cache
constexpr float kHidden = -std::numeric_limits<float>::infinity();
static_assert(kQueryTile % kRows == 0 && kKeyTile % (2 * kMostLanes) == 0);

// out[r][0..32) += sum over i < count of left[r * left_stride + i] * right[i * right_stride + 0..32).
template <int L>
WRING_INLINE void add_products(const float* left, std::int64_t left_stride, const float* right,
                               std::int64_t right_stride, std::int64_t count, float* out,
                               std::int64_t stride) {
  for (std::int64_t column = 0; column < kKeyTile; column += 2 * L) {
    Lanes<L> low[kRows], high[kRows];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      low[r] = load_lanes<L>(out + r * stride + column);
      high[r] = load_lanes<L>(out + r * stride + column + L);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const float* at = right + i * right_stride + column;
      const Lanes<L> x = load_lanes<L>(at), y = load_lanes<L>(at + L);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const float w = left[r * left_stride + i];
        low[r] += w * x;
        high[r] += w * y;
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      store_lanes(out + r * stride + column, low[r]);
      store_lanes(out + r * stride + column + L, high[r]);
    }
  }
}

// row <- e^(row - its maximum); the sum. `count` is a multiple of kMostLanes.
template <int L>
WRING_INLINE float exponentials(float* row, std::int64_t count) {
  Lanes<L> most = Lanes<L>{} + kHidden;
  for (std::int64_t j = 0; j < count; j += L) {
    const Lanes<L> x = load_lanes<L>(row + j);
    most = x > most ? x : most;
  }
  float maximum = kHidden;
  for (int lane = 0; lane < L; ++lane) maximum = std::max(maximum, most[lane]);
  if (maximum == kHidden) {
    std::fill(row, row + count, 0.0F);
    return 0;
  }
  constexpr int kParts = kMostLanes / L;
  Lanes<L> sums[kParts] = {};
  for (std::int64_t j = 0; j < count; j += kMostLanes)
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      float* at = row + j + part * L;
      const Lanes<L> e = exp_lanes<L>(load_lanes<L>(at) - maximum);
      store_lanes(at, e);
      sums[part] += e;
    }
  return sum_of_lanes<L>(sums);
}

template <int L>
WRING_INLINE void attend_in(const AttentionTile& tile) {
  const std::int64_t stride = padded_keys(tile.keys), dim = tile.head_dim, wide = tile.value_dim;
  const auto visible_to = [&](std::int64_t query) {
    return std::clamp<std::int64_t>(tile.first_visible + query * tile.visible_step, 0, tile.keys);
  };
  const std::int64_t width = padded_keys(visible_to(kQueryTile - 1));
  for (std::int64_t query = 0; query < kQueryTile; ++query)
    std::fill_n(tile.scores + query * stride, width, 0.0F);
  for (std::int64_t key = 0; key < width; key += kKeyTile)
    for (std::int64_t query = 0; query < kQueryTile; query += kRows)
      add_products<L>(tile.queries + query * dim, dim, tile.packed_keys + key * dim, kKeyTile, dim,
                      tile.scores + query * stride + key, stride);

  float sums[kQueryTile];
  for (std::int64_t query = 0; query < kQueryTile; ++query) {
    float* row = tile.scores + query * stride;
    const std::int64_t visible = visible_to(query);
    std::fill(row + visible, row + width, kHidden);
    for (std::int64_t key = 0; tile.keep && key < visible; ++key)
      if (!tile.keep[key]) row[key] = kHidden;
    sums[query] = exponentials<L>(row, width);
  }

  std::fill(tile.output, tile.output + kQueryTile * wide, 0.0F);
  for (std::int64_t key = 0; key < width; key += kValueBlock) {
    const std::int64_t count = std::min({kValueBlock, width - key, tile.keys - key});
    for (std::int64_t query = 0; query < kQueryTile; query += kRows)
      for (std::int64_t d = 0; d < wide; d += kKeyTile)
        add_products<L>(tile.scores + query * stride + key, stride, tile.values + key * wide + d, wide, count,
                        tile.output + query * wide + d, wide);
  }
  for (std::int64_t query = 0; query < kQueryTile; ++query) {
    const float scale = sums[query] > 0 ? 1 / sums[query] : 0;
    for (std::int64_t d = 0; d < wide; ++d) tile.output[query * wide + d] *= scale;
  }
}

}  // namespace

WRING_MULTIVERSION
void pack_keys(const float* keys, std::int64_t count, std::int64_t head_dim, float* packed) {
  for (std::int64_t first = 0; first < count; first += kKeyTile, packed += head_dim * kKeyTile)
    for (std::int64_t d = 0; d < head_dim; ++d)
      for (std::int64_t k = 0; k < kKeyTile; ++k)
        packed[d * kKeyTile + k] = first + k < count ? keys[(first + k) * head_dim + d] : 0.0F;
}

WRING_PER_REGISTER(attend, (const AttentionTile& tile), (tile))

}  // namespace wring
