// FP4: round every weight to E2M1 on a scale for its group: NVFP4 (groups of 16, E4M3 scales) or MXFP4
// (groups of 32, powers of two; OCP Microscaling Formats 1.0).
#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "engine/methods/method.h"

namespace wring {
namespace {

constexpr double kLargest = 6, kLargestScale = 448;

// Codes of x >= 0 without their sign, halves to even.
at::Tensor nearest_codes(const at::Tensor& x) {
  return (x > 0.25).to(at::kByte) + (x >= 0.75) + (x > 1.25) + (x >= 1.75) + (x > 2.5) + (x >= 3.5) + (x > 5);
}

// uint8 of w [out, groups, size] on `scale` [out, groups, 1].
at::Tensor codes_on(const at::Tensor& w, const at::Tensor& scale) {
  const at::Tensor x = w / scale.clamp_min(1e-38);
  return (nearest_codes(x.abs()) + (x < 0).to(at::kByte) * 8).to(at::kByte);
}

at::Tensor packed(const at::Tensor& codes) {
  const at::Tensor pairs = codes.reshape({codes.size(0), -1, 2});
  return pairs.select(-1, 0).bitwise_or(pairs.select(-1, 1).bitwise_left_shift(4)).contiguous();
}

// Siblings whose loaders fuse them (q, k and v; gate and up) must share the divisor of their scales, so all
// have the same one, a power of two that leaves scales of weights from 4e-4 to 10 their three bits of
// mantissa; a smaller one where a weight is larger.
double global_scale(const at::Tensor& largest) {
  const double most = largest.max().item<double>();
  if (most <= kLargest * kLargestScale / 256) return 256;
  return std::exp2(std::floor(std::log2(kLargest * kLargestScale / most)));
}

Float4 nvfp4(const at::Tensor& w) {
  Float4 parts;
  const at::Tensor largest = w.abs().amax(-1);
  parts.global_scale = global_scale(largest);
  parts.scales = (largest * (parts.global_scale / kLargest)).clamp(0, kLargestScale).to(at::kFloat8_e4m3fn);
  parts.codes = packed(codes_on(w, (parts.scales.to(at::kFloat) / parts.global_scale).unsqueeze(-1)));
  return parts;
}

// The scale is 2^(floor(log2 of the largest) - 2), or twice that, whichever leaves the smaller squared error.
Float4 mxfp4(const at::Tensor& w) {
  const at::Tensor low = at::log2(w.abs().amax(-1).clamp_min(1e-38)).floor().sub(2).clamp(-126, 126);
  Float4 best;
  at::Tensor least;
  for (const int more : {0, 1}) {
    Float4 parts;
    parts.scales = (low + (127 + more)).to(at::kByte);
    const at::Tensor scale = at::exp2(low + more).unsqueeze(-1);
    const at::Tensor codes = codes_on(w, scale);
    parts.codes = packed(codes);
    const at::Tensor error =
        (float4_rep(parts)->decode(at::kFloat).reshape(w.sizes()) - w).square().sum(-1, true);
    if (!least.defined()) {
      best = parts;
      least = error;
      continue;
    }
    const at::Tensor better = error < least;
    best.scales = at::where(better.squeeze(-1), parts.scales, best.scales);
    const auto by_group = [&](const at::Tensor& t) { return t.reshape({w.size(0), w.size(1), -1}); };
    best.codes = at::where(better, by_group(parts.codes), by_group(best.codes)).reshape(best.codes.sizes());
  }
  return best;
}

class Fp4 final : public LayerMethod {
 public:
  explicit Fp4(const Params& params)
      : nvidia_(params.get<std::string>("format") == "nvfp4"), field_(params.field("format")) {}

  void check(const Layer& layer) const override {
    const std::int64_t in = layer.weight().columns();
    if (in % group_size() != 0)
      throw Error(ErrorCode::kInvalidArgument, "GROUP_SIZE",
                  "groups of " + std::to_string(group_size()) + " do not divide the " + std::to_string(in) +
                      " input features of " + layer.name(),
                  field_, !nvidia_ && in % 16 == 0 ? "nvfp4 has groups of 16." : "Take rtn or fp8.");
  }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json&) const override {
    const at::Tensor weight = input.layer.weight().decode(at::kFloat).cpu();
    const at::Tensor groups = weight.reshape({weight.size(0), -1, group_size()});
    return float4_rep(nvidia_ ? nvfp4(groups) : mxfp4(groups));
  }

 private:
  std::int64_t group_size() const { return nvidia_ ? 16 : 32; }
  bool nvidia_;
  std::string field_;
};

WRING_METHOD("fp4", Fp4);

}  // namespace
}  // namespace wring
