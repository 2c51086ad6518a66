// GPTQ onto small floats (Frantar et al., ICLR 2023): scales as rounding to nearest has them, then column by
// column, moving each column's error into the columns that follow.
#include <algorithm>
#include <array>

#include "common/error.h"
#include "engine/math/column_walk.h"
#include "engine/methods/factor_report.h"
#include "engine/methods/quantize/float_grid.h"
#include "engine/methods/quantize/kept_places.h"

namespace wring {
namespace {

// One walk over a weight, its columns in the factor's order; their scales stay where they were.
class FloatWalk {
 public:
  // `kept`: see kept_places().
  FloatWalk(const FloatSpec& spec, const at::Tensor& weight, const at::Tensor& kept,
            const InverseFactor& factor)
      : factor_(factor), grid_(spec, weight), weight_(weight.index_select(1, factor.order)) {
    codes_ = at::empty(weight.sizes(), at::kByte);
    if (kept.defined()) kept_ = kept.index_select(1, factor.order);
  }

  std::shared_ptr<const WeightRep> run() {
    const std::int64_t columns = weight_.size(1);
    for (std::int64_t first = 0; first < columns; first += kWalkColumns)
      walk_block(weight_, factor_.upper, first, std::min(kWalkColumns, columns - first),
                 [&](const WalkTile& tile) { walk(tile, first); });
    return grid_.rep(codes_.index_select(1, at::argsort(factor_.order)));
  }

 private:
  void walk(const WalkTile& tile, std::int64_t first) {
    const std::int64_t columns = weight_.size(1);
    const auto* order = factor_.order.const_data_ptr<std::int64_t>();
    const float* kept = kept_.defined() ? kept_.const_data_ptr<float>() : nullptr;
    auto* codes = codes_.mutable_data_ptr<std::uint8_t>();
    std::array<float, kLanes> values{};
    for (std::int64_t i = 0; i < tile.tile.columns; ++i) {
      for (std::int64_t lane = 0; lane < tile.rows; ++lane) {
        const std::int64_t row = tile.row + lane, place = row * columns + first + i;
        const float step = grid_.step(row, order[first + i]);
        const bool stays = !kept || kept[place] != 0;
        codes[place] = stays ? grid_.code(tile.tile.w[i * kLanes + lane], step) : std::uint8_t{0};
        values[static_cast<std::size_t>(lane)] = grid_.value(codes[place], step);
      }
      set_column(tile.tile, i, values.data());
    }
  }

  const InverseFactor& factor_;
  FloatGrid grid_;
  at::Tensor weight_;  // [out, in] in the walk's order; columns behind the walk hold what was moved into them
  at::Tensor kept_;    // the same, or undefined
  at::Tensor codes_;   // uint8, the same
};

class GptqFloat final : public LayerMethod {
 public:
  explicit GptqFloat(const Params& params)
      : params_(params),
        spec_{float_format_named(params.get<std::string>("format")), params.get<std::int64_t>("block"),
              params.dtype("scale_dtype")},
        activation_order_(params.get<bool>("activation_order")),
        damping_(params.get<double>("damping")) {}

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }

  void check(const Layer& layer) const override {
    if (spec_.format != FloatFormat::kFp8 && spec_.block != -1)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                  params_.get<std::string>("format") + " has groups of its own, no tiles",
                  params_.field("block"), "Leave block out, or take format fp8.");
    check_float_grid(spec_, layer, params_);
  }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const override {
    const auto factor = input.x->inverse_factor(damping_, activation_order_);
    report_factor(*factor, report);
    const at::Tensor weight = input.layer.weight().decode(at::kFloat).cpu();
    return FloatWalk(spec_, weight, kept_places(input.layer, weight), *factor).run();
  }

 private:
  Params params_;
  FloatSpec spec_;
  bool activation_order_;
  double damping_;
};

WRING_METHOD("gptq-float", GptqFloat);

}  // namespace
}  // namespace wring
