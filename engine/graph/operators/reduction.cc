// Reductions, softmax and what else looks along an axis.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <vector>

#include "engine/graph/operator_table.h"

namespace wring {
namespace {

using Sizes = std::vector<std::int64_t>;
using Reduction = at::Tensor (*)(const at::Tensor& x, const Sizes& axes, bool keep);

// Axes are an attribute before opset 18 (ReduceSum: 13) and an input since; without any all are reduced.
template <Reduction function>
Tensors reduce(const Call& call) {
  const at::Tensor x = call.input(0);
  Sizes axes;
  for (const auto axis : call.integers("axes", 1).value_or(Sizes())) axes.push_back(call.axis(axis, x.dim()));
  if (axes.empty()) {
    if (call.flag("noop_with_empty_axes")) return {x};
    axes.resize(static_cast<std::size_t>(x.dim()));
    std::iota(axes.begin(), axes.end(), 0);
  }
  if (axes.empty()) return {function(x.unsqueeze(0), {0}, false).to(x.scalar_type())};
  return {function(x, axes, call.integer("keepdims", 1) != 0).to(x.scalar_type())};
}

at::Tensor sum(const at::Tensor& x, const Sizes& axes, bool keep) {
  return x.sum(axes, keep);
}
at::Tensor mean(const at::Tensor& x, const Sizes& axes, bool keep) {
  return x.mean(axes, keep);
}
// Of nothing: what every other value is larger (smaller) than.
at::Tensor of_nothing(const at::Tensor& x, const Sizes& axes, bool keep, double value) {
  const at::Tensor sizes = x.sum(axes, keep);
  const bool truth = x.scalar_type() == at::kBool;
  return at::full(sizes.sizes(), truth ? value > 0 : value, x.options());
}
at::Tensor largest(const at::Tensor& x, const Sizes& axes, bool keep) {
  if (x.numel() == 0) return of_nothing(x, axes, keep, -std::numeric_limits<double>::infinity());
  return at::amax(x, axes, keep);
}
at::Tensor smallest(const at::Tensor& x, const Sizes& axes, bool keep) {
  if (x.numel() == 0) return of_nothing(x, axes, keep, std::numeric_limits<double>::infinity());
  return at::amin(x, axes, keep);
}
at::Tensor sum_abs(const at::Tensor& x, const Sizes& axes, bool keep) {
  return x.abs().sum(axes, keep);
}
at::Tensor sum_squares(const at::Tensor& x, const Sizes& axes, bool keep) {
  return x.square().sum(axes, keep);
}
at::Tensor root(const at::Tensor& x, const Sizes& axes, bool keep) {
  return sum_squares(x, axes, keep).sqrt();
}
at::Tensor log_sum(const at::Tensor& x, const Sizes& axes, bool keep) {
  return x.sum(axes, keep).log();
}
at::Tensor log_sum_exp(const at::Tensor& x, const Sizes& axes, bool keep) {
  return at::logsumexp(x, axes, keep);
}

at::Tensor product(const at::Tensor& x, const Sizes& axes, bool keep) {
  Sizes sorted = axes;
  std::sort(sorted.rbegin(), sorted.rend());
  at::Tensor y = x;
  for (const auto axis : sorted) y = y.prod(axis, keep);
  return y;
}

// Before opset 13 all axes from `axis` on are one.
template <at::Tensor (*function)(const at::Tensor&, std::int64_t)>
Tensors along(const Call& call) {
  const at::Tensor x = call.input(0);
  if (call.opset() >= 13) return {function(x, call.axis(call.integer("axis", -1), x.dim()))};
  const auto axis = static_cast<int>(call.axis(call.integer("axis", 1), x.dim()));
  return {function(x.flatten(axis), axis).reshape(x.sizes())};
}

at::Tensor softmax(const at::Tensor& x, std::int64_t axis) {
  return at::softmax(x, axis);
}
at::Tensor log_softmax(const at::Tensor& x, std::int64_t axis) {
  return at::log_softmax(x, axis);
}
at::Tensor hard_max(const at::Tensor& x, std::int64_t axis) {
  return at::zeros_like(x).scatter(axis, at::argmax(x, axis, true), 1);
}

template <at::Tensor (*function)(const at::Tensor&, std::int64_t, bool)>
Tensors find(const Call& call) {
  if (call.flag("select_last_index")) call.unsupported("select_last_index");
  const at::Tensor x = call.input(0);
  return {function(x, call.axis(call.integer("axis", 0), x.dim()), call.integer("keepdims", 1) != 0)};
}

at::Tensor find_largest(const at::Tensor& x, std::int64_t axis, bool keep) {
  return at::argmax(x, axis, keep);
}
at::Tensor find_smallest(const at::Tensor& x, std::int64_t axis, bool keep) {
  return at::argmin(x, axis, keep);
}

// Of equal values the first come first.
Tensors top_k(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t axis = call.axis(call.integer("axis", -1), x.dim());
  const std::int64_t k = call.opset() < 10 ? call.integer("k") : static_cast<std::int64_t>(call.number_of(1));
  if (k < 0 || k > x.size(axis)) call.refuse("k is " + std::to_string(k));
  const auto [values, indices] = at::sort(x, true, axis, call.integer("largest", 1) != 0);
  return {values.narrow(axis, 0, k), indices.narrow(axis, 0, k)};
}

Tensors cumulative_sum(const Call& call) {
  at::Tensor x = call.input(0);
  const std::int64_t axis = call.axis(static_cast<std::int64_t>(call.number_of(1)), x.dim());
  const bool reverse = call.flag("reverse");
  if (reverse) x = x.flip(axis);
  at::Tensor sums = x.cumsum(axis).to(x.scalar_type());
  if (call.flag("exclusive")) sums = sums - x;
  return {reverse ? sums.flip(axis) : sums};
}

constexpr std::array kRows{
    OperatorRow{"ArgMax", find<find_largest>},
    OperatorRow{"ArgMin", find<find_smallest>},
    OperatorRow{"CumSum", cumulative_sum},
    OperatorRow{"Hardmax", along<hard_max>},
    OperatorRow{"LogSoftmax", along<log_softmax>},
    OperatorRow{"ReduceL1", reduce<sum_abs>},
    OperatorRow{"ReduceL2", reduce<root>},
    OperatorRow{"ReduceLogSum", reduce<log_sum>},
    OperatorRow{"ReduceLogSumExp", reduce<log_sum_exp>},
    OperatorRow{"ReduceMax", reduce<largest>},
    OperatorRow{"ReduceMean", reduce<mean>},
    OperatorRow{"ReduceMin", reduce<smallest>},
    OperatorRow{"ReduceProd", reduce<product>},
    OperatorRow{"ReduceSum", reduce<sum>},
    OperatorRow{"ReduceSumSquare", reduce<sum_squares>},
    OperatorRow{"Softmax", along<softmax>},
    OperatorRow{"TopK", top_k},
};

}  // namespace

std::span<const OperatorRow> reduction_operators() {
  return kRows;
}

}  // namespace wring
