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

// scores[r][0..32) = queries[r] . keys, for one block of packed keys.
template <int L>
WRING_INLINE void score_block(const float* queries, const float* keys, std::int64_t head_dim, float* scores,
                              std::int64_t stride) {
  for (std::int64_t key = 0; key < kKeyTile; key += 2 * L) {
    Lanes<L> low[kRows] = {}, high[kRows] = {};
    for (std::int64_t d = 0; d < head_dim; ++d) {
      const float* at = keys + d * kKeyTile + key;
      const Lanes<L> k0 = load_lanes<L>(at), k1 = load_lanes<L>(at + L);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const float q = queries[r * head_dim + d];
        low[r] += q * k0;
        high[r] += q * k1;
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      store_lanes(scores + r * stride + key, low[r]);
      store_lanes(scores + r * stride + key + L, high[r]);
    }
  }
}

// output[r][0..32) += sum over keys of weights[r][key] * values[key][0..32).
template <int L>
WRING_INLINE void mix_block(const float* weights, std::int64_t stride, const float* values,
                            std::int64_t count, std::int64_t value_dim, float* output) {
  for (std::int64_t d = 0; d < kKeyTile; d += 2 * L) {
    Lanes<L> low[kRows], high[kRows];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      low[r] = load_lanes<L>(output + r * value_dim + d);
      high[r] = load_lanes<L>(output + r * value_dim + d + L);
    }
    for (std::int64_t j = 0; j < count; ++j) {
      const float* at = values + j * value_dim + d;
      const Lanes<L> v0 = load_lanes<L>(at), v1 = load_lanes<L>(at + L);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const float w = weights[r * stride + j];
        low[r] += w * v0;
        high[r] += w * v1;
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      store_lanes(output + r * value_dim + d, low[r]);
      store_lanes(output + r * value_dim + d + L, high[r]);
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
  for (std::int64_t key = 0; key < width; key += kKeyTile)
    for (std::int64_t query = 0; query < kQueryTile; query += kRows)
      score_block<L>(tile.queries + query * dim, tile.packed_keys + key * dim, dim,
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
        mix_block<L>(tile.scores + query * stride + key, stride, tile.values + key * wide + d, count, wide,
                     tile.output + query * wide + d);
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
