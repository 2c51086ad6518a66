// Softmax attention of one head for a tile of queries, in fp32.
#pragma once

#include <cstdint>

namespace wring {

inline constexpr std::int64_t kQueryTile = 24;  // queries of one call
inline constexpr std::int64_t kKeyTile = 32;    // keys that are scored at once; value_dim is a multiple of it

inline constexpr std::int64_t padded_keys(std::int64_t keys) {
  return (keys + kKeyTile - 1) / kKeyTile * kKeyTile;
}

// keys [count, head_dim] -> packed [count / kKeyTile][head_dim][kKeyTile],
// zeros after the last: padded_keys(count) * head_dim floats.
void pack_keys(const float* keys, std::int64_t count, std::int64_t head_dim, float* packed);

struct AttentionTile {
  const float* queries;      // [kQueryTile, head_dim], times the softmax scale; zeros after the last
  const float* packed_keys;  // see pack_keys
  const float* values;       // [keys, value_dim]
  const std::uint8_t* keep;  // [keys], 0 hides a key from all queries; null: none is hidden
  std::int64_t keys, head_dim, value_dim;
  std::int64_t first_visible;  // query i sees the keys below first_visible + i * visible_step
  std::int64_t visible_step;   // 1: causal, 0: all see the same
  float* scores;               // scratch [kQueryTile, padded_keys(keys)]
  float* output;               // [kQueryTile, value_dim]; zeros for a query that sees nothing
};

void attend(const AttentionTile& tile);

}  // namespace wring
