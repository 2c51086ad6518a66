// Convolution and pooling over one to three spatial axes, [batch, channels, spatial...].
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "engine/graph/operator_table.h"

namespace wring {
namespace {

using Sizes = std::vector<std::int64_t>;

// The window of a convolution or pool, one entry a spatial axis.
struct Window {
  Sizes kernel, strides, dilations, begin, end;  // begin and end: padding

  bool symmetric() const { return begin == end; }
  // Whether ATen's pools can pad so: alike on both sides, and at most half a window.
  bool pools_pad() const {
    for (std::size_t i = 0; i < kernel.size(); ++i)
      if (begin[i] < 0 || begin[i] * 2 > kernel[i]) return false;
    return symmetric();
  }
  bool padded() const {
    const auto some = [](std::int64_t pad) { return pad != 0; };
    return std::any_of(begin.begin(), begin.end(), some) || std::any_of(end.begin(), end.end(), some);
  }
};

Sizes sizes_of(const Call& call, const char* name, std::size_t axes, std::int64_t fallback) {
  const Sizes sizes = call.integers(name).value_or(Sizes(axes, fallback));
  if (sizes.size() != axes)
    call.refuse(std::string(name) + " has " + std::to_string(sizes.size()) + " sizes for " +
                std::to_string(axes) + " spatial axes");
  return sizes;
}

// auto_pad SAME: as many outputs as strides fit into the input.
void pad_to_same(Window& window, const at::Tensor& x, bool upper) {
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const std::int64_t in = x.size(static_cast<std::int64_t>(i) + 2),
                       out = (in + window.strides[i] - 1) / window.strides[i],
                       reach = (window.kernel[i] - 1) * window.dilations[i] + 1;
    const std::int64_t pad = std::max<std::int64_t>((out - 1) * window.strides[i] + reach - in, 0);
    window.begin[i] = upper ? pad / 2 : pad - pad / 2;
    window.end[i] = pad - window.begin[i];
  }
}

Window window_of(const Call& call, const at::Tensor& x, Sizes kernel) {
  const auto axes = static_cast<std::size_t>(std::max<std::int64_t>(x.dim() - 2, 0));
  if (axes < 1 || axes > 3) call.unsupported("an input of " + std::to_string(x.dim()) + " dimensions");
  if (kernel.size() != axes) call.refuse("a kernel of " + std::to_string(kernel.size()) + " sizes");
  Window window{
      std::move(kernel), sizes_of(call, "strides", axes, 1), sizes_of(call, "dilations", axes, 1), {}, {}};
  if (std::any_of(window.strides.begin(), window.strides.end(), [](std::int64_t s) { return s < 1; }))
    call.refuse("strides must be positive");
  const std::string mode = call.text("auto_pad", "NOTSET");
  const Sizes pads = mode == "NOTSET" ? sizes_of(call, "pads", 2 * axes, 0) : Sizes(2 * axes, 0);
  window.begin.assign(pads.begin(), pads.begin() + static_cast<std::ptrdiff_t>(axes));
  window.end.assign(pads.begin() + static_cast<std::ptrdiff_t>(axes), pads.end());
  if (mode.starts_with("SAME")) pad_to_same(window, x, mode == "SAME_UPPER");
  return window;
}

// Pads as ATen counts them: from the last axis, begin and end.
at::Tensor padded(const at::Tensor& x, const Window& window, double value) {
  Sizes pads;
  for (std::size_t i = window.begin.size(); i-- > 0;) {
    pads.push_back(window.begin[i]);
    pads.push_back(window.end[i]);
  }
  return at::constant_pad_nd(x, pads, value);
}

// What ATen can pad itself it pads; else `x` is padded with `value` first.
Sizes take_padding(at::Tensor& x, const Window& window, double value, bool can_pad) {
  if (can_pad) return window.begin;
  if (window.padded()) x = padded(x, window, value);
  return Sizes(window.begin.size(), 0);
}

Sizes spatial_sizes(const at::Tensor& weight) {
  return weight.dim() < 2 ? Sizes() : weight.sizes().slice(2).vec();
}

Tensors conv(const Call& call) {
  at::Tensor x = call.input(0);
  const at::Tensor weight = call.input(1);
  const Window window = window_of(call, x, spatial_sizes(weight));
  const Sizes padding = take_padding(x, window, 0, window.symmetric());
  return {at::convolution(x, weight, call.optional_input(2), window.strides, padding, window.dilations, false,
                          Sizes(padding.size(), 0), call.integer("group", 1))};
}

// Computed without padding, then cropped: ATen knows no padding of two sizes. Output [i - 1] * stride +
// reach.
Tensors conv_transpose(const Call& call) {
  const at::Tensor x = call.input(0), weight = call.input(1);
  Window window = window_of(call, x, spatial_sizes(weight));
  const std::size_t axes = window.kernel.size();
  const Sizes extra = sizes_of(call, "output_padding", axes, 0);
  const auto wanted = call.integers("output_shape");
  const bool same = call.text("auto_pad", "NOTSET").starts_with("SAME");
  if (wanted && wanted->size() < axes) call.refuse("output_shape is too short");
  for (std::size_t i = 0; i < axes && (wanted || same); ++i) {
    const std::int64_t in = x.size(static_cast<std::int64_t>(i) + 2),
                       reach = (window.kernel[i] - 1) * window.dilations[i] + 1,
                       out = wanted ? (*wanted)[wanted->size() - axes + i] : in * window.strides[i],
                       pad = (in - 1) * window.strides[i] + extra[i] + reach - out;
    const std::int64_t cut = std::max<std::int64_t>(pad, 0);  // what is too little is added at the end
    window.begin[i] = call.text("auto_pad", "NOTSET") == "SAME_UPPER" ? cut / 2 : cut - cut / 2;
    window.end[i] = pad - window.begin[i];
  }
  at::Tensor y = at::convolution(x, weight, {}, window.strides, Sizes(axes, 0), window.dilations, true,
                                 Sizes(axes, 0), call.integer("group", 1));
  for (std::size_t i = 0; i < axes; ++i) {  // negative padding crops
    window.begin[i] = -window.begin[i];
    window.end[i] = extra[i] - window.end[i];
  }
  if (window.padded()) y = padded(y, window, 0);
  if (!call.has_input(2)) return {y};
  Sizes channels(static_cast<std::size_t>(y.dim()), 1);
  channels[1] = -1;
  return {y + call.input(2).reshape(channels)};
}

Sizes kernel_of(const Call& call) {
  const auto kernel = call.integers("kernel_shape");
  if (!kernel) call.refuse("its attribute kernel_shape is missing");
  return *kernel;
}

Tensors max_pool(const Call& call) {
  at::Tensor x = call.input(0);
  const Window window = window_of(call, x, kernel_of(call));
  const Sizes padding = take_padding(x, window, -std::numeric_limits<double>::infinity(), window.pools_pad());
  const bool up = call.flag("ceil_mode");
  switch (window.kernel.size()) {
    case 1:
      return {at::max_pool1d(x, window.kernel, window.strides, padding, window.dilations, up)};
    case 2:
      return {at::max_pool2d(x, window.kernel, window.strides, padding, window.dilations, up)};
    default:
      return {at::max_pool3d(x, window.kernel, window.strides, padding, window.dilations, up)};
  }
}

at::Tensor average(const at::Tensor& x, const Window& window, const Sizes& padding, bool up,
                   bool count_padding) {
  switch (window.kernel.size()) {
    case 1:
      return at::avg_pool1d(x, window.kernel, window.strides, padding, up, count_padding);
    case 2:
      return at::avg_pool2d(x, window.kernel, window.strides, padding, up, count_padding);
    default:
      return at::avg_pool3d(x, window.kernel, window.strides, padding, up, count_padding);
  }
}

Tensors average_pool(const Call& call) {
  at::Tensor x = call.input(0);
  const Window window = window_of(call, x, kernel_of(call));
  if (std::any_of(window.dilations.begin(), window.dilations.end(), [](std::int64_t d) { return d != 1; }))
    call.unsupported("a dilated average");
  const bool up = call.flag("ceil_mode"), count_padding = call.flag("count_include_pad");
  const bool can_pad = window.pools_pad();
  if (can_pad || count_padding) {
    const Sizes padding = take_padding(x, window, 0, can_pad);
    return {average(x, window, padding, up, count_padding)};
  }
  // Sums over the padded input, divided by how much of each window is no padding.
  const Sizes none(window.kernel.size(), 0);
  const at::Tensor sums = average(padded(x, window, 0), window, none, up, true),
                   shares = average(padded(at::ones_like(x), window, 0), window, none, up, true);
  return {sums / shares};
}

Sizes spatial_axes(const Call& call, const at::Tensor& x) {
  if (x.dim() < 3) call.refuse("an input without spatial axes");
  Sizes axes;
  for (std::int64_t i = 2; i < x.dim(); ++i) axes.push_back(i);
  return axes;
}

Tensors global_average_pool(const Call& call) {
  return {call.input(0).mean(spatial_axes(call, call.input(0)), true)};
}

Tensors global_max_pool(const Call& call) {
  return {at::amax(call.input(0), spatial_axes(call, call.input(0)), true)};
}

constexpr std::array kRows{
    OperatorRow{"AveragePool", average_pool},      OperatorRow{"Conv", conv},
    OperatorRow{"ConvTranspose", conv_transpose},  OperatorRow{"GlobalAveragePool", global_average_pool},
    OperatorRow{"GlobalMaxPool", global_max_pool}, OperatorRow{"MaxPool", max_pool},
};

}  // namespace

std::span<const OperatorRow> convolution_operators() {
  return kRows;
}

}  // namespace wring
