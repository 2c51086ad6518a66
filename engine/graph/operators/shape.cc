// Operators that only move values: shapes, axes, pieces, padding.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <vector>

#include "engine/graph/onnx_tensor.h"
#include "engine/graph/operator_table.h"

namespace wring {
namespace {

using Sizes = std::vector<std::int64_t>;

Sizes axes_of(const Call& call, const Sizes& given, std::int64_t rank) {
  Sizes axes;
  for (const auto axis : given) axes.push_back(call.axis(axis, rank));
  return axes;
}

Tensors shape(const Call& call) {
  const auto sizes = call.input(0).sizes();
  const auto rank = static_cast<std::int64_t>(sizes.size());
  const auto clamped = [&](std::int64_t i) {
    return std::clamp<std::int64_t>(i < 0 ? i + rank : i, 0, rank);
  };
  const std::int64_t start = clamped(call.integer("start", 0)), end = clamped(call.integer("end", rank));
  const auto part = sizes.slice(static_cast<std::size_t>(start),
                                static_cast<std::size_t>(std::max(end - start, std::int64_t{0})));
  return {at::tensor(part, call.input(0).options().dtype(at::kLong).requires_grad(false))};
}

Tensors size(const Call& call) {
  return {at::scalar_tensor(call.input(0).numel(),
                            call.input(0).options().dtype(at::kLong).requires_grad(false))};
}

// 0: as it was (unless allowzero), -1: what is left.
Tensors reshape(const Call& call) {
  const at::Tensor x = call.input(0);
  Sizes sizes = call.integers_of(1).value_or(Sizes());
  for (std::size_t i = 0; i < sizes.size() && !call.flag("allowzero"); ++i) {
    if (sizes[i] != 0) continue;
    if (static_cast<std::int64_t>(i) >= x.dim()) call.refuse("size 0 of an axis that the input has not");
    sizes[i] = x.size(static_cast<std::int64_t>(i));
  }
  return {x.reshape(sizes)};
}

Tensors flatten(const Call& call) {
  const at::Tensor x = call.input(0);
  std::int64_t axis = call.integer("axis", 1);
  if (axis < 0) axis += x.dim();
  if (axis < 0 || axis > x.dim()) call.refuse("axis " + std::to_string(call.integer("axis", 1)));
  const auto head = x.sizes().slice(0, static_cast<std::size_t>(axis));
  const std::int64_t rows = std::accumulate(head.begin(), head.end(), std::int64_t{1}, std::multiplies<>());
  const auto tail = x.sizes().slice(static_cast<std::size_t>(axis));
  const std::int64_t columns =
      std::accumulate(tail.begin(), tail.end(), std::int64_t{1}, std::multiplies<>());
  return {x.reshape({rows, columns})};
}

Tensors squeeze(const Call& call) {
  const at::Tensor x = call.input(0);
  const auto given = call.integers("axes", 1);
  if (!given) return {x.squeeze()};
  const Sizes axes = axes_of(call, *given, x.dim());
  for (const auto axis : axes)
    if (x.size(axis) != 1)
      call.refuse("axis " + std::to_string(axis) + " has " + std::to_string(x.size(axis)) + " indices");
  return {x.squeeze(axes)};
}

Tensors unsqueeze(const Call& call) {
  at::Tensor x = call.input(0);
  const auto given = call.integers("axes", 1);
  if (!given) call.refuse("its axes are missing");
  Sizes axes = axes_of(call, *given, x.dim() + static_cast<std::int64_t>(given->size()));
  std::sort(axes.begin(), axes.end());
  for (const auto axis : axes) x = x.unsqueeze(axis);
  return {x};
}

Tensors transpose(const Call& call) {
  const at::Tensor x = call.input(0);
  Sizes order(static_cast<std::size_t>(x.dim()));
  std::iota(order.rbegin(), order.rend(), 0);
  return {x.permute(call.integers("perm").value_or(order))};
}

Tensors concat(const Call& call) {
  for (std::size_t i = 0; i < call.input_count(); ++i) (void)call.input(i);
  return {at::cat(call.inputs(), call.axis(call.integer("axis"), call.input(0).dim()))};
}

// Sizes as an attribute or input; else as many equal pieces as outputs, the last one smaller.
Tensors split(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t axis = call.axis(call.integer("axis", 0), x.dim());
  if (const auto sizes = call.integers("split", 1)) return at::split_with_sizes(x, *sizes, axis);
  const auto count = static_cast<std::int64_t>(call.output_count());
  if (count == 0) call.refuse("it has no outputs");
  const std::int64_t length = x.size(axis), piece = (length + count - 1) / count;
  Sizes sizes;
  for (std::int64_t i = 0; i < count; ++i)
    sizes.push_back(std::clamp<std::int64_t>(length - i * piece, 0, piece));
  return at::split_with_sizes(x, sizes, axis);
}

at::Tensor slice_axis(const at::Tensor& x, std::int64_t axis, std::int64_t start, std::int64_t end,
                      std::int64_t step) {
  const std::int64_t length = x.size(axis);
  const auto wrapped = [&](std::int64_t i) { return i < 0 ? i + length : i; };
  if (step > 0) {
    const std::int64_t from = std::clamp<std::int64_t>(wrapped(start), 0, length),
                       to = std::clamp<std::int64_t>(wrapped(end), 0, length);
    return x.slice(axis, from, std::max(from, to), step);
  }
  const std::int64_t from = std::clamp<std::int64_t>(wrapped(start), -1, length - 1),
                     to = std::clamp<std::int64_t>(wrapped(end), -1, length - 1);
  const auto indices =
      at::arange(from, std::min(from, to), step, x.options().dtype(at::kLong).requires_grad(false));
  return x.index_select(axis, indices);
}

Tensors slice(const Call& call) {
  at::Tensor x = call.input(0);
  const auto starts = call.integers("starts", 1), ends = call.integers("ends", 2);
  if (!starts || !ends || starts->size() != ends->size()) call.refuse("starts and ends do not fit together");
  Sizes all(starts->size());
  std::iota(all.begin(), all.end(), 0);
  const Sizes axes = axes_of(call, call.integers("axes", 3).value_or(all), x.dim()),
              steps = call.integers_of(4).value_or(Sizes(starts->size(), 1));
  if (axes.size() != starts->size() || steps.size() != starts->size())
    call.refuse("axes or steps do not fit its starts");
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (steps[i] == 0) call.refuse("a step of 0");
    // The smallest and largest numbers stand for "to the end".
    const std::int64_t limit = std::numeric_limits<std::int32_t>::max();
    x = slice_axis(x, axes[i], std::clamp((*starts)[i], -limit, limit), std::clamp((*ends)[i], -limit, limit),
                   steps[i]);
  }
  return {x};
}

Tensors expand(const Call& call) {
  const at::Tensor x = call.input(0);
  const Sizes wanted = call.integers_of(1).value_or(Sizes());
  return {x.expand(at::infer_size(x.sizes(), wanted))};
}

Tensors tile(const Call& call) {
  return {call.input(0).repeat(call.integers_of(1).value_or(Sizes()))};
}

// The index in [0, length) that stands at position `i`, which may lie outside.
std::int64_t source_index(std::int64_t i, std::int64_t length, const std::string& mode) {
  if (mode == "edge") return std::clamp<std::int64_t>(i, 0, length - 1);
  if (mode == "wrap") return ((i % length) + length) % length;
  const std::int64_t period = std::max<std::int64_t>(2 * (length - 1), 1);  // reflect
  const std::int64_t at = ((i % period) + period) % period;
  return at < length ? at : period - at;
}

at::Tensor pad_axis(const at::Tensor& x, std::int64_t axis, std::int64_t begin, std::int64_t end,
                    const std::string& mode) {
  Sizes indices;
  for (std::int64_t i = -begin; i < x.size(axis) + end; ++i)
    indices.push_back(source_index(i, x.size(axis), mode));
  return x.index_select(axis, at::tensor(indices, at::kLong).to(x.device()));
}

Tensors pad(const Call& call) {
  at::Tensor x = call.input(0);
  const auto given = call.opset() < 11 ? call.integers("pads") : call.integers_of(1);
  Sizes axes(static_cast<std::size_t>(x.dim()));
  std::iota(axes.begin(), axes.end(), 0);
  if (const auto some = call.integers_of(3)) axes = axes_of(call, *some, x.dim());
  if (!given || given->size() != 2 * axes.size()) call.refuse("its pads do not fit its axes");
  const std::string mode = call.text("mode", "constant");
  const double value = call.has_input(2) ? call.number_of(2) : call.number("value", 0);
  Sizes pads(2 * static_cast<std::size_t>(x.dim()));  // as ATen counts: from the last axis
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t begin = (*given)[i], end = (*given)[axes.size() + i];
    if (mode != "constant") {
      if (x.size(axes[i]) == 0) call.refuse("nothing to pad with");
      x = pad_axis(x, axes[i], begin, end, mode);
    }
    const auto last = static_cast<std::size_t>(x.dim() - 1 - axes[i]);
    pads[2 * last] = begin;
    pads[2 * last + 1] = end;
  }
  return {mode == "constant" ? at::constant_pad_nd(x, pads, value) : x};
}

Tensors constant_of_shape(const Call& call) {
  const Sizes sizes = call.integers_of(0).value_or(Sizes());
  const auto device = call.input(0).device();
  const auto* value = call.tensor("value");
  if (!value) return {at::zeros(sizes, at::TensorOptions().dtype(at::kFloat).device(device))};
  return {to_tensor(*value, "value").to(device).reshape({}).expand(sizes)};
}

bool is_less(const at::Scalar& a, const at::Scalar& b) {
  return a.isIntegral(false) ? a.toLong() < b.toLong() : a.toDouble() < b.toDouble();
}

Tensors range(const Call& call) {
  const at::Tensor start = call.input(0);
  const at::Scalar from = call.scalar_of(0), to = call.scalar_of(1), step = call.scalar_of(2);
  if (step.toDouble() == 0) call.refuse("a step of 0");
  const bool empty = step.toDouble() > 0 ? !is_less(from, to) : !is_less(to, from);
  return {at::arange(from, empty ? from : to, step, start.options().requires_grad(false))};
}

Tensors depth_to_space(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t r = call.integer("blocksize");
  if (x.dim() != 4 || r < 1 || x.size(1) % (r * r) != 0)
    call.refuse("its block size does not divide the channels");
  const std::int64_t n = x.size(0), c = x.size(1) / (r * r), h = x.size(2), w = x.size(3);
  const bool columns_first = call.text("mode", "DCR") == "DCR";
  const at::Tensor y = columns_first ? x.reshape({n, r, r, c, h, w}).permute({0, 3, 4, 1, 5, 2})
                                     : x.reshape({n, c, r, r, h, w}).permute({0, 1, 4, 2, 5, 3});
  return {y.reshape({n, c, h * r, w * r})};
}

Tensors space_to_depth(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t r = call.integer("blocksize");
  if (x.dim() != 4 || r < 1 || x.size(2) % r != 0 || x.size(3) % r != 0)
    call.refuse("its block size does not divide the image");
  const std::int64_t n = x.size(0), c = x.size(1), h = x.size(2) / r, w = x.size(3) / r;
  return {x.reshape({n, c, h, r, w, r}).permute({0, 3, 5, 1, 2, 4}).reshape({n, c * r * r, h, w})};
}

constexpr std::array kRows{
    OperatorRow{"Concat", concat},
    OperatorRow{"ConstantOfShape", constant_of_shape},
    OperatorRow{"DepthToSpace", depth_to_space},
    OperatorRow{"Expand", expand},
    OperatorRow{"Flatten", flatten},
    OperatorRow{"Pad", pad},
    OperatorRow{"Range", range},
    OperatorRow{"Reshape", reshape},
    OperatorRow{"Shape", shape},
    OperatorRow{"Size", size},
    OperatorRow{"Slice", slice},
    OperatorRow{"SpaceToDepth", space_to_depth},
    OperatorRow{"Split", split},
    OperatorRow{"Squeeze", squeeze},
    OperatorRow{"Tile", tile},
    OperatorRow{"Transpose", transpose},
    OperatorRow{"Unsqueeze", unsqueeze},
};

}  // namespace

std::span<const OperatorRow> shape_operators() {
  return kRows;
}

}  // namespace wring
