// FP8: round every weight to E4M3 on a scale for its row, or for its tile (arXiv 2209.05433; tiles as in
// DeepSeek-V3, arXiv 2412.19437, section 3.3).
#include <algorithm>

#include "common/error.h"
#include "engine/methods/method.h"

namespace wring {
namespace {

constexpr double kLargest = 448;

// The largest |w| of each tile of `weight`: [ceil(out / rows), ceil(in / columns)].
at::Tensor largest_of_tiles(const at::Tensor& weight, std::int64_t rows, std::int64_t columns) {
  const auto padding = [](std::int64_t size, std::int64_t block) { return (block - size % block) % block; };
  const at::Tensor padded = at::constant_pad_nd(
      weight.abs(), {0, padding(weight.size(1), columns), 0, padding(weight.size(0), rows)});
  return padded.unflatten(1, {-1, columns}).unflatten(0, {-1, rows}).amax({1, 3});
}

class Fp8 final : public LayerMethod {
 public:
  explicit Fp8(const Params& params)
      : block_(params.get<std::int64_t>("block")),
        scale_dtype_(params.dtype("scale_dtype")),
        field_(params.field("block")) {}

  void check(const Layer&) const override {
    if (block_ == 0)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "0 is the side of no tile", field_,
                  "-1 takes whole rows, 128 is what loaders know.");
  }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json&) const override {
    const at::Tensor weight = input.layer.weight().decode(at::kFloat).cpu();
    const std::int64_t out = weight.size(0), in = weight.size(1);
    Float8 parts;
    parts.block_rows = block_ < 0 ? 1 : std::min(block_, out);
    parts.block_columns = block_ < 0 ? in : std::min(block_, in);
    parts.scales =
        (largest_of_tiles(weight, parts.block_rows, parts.block_columns) / kLargest).to(scale_dtype_);
    const at::Tensor scales = parts.scales.to(at::kFloat)
                                  .repeat_interleave(parts.block_rows, 0)
                                  .narrow(0, 0, out)
                                  .repeat_interleave(parts.block_columns, 1)
                                  .narrow(1, 0, in);
    parts.values =
        (weight / scales.clamp_min(1e-30)).clamp(-kLargest, kLargest).to(at::kFloat8_e4m3fn).contiguous();
    return float8_rep(parts);
  }

 private:
  std::int64_t block_;
  at::ScalarType scale_dtype_;
  std::string field_;
};

WRING_METHOD("fp8", Fp8);

}  // namespace
}  // namespace wring
