// Lazy batch updates (GPTQ, section 3.3): a block is walked in the cache, the columns behind it are updated
// by one product.
#include "engine/math/column_walk.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "engine/math/matmul.h"

namespace wring {

void load_lanes(const float* weight, std::int64_t stride, std::int64_t rows, std::int64_t count,
                float* lanes) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < count; ++j) lanes[j * kLanes + r] = weight[r * stride + j];
  for (std::int64_t r = rows; r < kLanes; ++r)
    for (std::int64_t j = 0; j < count; ++j) lanes[j * kLanes + r] = 0;
}

void walk_block(at::Tensor& weight, const at::Tensor& upper, std::int64_t first, std::int64_t count,
                const std::function<void(const WalkTile&)>& walk) {
  const std::int64_t rows = weight.size(0), columns = weight.size(1), behind = columns - first - count;
  at::Tensor errors = at::empty({rows, count}, weight.options());
  auto* values = weight.data_ptr<float>() + first;
  auto* error_values = errors.data_ptr<float>();
  const float* factor = upper.const_data_ptr<float>() + first * columns + first;
  at::parallel_for(0, (rows + kLanes - 1) / kLanes, 1, [&](std::int64_t begin, std::int64_t end) {
    std::array<float, kWalkColumns * kLanes> w, e;
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t row = t * kLanes, in_tile = std::min<std::int64_t>(kLanes, rows - row);
      load_lanes(values + row * columns, columns, in_tile, count, w.data());
      walk({{w.data(), e.data(), factor, columns, count}, row, in_tile});
      store_lanes(w.data(), columns, in_tile, count, values + row * columns);
      store_lanes(e.data(), count, in_tile, count, error_values + row * count);
    }
  });
  if (behind == 0) return;
  const at::Tensor update =
      wring::matmul(errors, upper.narrow(0, first, count).narrow(1, first + count, behind));
  weight.narrow(1, first + count, behind).sub_(update);
}

}  // namespace wring
