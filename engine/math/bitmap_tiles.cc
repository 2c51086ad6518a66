// Packing by ATen's operators, wherever the tensors are; products by the CPU's kernel.
#include "engine/math/bitmap_tiles.h"

#include <limits>

#include "common/error.h"
#include "engine/kernels/bitmap_tiles.h"

namespace wring {

BitmapTiles pack_tiles(const at::Tensor& dense, at::ScalarType dtype, std::int64_t pad) {
  const at::Tensor stored = dense.to(dtype), bits = stored.ne(0);
  const at::Tensor element = at::arange(kTile, dense.options().dtype(at::kLong)),
                   power = at::bitwise_left_shift(at::ones_like(element), element);
  const at::Tensor padded = at::floor_divide(bits.sum(-1) + (pad - 1), pad) * pad;
  const at::Tensor ends = padded.reshape({-1}).cumsum(0).view_as(padded);
  const std::int64_t count = ends.numel() > 0 ? ends.reshape({-1})[-1].item<std::int64_t>() : 0;
  if (count > std::numeric_limits<std::int32_t>::max())
    throw Error(ErrorCode::kInvalidArgument, "TOO_LARGE",
                std::to_string(count) + " values are too many to be compressed at once");
  const at::Tensor begins = ends - padded;
  BitmapTiles tiles;
  tiles.bitmaps = at::where(bits, power, 0).sum(-1);
  tiles.offsets = begins.to(at::kInt);
  tiles.values = at::zeros({count + kTileSlack}, stored.options());
  const at::Tensor place = begins.unsqueeze(-1) + bits.cumsum(-1) - 1;
  tiles.values.scatter_(0, place.masked_select(bits), stored.masked_select(bits));
  return tiles;
}

at::Tensor unpack_tiles(const BitmapTiles& tiles) {
  const at::Tensor bits =
      at::bitwise_right_shift(tiles.bitmaps.unsqueeze(-1), at::arange(kTile, tiles.bitmaps.options()))
          .bitwise_and(1);
  const at::Tensor place = (tiles.offsets.unsqueeze(-1) + bits.cumsum(-1) - 1).clamp_min(0);
  return tiles.values.to(at::kFloat).index({place}) * bits;
}

void multiply_tiles(const BitmapTiles& tiles, std::int64_t row, std::int64_t first, std::int64_t count,
                    const float* weights, std::int64_t n, std::int64_t weight_stride, float* sums,
                    std::int64_t sum_stride) {
  const std::int64_t start = row * tiles.bitmaps.size(1) + first;
  const auto run = [&]<typename Value>(const Value* values) {
    multiply_tiles(
        TileRun<Value>{
            reinterpret_cast<const std::uint64_t*>(tiles.bitmaps.const_data_ptr<std::int64_t>()) + start,
            tiles.offsets.const_data_ptr<std::int32_t>() + start, values, count},
        TileWeights{weights, n, weight_stride}, sums, sum_stride);
  };
  if (tiles.values.scalar_type() == at::kHalf)
    run(reinterpret_cast<const std::uint16_t*>(tiles.values.const_data_ptr<at::Half>()));
  else
    run(tiles.values.const_data_ptr<float>());
}

}  // namespace wring
