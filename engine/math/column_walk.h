// A weight walked block by block along its columns: tiles of rows in parallel, then the update of everything
// behind.
#pragma once

#include <ATen/ATen.h>

#include <functional>

#include "engine/kernels/column_walk.h"

namespace wring {

inline constexpr std::int64_t kWalkColumns = 128;  // a block's columns at most

// Rows [row, row + rows) of the weight as a tile; lanes past `rows` are zero.
struct WalkTile {
  ColumnTile tile;
  std::int64_t row, rows;
};

// Walks columns [first, first + count) of `weight` [out, in] fp32 contiguous, count <= kWalkColumns. `walk`
// is called for each tile, from several threads; it must walk all of its columns. The tiles go back into the
// weight, and their errors into the columns that follow: W[:, behind] -= E U[block, behind]. `upper` [in, in]
// is InverseFactor's.
void walk_block(at::Tensor& weight, const at::Tensor& upper, std::int64_t first, std::int64_t count,
                const std::function<void(const WalkTile&)>& walk);

// Rows [row, row + rows) and `count` columns from `first` as lanes, [count][kLanes]; and back.
void load_lanes(const float* weight, std::int64_t stride, std::int64_t rows, std::int64_t count,
                float* lanes);
template <typename T, typename U>
void store_lanes(const T* lanes, std::int64_t stride, std::int64_t rows, std::int64_t count, U* out) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < count; ++j) out[r * stride + j] = static_cast<U>(lanes[j * kLanes + r]);
}

}  // namespace wring
