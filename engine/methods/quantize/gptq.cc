// GPTQ: quantise column by column, moving each column's error into the columns that follow (Frantar et al.,
// ICLR 2023).
#include <algorithm>
#include <array>
#include <vector>

#include "engine/math/column_walk.h"
#include "engine/methods/factor_report.h"
#include "engine/methods/quantize/grid.h"
#include "engine/methods/quantize/kept_places.h"

namespace wring {
namespace {

// What a squared error in each column costs after the columns behind it have made up for it as well as they
// can: 1 / U_jj^2 (OBQ's saliency), [in] in the weight's order.
at::Tensor cost_of_error(const InverseFactor& factor) {
  return factor.upper.diagonal()
      .square()
      .reciprocal()
      .index_select(0, at::argsort(factor.order))
      .contiguous();
}

// One walk over a weight. With activation order the columns are permuted, but groups stay where they were,
// and their grids are found beforehand; without, a group's grids are found when the walk reaches it.
class Gptq {
 public:
  // `kept`: see kept_places().
  Gptq(const GridSpec& spec, at::Tensor weight, at::Tensor kept, const InverseFactor& factor,
       bool activation_order)
      : factor_(factor),
        activation_order_(activation_order),
        importance_(cost_of_error(factor)),
        weight_(std::move(weight)),
        kept_(std::move(kept)),
        quantized_(spec, weight_.size(0), weight_.size(1)) {
    if (!activation_order_) return;
    find_all_grids(weight_, importance_, quantized_);
    weight_ = weight_.index_select(1, factor.order);
    if (kept_.defined()) kept_ = kept_.index_select(1, factor.order);
  }

  std::shared_ptr<const WeightRep> run() {
    for (std::int64_t first = 0, count = 0; first < quantized_.columns; first += count) {
      count = block_columns(first);
      walk_block(weight_, factor_.upper, first, count, [&](const WalkTile& tile) { walk(tile, first); });
    }
    if (activation_order_) quantized_.codes = quantized_.codes.index_select(1, at::argsort(factor_.order));
    return quantized_.rep();
  }

 private:
  // Whole groups, or a part of one: a group begins only where everything before it is already moved into it.
  std::int64_t block_columns(std::int64_t first) const {
    const std::int64_t group = quantized_.group_size, left = quantized_.columns - first;
    if (activation_order_) return std::min(kWalkColumns, left);
    if (group <= kWalkColumns) return std::min(kWalkColumns / group * group, left);
    return std::min(kWalkColumns, group - first % group);
  }

  void walk(const WalkTile& tile, std::int64_t first) {
    std::array<float, kWalkColumns * kLanes> scale, zero, kept;
    std::array<std::uint8_t, kWalkColumns * kLanes> codes;
    const Grids grids{scale.data(), zero.data(), quantized_.spec.max_code()};
    const std::int64_t count = tile.tile.columns;
    if (kept_.defined())
      load_lanes(kept_.const_data_ptr<float>() + tile.row * quantized_.columns + first, quantized_.columns,
                 tile.rows, count, kept.data());
    const std::int64_t step = activation_order_ ? count : std::min(quantized_.group_size, count);
    for (std::int64_t begin = 0; begin < count; begin += step) {
      if (!activation_order_ && (first + begin) % quantized_.group_size == 0) find_group(tile, first, begin);
      for (std::int64_t i = begin; i < begin + step; ++i)
        fill_grids(tile, first + i, &scale[i * kLanes], &zero[i * kLanes]);
      quantize_columns(tile.tile, begin, begin + step, grids, kept_.defined() ? kept.data() : nullptr,
                       codes.data());
    }
    store_lanes(codes.data(), quantized_.columns, tile.rows, count,
                quantized_.codes.data_ptr<std::uint8_t>() + tile.row * quantized_.columns + first);
  }

  // The grids of the group that begins at column `begin` of the tile: it lies in the tile, or goes on behind
  // the block.
  void find_group(const WalkTile& tile, std::int64_t first, std::int64_t begin) {
    const std::int64_t size = quantized_.group_size, column = first + begin;
    const float* importance = importance_.const_data_ptr<float>() + column;
    const float* w = tile.tile.w + begin * kLanes;
    std::vector<float> lanes;
    if (begin + size > tile.tile.columns) {
      lanes.resize(static_cast<std::size_t>(size * kLanes));
      load_lanes(weight_.const_data_ptr<float>() + tile.row * quantized_.columns + column, quantized_.columns,
                 tile.rows, size, lanes.data());
      w = lanes.data();
    }
    quantized_.set_grids(tile.row, tile.rows, column / size,
                         find_grids(quantized_.spec, w, size, importance));
  }

  void fill_grids(const WalkTile& tile, std::int64_t column, float* scale, float* zero) const {
    const std::int64_t original =
        activation_order_ ? factor_.order.const_data_ptr<std::int64_t>()[column] : column;
    const LaneGrids grids = quantized_.grids(tile.row, tile.rows, original / quantized_.group_size);
    std::copy(grids.scale.begin(), grids.scale.end(), scale);
    std::copy(grids.zero.begin(), grids.zero.end(), zero);
  }

  const InverseFactor& factor_;
  bool activation_order_;
  at::Tensor importance_;  // [in], of a column's error in the search for scales, in the weight's order
  at::Tensor weight_;  // [out, in] in the walk's order; columns behind the walk hold what was moved into them
  at::Tensor kept_;    // [out, in] in the walk's order, or undefined
  QuantizedWeight quantized_;
};

class GptqMethod final : public LayerMethod {
 public:
  explicit GptqMethod(const Params& params)
      : spec_(GridSpec::from(params)),
        activation_order_(params.get<bool>("activation_order")),
        damping_(params.get<double>("damping")),
        field_(params.field("group_size")) {}

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }
  void check(const Layer& layer) const override { check_group_size("gptq", spec_, layer, field_); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const override {
    const auto factor = input.x->inverse_factor(damping_, activation_order_);
    report_factor(*factor, report);
    at::Tensor weight = decode_to_own(input.layer.weight());
    at::Tensor kept = kept_places(input.layer, weight);
    return Gptq(spec_, std::move(weight), std::move(kept), *factor, activation_order_).run();
  }

 private:
  GridSpec spec_;
  bool activation_order_;
  double damping_;
  std::string field_;
};

WRING_METHOD("gptq", GptqMethod);

}  // namespace
}  // namespace wring
