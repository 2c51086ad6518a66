// Resize and Upsample: every output is a weighted sum of a few inputs along each axis (ONNX's Resize, opset
// 19).
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "engine/graph/operator_table.h"

namespace wring {
namespace {

using Sizes = std::vector<std::int64_t>;

struct Sampling {
  std::string mode, coordinates, nearest;
  double cubic = -0.75;  // Keys 1981's coefficient a
};

// Where output `o` of `out` lies among `in` inputs. In single precision, as runtimes compute it: what is
// nearest at halves depends on it.
float position(const Sampling& sampling, std::int64_t o, std::int64_t in, std::int64_t out, float scale) {
  const auto at = static_cast<float>(o);
  if (sampling.coordinates == "asymmetric") return at / scale;
  if (sampling.coordinates == "align_corners")
    return out == 1 ? 0 : at * static_cast<float>(in - 1) / static_cast<float>(out - 1);
  if (sampling.coordinates == "pytorch_half_pixel" && out == 1) return 0;
  return (at + 0.5f) / scale - 0.5f;
}

std::int64_t nearest(const Sampling& sampling, float at) {
  if (sampling.nearest == "floor") return static_cast<std::int64_t>(std::floor(at));
  if (sampling.nearest == "ceil") return static_cast<std::int64_t>(std::ceil(at));
  const float down = std::floor(at);
  const bool half = at - down == 0.5f;
  if (half) return static_cast<std::int64_t>(sampling.nearest == "round_prefer_ceil" ? down + 1 : down);
  return static_cast<std::int64_t>(std::round(at));
}

// Keys' kernel at distance t in [0, 2].
float cubic_weight(float t, float a) {
  return t <= 1 ? ((a + 2) * t - (a + 3)) * t * t + 1 : ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
}

// The inputs that one output is made of.
struct Tap {
  std::int64_t index;
  float weight;
};

std::vector<Tap> taps_at(const Sampling& sampling, float at, std::int64_t in) {
  const auto inside = [&](std::int64_t i) { return std::clamp<std::int64_t>(i, 0, in - 1); };
  if (sampling.mode == "nearest") return {{inside(nearest(sampling, at)), 1}};
  if (sampling.mode == "linear") {
    const float held = std::clamp(at, 0.0f, static_cast<float>(in - 1)), down = std::floor(held),
                part = held - down;
    const auto i = static_cast<std::int64_t>(down);
    return {{i, 1 - part}, {inside(i + 1), part}};
  }
  const float down = std::floor(at), part = at - down;
  const auto i = static_cast<std::int64_t>(down);
  const auto a = static_cast<float>(sampling.cubic);
  return {{inside(i - 1), cubic_weight(part + 1, a)},
          {inside(i), cubic_weight(part, a)},
          {inside(i + 1), cubic_weight(1 - part, a)},
          {inside(i + 2), cubic_weight(2 - part, a)}};
}

at::Tensor resize_axis(const at::Tensor& x, std::int64_t axis, std::int64_t out, float scale,
                       const Sampling& sampling) {
  const std::int64_t in = x.size(axis);
  std::vector<std::vector<Tap>> taps;
  for (std::int64_t o = 0; o < out; ++o)
    taps.push_back(taps_at(sampling, position(sampling, o, in, out, scale), in));
  at::Tensor y;
  for (std::size_t k = 0; k < taps.front().size(); ++k) {
    Sizes indices, sizes(static_cast<std::size_t>(x.dim()), 1);
    std::vector<float> weights;
    for (const auto& tap : taps) {
      indices.push_back(tap[k].index);
      weights.push_back(tap[k].weight);
    }
    sizes[static_cast<std::size_t>(axis)] = out;
    const at::Tensor part = x.index_select(axis, at::tensor(indices, at::kLong).to(x.device()));
    if (sampling.mode == "nearest") return part;
    const at::Tensor weighted =
        part * at::tensor(weights).to(x.options().requires_grad(false)).reshape(sizes);
    y = y.defined() ? y + weighted : weighted;
  }
  return y;
}

std::vector<double> floats_of(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().to(at::kCPU, at::kDouble).contiguous();
  const auto* data = plain.const_data_ptr<double>();
  return {data, data + plain.numel()};
}

Tensors resize_by(const Call& call, const Sizes& axes, const std::vector<double>& scales, const Sizes& sizes,
                  const Sampling& sampling) {
  at::Tensor x = call.input(0);
  if ((sizes.empty() ? scales.size() : sizes.size()) != axes.size())
    call.refuse("its scales or sizes do not fit its axes");
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t in = x.size(axes[i]);
    const std::int64_t out =
        sizes.empty() ? static_cast<std::int64_t>(std::floor(static_cast<double>(in) * scales[i])) : sizes[i];
    if (in < 1 || out < 1) call.refuse("an axis of " + std::to_string(in) + " to " + std::to_string(out));
    const double scale = sizes.empty() ? scales[i] : static_cast<double>(out) / static_cast<double>(in);
    if (out != in || scale != 1) x = resize_axis(x, axes[i], out, static_cast<float>(scale), sampling);
  }
  return {x};
}

Sizes all_axes(const at::Tensor& x) {
  Sizes axes(static_cast<std::size_t>(x.dim()));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

bool is_one_of(const std::string& value, std::initializer_list<std::string_view> values) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

Sampling sampling_of(const Call& call) {
  Sampling sampling{call.text("mode", "nearest"), call.text("coordinate_transformation_mode", "half_pixel"),
                    call.text("nearest_mode", "round_prefer_floor"), call.number("cubic_coeff_a", -0.75)};
  if (!is_one_of(sampling.mode, {"nearest", "linear", "cubic"}))
    call.unsupported("the mode " + sampling.mode);
  if (!is_one_of(sampling.coordinates, {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"}))
    call.unsupported("the coordinate transformation " + sampling.coordinates);
  if (call.flag("antialias")) call.unsupported("antialias");
  if (call.flag("exclude_outside")) call.unsupported("exclude_outside");
  if (call.text("keep_aspect_ratio_policy", "stretch") != "stretch")
    call.unsupported("keep_aspect_ratio_policy");
  return sampling;
}

// Opset 10 has the scales as its second input and Upsample's rules.
Tensors resize(const Call& call) {
  const at::Tensor x = call.input(0);
  if (call.opset() < 11) {
    const Sampling sampling{call.text("mode", "nearest"), "asymmetric", "floor"};
    return resize_by(call, all_axes(x), floats_of(call.input(1)), {}, sampling);
  }
  Sizes axes;
  for (const auto axis : call.integers("axes").value_or(all_axes(x)))
    axes.push_back(call.axis(axis, x.dim()));
  const Sizes sizes = call.integers_of(3).value_or(Sizes());
  const std::vector<double> scales = sizes.empty() ? floats_of(call.input(2)) : std::vector<double>();
  return resize_by(call, axes, scales, sizes, sampling_of(call));
}

Tensors upsample(const Call& call) {
  const Sampling sampling{call.text("mode", "nearest"), "asymmetric", "floor"};
  if (!is_one_of(sampling.mode, {"nearest", "linear"})) call.unsupported("the mode " + sampling.mode);
  return resize_by(call, all_axes(call.input(0)), floats_of(call.input(1)), {}, sampling);
}

constexpr std::array kRows{
    OperatorRow{"Resize", resize},
    OperatorRow{"Upsample", upsample},
};

}  // namespace

std::span<const OperatorRow> resize_operators() {
  return kRows;
}

}  // namespace wring
