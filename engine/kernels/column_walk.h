// Inner loops of methods that quantise or prune a weight column by column: many rows side by side, one a
// lane.
#pragma once

#include <cstdint>

namespace wring {

inline constexpr int kLanes = 16;  // rows of a tile; every array below is [columns][kLanes]

// One tile of a weight with the columns of a block. Kernels put the final value of a walked column into w,
// its error over the factor's diagonal into errors, and move the error into the columns that follow in the
// tile:
//   e_i = (w_i - q_i) / U_ii,   w_j -= e_i U_ij for j > i     (GPTQ, eq. 2 and 3; SparseGPT, alg. 1)
struct ColumnTile {
  float* w;
  float* errors;
  const float* upper;  // U of the block's columns: upper[i * stride + j]
  std::int64_t stride;
  std::int64_t columns;
};

// Points of a grid: value = (code - zero) * scale, code in 0 .. max_code, zero an integer. Scales are not
// zero.
struct Grids {
  const float* scale;
  const float* zero;
  float max_code;
};

// Walks columns [first, last) of the tile, rounding each to its grid (scale, zero [columns][kLanes]); to zero
// where `keep` is 0 (else 1). Without `keep` all are kept.
void quantize_columns(const ColumnTile& tile, std::int64_t first, std::int64_t last, const Grids& grids,
                      const float* keep, std::uint8_t* codes);

// Walks columns [first, last), zeroing where keep is 0 (else 1).
void prune_columns(const ColumnTile& tile, std::int64_t first, std::int64_t last, const float* keep);

// Walks column i to `values` [kLanes], which the caller has chosen: for grids that have no kernel here.
void set_column(const ColumnTile& tile, std::int64_t i, const float* values);

// Rounds columns without walking, on one grid a lane (scale, zero [kLanes]).
void round_columns(const float* w, std::int64_t columns, const Grids& grid, std::uint8_t* codes);

// Least and largest value of each lane over `columns`, both with zero included.
void lane_range(const float* w, std::int64_t columns, float* low, float* high);

// sum_j importance_j (w_j - q_j)^2 of each lane, on one grid a lane (scale, zero [kLanes]).
void grid_error(const float* w, std::int64_t columns, const Grids& grid, const float* importance,
                float* error);

}  // namespace wring
