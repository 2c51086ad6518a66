// SparseGPT: zero the weights whose loss is easiest made up for, and make up for it (Frantar & Alistarh, ICML
// 2023, alg. 1).
#include <algorithm>
#include <array>
#include <utility>

#include "engine/math/column_walk.h"
#include "engine/methods/factor_report.h"
#include "engine/methods/sparse/pattern.h"

namespace wring {
namespace {

class SparseGpt final : public LayerMethod {
 public:
  explicit SparseGpt(const Params& params)
      : pattern_(params.sparsity("pattern")),
        damping_(params.get<double>("damping")),
        block_size_(params.get<std::int64_t>("block_size")),
        field_(params.field("pattern")),
        value_dtype_(params.get<std::string>("value_dtype")) {}

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }
  void check(const Layer& layer) const override { check_pattern("sparsegpt", pattern_, layer, field_); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const override {
    const auto factor = input.x->inverse_factor(damping_, /*descending=*/false);
    report_factor(*factor, report);
    at::Tensor weight = decode_to_own(input.layer.weight());
    at::Tensor keep = at::empty(weight.sizes(), at::kBool);
    const at::Tensor ease = ease_of_loss(*factor);
    const std::int64_t columns = weight.size(1);
    const std::int64_t block = pattern_.m > 0 ? columns : block_size_;
    for (std::int64_t first = 0; first < columns; first += block)
      prune_block(weight, keep, *factor, ease, first, std::min(block, columns - first));
    return masked_as(weight, keep, input.layer, value_dtype_);
  }

 private:
  // 1 / U_jj^2, zero for dead columns: the saliency of a weight is its square times this.
  static at::Tensor ease_of_loss(const InverseFactor& factor) {
    return factor.upper.diagonal().square().reciprocal().masked_fill_(factor.dead, 0).contiguous();
  }

  void prune_block(at::Tensor& weight, at::Tensor& keep, const InverseFactor& factor, const at::Tensor& ease,
                   std::int64_t first, std::int64_t count) const {
    if (pattern_.m == 0) {
      const at::Tensor saliency = weight.narrow(1, first, count).square() * ease.narrow(0, first, count);
      keep.narrow(1, first, count).copy_(keep_largest(saliency.contiguous(), pattern_.share));
    }
    const std::int64_t step = pattern_.m > 0 ? kWalkColumns / pattern_.m * pattern_.m : kWalkColumns;
    for (std::int64_t at = first; at < first + count; at += step)
      walk_block(weight, factor.upper, at, std::min(step, first + count - at),
                 [&](const WalkTile& tile) { walk(tile, at, ease, keep); });
  }

  void walk(const WalkTile& tile, std::int64_t first, const at::Tensor& ease, at::Tensor& keep) const {
    std::array<float, kWalkColumns * kLanes> kept;
    const std::int64_t columns = keep.size(1), count = tile.tile.columns;
    bool* mask = keep.data_ptr<bool>() + tile.row * columns + first;
    const float* column_ease = ease.const_data_ptr<float>() + first;
    if (pattern_.m == 0) {
      for (std::int64_t j = 0; j < count; ++j)
        for (std::int64_t r = 0; r < kLanes; ++r)
          kept[j * kLanes + r] = r >= tile.rows || mask[r * columns + j] ? 1.0F : 0.0F;
      return prune_columns(tile.tile, 0, count, kept.data());
    }
    for (std::int64_t begin = 0; begin < count; begin += pattern_.m) {
      keep_of_lanes(tile.tile.w + begin * kLanes, column_ease + begin, &kept[begin * kLanes]);
      prune_columns(tile.tile, begin, begin + pattern_.m, kept.data());
    }
    store_lanes(kept.data(), columns, tile.rows, count, mask);
  }

  // Of M neighbours the N of least saliency go, as the walk so far has left them: kept [M][kLanes] is 0 or 1.
  void keep_of_lanes(const float* w, const float* ease, float* kept) const {
    std::array<std::pair<float, int>, kWalkColumns> saliency;
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int j = 0; j < pattern_.m; ++j) {
        const float value = w[j * kLanes + lane];
        saliency[j] = {value * value * ease[j], j};
        kept[j * kLanes + lane] = 1;
      }
      std::partial_sort(saliency.begin(), saliency.begin() + pattern_.n, saliency.begin() + pattern_.m);
      for (int k = 0; k < pattern_.n; ++k) kept[saliency[k].second * kLanes + lane] = 0;
    }
  }

  SparsityPattern pattern_;
  double damping_;
  std::int64_t block_size_;
  std::string field_, value_dtype_;
};

WRING_METHOD("sparsegpt", SparseGpt);

}  // namespace
}  // namespace wring
