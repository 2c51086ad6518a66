// Normalisation over batches, channels, groups and trailing axes.
#include <ATen/ATen.h>

#include <array>

#include "engine/graph/operator_table.h"

namespace wring {
namespace {

// A node that is in training mode itself hands on where its statistics would move, and moves none.
Tensors batch_norm_of_batch(const Call& call, double keep) {
  const at::Tensor x = call.input(0), rows = x.transpose(0, 1).flatten(1);
  const at::Tensor y =
      at::batch_norm(x, call.input(1), call.input(2), {}, {}, true, 0, call.number("epsilon", 1e-5), false);
  return {y, keep * call.input(3) + (1 - keep) * rows.mean(1),
          keep * call.input(4) + (1 - keep) * rows.var(1, false)};
}

// In training by the batch's statistics; the running ones, which are the node's own inputs, move towards them
// (ONNX's momentum is the share that stays, ATen's the share that is new).
Tensors batch_norm(const Call& call) {
  const double keep = call.number("momentum", 0.9);
  at::Tensor mean = call.input(3), variance = call.input(4);
  if (call.flag("training_mode") && !call.training()) return batch_norm_of_batch(call, keep);
  const at::Tensor y = at::batch_norm(call.input(0), call.input(1), call.input(2), mean, variance,
                                      call.training(), 1 - keep, call.number("epsilon", 1e-5), false);
  return {y, mean, variance};
}

Tensors instance_norm(const Call& call) {
  return {at::instance_norm(call.input(0), call.input(1), call.input(2), {}, {}, true, 0,
                            call.number("epsilon", 1e-5), false)};
}

Tensors layer_norm(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t axis = call.axis(call.integer("axis", -1), x.dim());
  const auto sizes = x.sizes().slice(static_cast<std::size_t>(axis));
  const auto shaped = [&](const at::Tensor& gain) { return gain.defined() ? gain.expand(sizes) : gain; };
  return {at::layer_norm(x, sizes, shaped(call.input(1)), shaped(call.optional_input(2)),
                         call.number("epsilon", 1e-5), false)};
}

// Before opset 21 one gain a group, since then one a channel.
Tensors group_norm(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t groups = call.integer("num_groups");
  if (groups < 1 || x.dim() < 2 || x.size(1) % groups != 0)
    call.refuse(std::to_string(groups) + " groups do not divide the channels");
  const auto each = [&](const at::Tensor& gain) {
    return call.opset() < 21 ? gain.repeat_interleave(x.size(1) / groups) : gain;
  };
  return {at::group_norm(x, groups, each(call.input(1)), each(call.input(2)), call.number("epsilon", 1e-5),
                         false)};
}

Tensors local_response_norm(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t size = call.integer("size"), before = (size - 1) / 2;
  if (size < 1 || x.dim() < 3) call.refuse("a window of " + std::to_string(size) + " channels");
  const at::Tensor squares = x.square().unsqueeze(1).flatten(3);  // [batch, 1, channels, positions]
  const at::Tensor padded = at::constant_pad_nd(squares, {0, 0, before, size - 1 - before}, 0);
  const at::Tensor sums = padded.unfold(2, size, 1).sum(-1).view(x.sizes());
  const double alpha = call.number("alpha", 1e-4), beta = call.number("beta", 0.75);
  return {x / (call.number("bias", 1) + alpha / static_cast<double>(size) * sums).pow(beta)};
}

Tensors lp_normalization(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t axis = call.axis(call.integer("axis", -1), x.dim());
  const at::Tensor norm = at::norm(x, at::Scalar(call.integer("p", 2)), at::IntArrayRef(axis), true);
  return {x / norm.masked_fill(norm == 0, 1)};
}

Tensors mean_variance_normalization(const Call& call) {
  const at::Tensor x = call.input(0);
  const auto axes = call.integers("axes").value_or(std::vector<std::int64_t>{0, 2, 3});
  const at::Tensor centred = x - x.mean(axes, true);
  return {centred / (centred.square().mean(axes, true).sqrt() + 1e-9)};
}

constexpr std::array kRows{
    OperatorRow{"BatchNormalization", batch_norm},
    OperatorRow{"GroupNormalization", group_norm},
    OperatorRow{"InstanceNormalization", instance_norm},
    OperatorRow{"LRN", local_response_norm},
    OperatorRow{"LayerNormalization", layer_norm},
    OperatorRow{"LpNormalization", lp_normalization},
    OperatorRow{"MeanVarianceNormalization", mean_variance_normalization},
};

}  // namespace

std::span<const OperatorRow> normalization_operators() {
  return kRows;
}

}  // namespace wring
