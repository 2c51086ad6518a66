// Layers that round their inputs on one scale each, chosen by what the calibration set showed (static
// activation quantisation; Jacob et al., CVPR 2018, section 3), beside whatever their weights are.
#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "engine/methods/method.h"

namespace wring {
namespace {

constexpr double kLargestInt8 = 127, kInt8Steps = 255, kLargestFloat8 = 448;
constexpr double kMostLost = 0.01;  // of a scale, as it is stored: bfloat16 has 8 bits

struct Range {
  double low = 0, high = 0;  // low <= 0 <= high: codes have a zero
};

class StaticInputs final : public LayerMethod {
 public:
  explicit StaticInputs(const Params& params)
      : type_(params.get<std::string>("type") == "int8" ? InputType::kInt8 : InputType::kFloat8),
        symmetric_(params.get<bool>("symmetric")),
        range_(params.get<std::string>("range")),
        percentile_(params.get<double>("percentile")),
        scale_dtype_(params.dtype("scale_dtype")),
        scale_type_(params.get<std::string>("scale_dtype")),
        field_(params.field("type")) {}

  std::set<Statistic> needs() const override { return {Statistic::kInputNorm, Statistic::kInputValues}; }

  void check(const Layer& layer) const override {
    if (layer.class_name() != "Linear")
      throw Error(ErrorCode::kInvalidArgument, "NO_INPUTS",
                  layer.name() + " is looked up by ids and has no inputs to round", field_,
                  "Target Linear layers.");
  }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const override {
    const ValueCounts seen = input.x->value_counts();
    if (!at::isfinite(seen.values).all().item<bool>())
      throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                  "the layer's inputs hold NaN or infinity for some of the calibration set");
    const Range range = chosen(seen);
    const InputRounding rounding = grid_over(range);
    check_held(range, rounding.scale);
    report["input_scale"] = rounding.scale;
    report["input_zero"] = rounding.zero;
    report["input_error"] = error(seen, rounding);
    return rounded_input_rep(input.layer.shared_weight(), rounding);
  }

 private:
  double exact_scale(const Range& range) const {
    const double most = std::max(-range.low, range.high);
    if (type_ == InputType::kFloat8) return most / kLargestFloat8;
    return symmetric_ ? most / kLargestInt8 : (range.high - range.low) / kInt8Steps;
  }

  void check_held(const Range& range, double scale) const {
    const double exact = exact_scale(range);
    if (exact == 0 || std::abs(scale / exact - 1) <= kMostLost) return;
    throw Error(
        ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
        "its inputs want the scale " + Json(exact).dump() + ", which " + scale_type_ + " does not hold", "",
        "Use scale_dtype=float32 or bfloat16.");
  }

  // The scale may be one that its type does not hold: 1 where that is 0 or infinite.
  InputRounding grid_over(const Range& range) const {
    const double exact = exact_scale(range);
    InputRounding rounding{type_};
    rounding.scale = at::scalar_tensor(exact, scale_dtype_).to(at::kDouble).item<double>();
    if (!(rounding.scale > 0) || !std::isfinite(rounding.scale)) rounding.scale = 1;
    if (type_ == InputType::kInt8 && !symmetric_)
      rounding.zero = std::clamp<std::int64_t>(std::llround(-128 - range.low / rounding.scale), -128, 127);
    return rounding;
  }

  // Squared, relative to the inputs' squares.
  static double error(const ValueCounts& seen, const InputRounding& rounding) {
    const at::Tensor steps = seen.values / rounding.scale;
    const at::Tensor held =
        rounding.type == InputType::kInt8
            ? steps.round().clamp(-128 - rounding.zero, 127 - rounding.zero)
            : steps.clamp(-kLargestFloat8, kLargestFloat8).to(at::kFloat8_e4m3fn).to(at::kDouble);
    const double whole = seen.counts.dot(seen.values.square()).item<double>();
    const double lost = seen.counts.dot((held * rounding.scale - seen.values).square()).item<double>();
    return whole > 0 ? lost / whole : 0;
  }

  Range chosen(const ValueCounts& seen) const {
    if (seen.values.size(0) == 0) return {};
    if (range_ == "percentile") return percentile_range(seen);
    const Range all{std::min(seen.values[0].item<double>(), 0.0),
                    std::max(seen.values[-1].item<double>(), 0.0)};
    return range_ == "minmax" ? all : least_error_range(seen, all);
  }

  // Leaves out as much at each end as comes to 100 - percentile together.
  Range percentile_range(const ValueCounts& seen) const {
    const at::Tensor below = seen.counts.cumsum(0) / seen.counts.sum();
    const double cut = (100 - percentile_) / 200;
    const std::int64_t last = seen.values.size(0) - 1;
    const std::int64_t first = (below <= cut).sum().item<std::int64_t>(),
                       end = (below < 1 - cut).sum().item<std::int64_t>();
    return {std::min(seen.values[std::min(first, last)].item<double>(), 0.0),
            std::max(seen.values[std::min(end, last)].item<double>(), 0.0)};
  }

  // Both ends shrunk alike, then each by itself.
  Range least_error_range(const ValueCounts& seen, const Range& all) const {
    constexpr double kShrink = 0.96;
    constexpr int kSteps = 100;  // to 1.8 % of the range
    Range best = all;
    double least = error(seen, grid_over(all));
    const auto shrink = [&](bool low, bool high) {
      const Range from = best;
      double share = 1;
      for (int step = 0; step < kSteps; ++step) {
        share *= kShrink;
        const Range range{low ? share * from.low : from.low, high ? share * from.high : from.high};
        const double lost = error(seen, grid_over(range));
        if (lost >= least) continue;
        least = lost;
        best = range;
      }
    };
    shrink(true, true);
    shrink(true, false);
    shrink(false, true);
    return best;
  }

  InputType type_;
  bool symmetric_;
  std::string range_;
  double percentile_;
  at::ScalarType scale_dtype_;
  std::string scale_type_;  // its name
  std::string field_;
};

WRING_METHOD("static-inputs", StaticInputs);

}  // namespace
}  // namespace wring
