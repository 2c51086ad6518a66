// Sparse tiles of 64 elements as bitmaps and the values of their set bits, and back.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace wring {

// Immutable. Tiles of each of several rows, in order.
struct BitmapTiles {
  at::Tensor bitmaps;  // int64 [rows, tiles], bit i: element i is not zero
  at::Tensor offsets;  // int32 [rows, tiles], where a tile's values begin
  at::Tensor values;   // [n], each tile's filled up with zeros to a multiple of `pad`; some more at the end

  std::uint64_t bytes() const { return bitmaps.nbytes() + offsets.nbytes() + values.nbytes(); }
};

// dense [rows, tiles, 64] -> the same, values in `dtype` (float16, float32). What is zero there takes a bit.
BitmapTiles pack_tiles(const at::Tensor& dense, at::ScalarType dtype, std::int64_t pad);
at::Tensor unpack_tiles(const BitmapTiles& tiles);  // fp32 [rows, tiles, 64]

// On the CPU: sums [n, 64] += sum over tiles i = first .. first + count of a row of weights[r][i - first]
// times tile i. Pointers to fp32; weights [n, weight_stride], sums [n, sum_stride].
void multiply_tiles(const BitmapTiles& tiles, std::int64_t row, std::int64_t first, std::int64_t count,
                    const float* weights, std::int64_t n, std::int64_t weight_stride, float* sums,
                    std::int64_t sum_stride);

}  // namespace wring
