// Label rules of convolutions, products, pools, norms and reductions (card C1's table).
#include <algorithm>
#include <array>

#include "engine/graph/label_call.h"

namespace wring {
namespace {

// The axis that a weight (and a bias, where there is one) makes: zero with its producers.
LabelledAxis made_axis(const LabelCall& call, const LabelledValue& weight, std::size_t axis,
                       std::size_t bias) {
  bool zero = call.scope.produce(weight, axis);
  LabelledAxis made{weight.axes[axis].atoms, false};
  if (call.has(bias)) {
    LabelledValue& vector = call.in(bias);
    const std::size_t last = vector.axes.size() - 1;
    if (!vector.axes.empty() && vector.axes[last].size() == made.size()) {
      call.scope.tie(made, vector.axes[last]);
      zero = (call.scope.produce(vector, last) || vector.axes[last].zero) && zero;
    } else {
      zero = false;
    }
  }
  made.zero = zero;
  return made;
}

void conv(const LabelCall& call) {
  LabelScope& scope = call.scope;
  LabelledValue &x = call.in(0), &weight = call.in(1);
  const std::int64_t groups = call.integer("group", 1), channels = x.axes[1].size();
  if (weight.initializer.empty()) return call.bar_all();
  if (groups == 1) {
    scope.tie(x.axes[1], weight.axes[1]);
  } else if (groups == channels) {
    const std::int64_t outputs = weight.axes[0].size(), each = outputs / channels;
    for (std::int64_t i = 0; i < outputs; ++i)
      scope.atoms.unite(x.axes[1].atoms[static_cast<std::size_t>(i / each)],
                        weight.axes[0].atoms[static_cast<std::size_t>(i)]);
    scope.bar(weight.axes[1]);
    scope.count_attribute(call.index, "group", 0, x.axes[1].atoms);
  } else {
    scope.tie_parts(x.axes[1], groups);
    scope.tie_parts(weight.axes[0], groups);
    for (std::size_t i = 0; i < weight.axes[1].atoms.size(); ++i)
      scope.atoms.unite(x.axes[1].atoms[i], weight.axes[1].atoms[i]);
  }
  if (groups != channels || groups == 1) scope.consume(x.axes[1]);
  for (std::size_t i = 2; i < weight.axes.size(); ++i) scope.bar(weight.axes[i]);
  LabelledValue y = scope.barred_value(call.node.outputs[0]);
  y.axes[0] = {x.axes[0].atoms, false};
  y.axes[1] = made_axis(call, weight, 0, 2);
  call.set(std::move(y));
}

void conv_transpose(const LabelCall& call) {
  LabelScope& scope = call.scope;
  LabelledValue &x = call.in(0), &weight = call.in(1);
  if (weight.initializer.empty() || call.integer("group", 1) != 1) return call.bar_all();
  scope.tie(x.axes[1], weight.axes[0]);
  scope.consume(x.axes[1]);
  for (std::size_t i = 2; i < weight.axes.size(); ++i) scope.bar(weight.axes[i]);
  LabelledValue y = scope.barred_value(call.node.outputs[0]);
  y.axes[0] = {x.axes[0].atoms, false};
  y.axes[1] = made_axis(call, weight, 1, 2);
  call.set(std::move(y));
}

void gemm(const LabelCall& call) {
  LabelScope& scope = call.scope;
  LabelledValue &a = call.in(0), &b = call.in(1);
  if (b.initializer.empty() || call.integer("transA", 0) != 0) return call.bar_all();
  const std::size_t in = call.integer("transB", 0) ? 1 : 0;
  scope.tie(a.axes[1], b.axes[in]);
  scope.consume(a.axes[1]);
  LabelledValue y;
  y.axes = {{a.axes[0].atoms, a.axes[0].zero && !call.has(2)}, made_axis(call, b, 1 - in, 2)};
  call.set(std::move(y));
}

// Batch axes broadcast from the right; a product is zero where either factor is.
void matmul_batch(const LabelCall& call, const LabelledValue& a, const LabelledValue& b, LabelledValue& y) {
  for (std::size_t i = 0; i + 2 < y.axes.size(); ++i) {
    const std::size_t back = y.axes.size() - i;
    bool placed = false;
    for (const LabelledValue* factor : {&a, &b}) {
      if (factor->axes.size() < back) continue;
      const LabelledAxis& axis = factor->axes[factor->axes.size() - back];
      if (axis.size() != y.axes[i].size()) continue;
      if (placed) call.scope.tie(y.axes[i], axis);
      const bool zero = y.axes[i].zero || axis.zero;
      if (!placed) y.axes[i].atoms = axis.atoms;
      y.axes[i].zero = zero;
      placed = true;
    }
  }
}

void matmul(const LabelCall& call) {
  LabelScope& scope = call.scope;
  LabelledValue &a = call.in(0), &b = call.in(1);
  if (a.rank() < 2 || b.rank() < 2) return call.bar_all();
  const LabelledAxis &left = a.axes.back(), &right = b.axes[b.axes.size() - 2];
  scope.tie(left, right);
  const bool by_weight = !b.initializer.empty() && b.rank() == 2;
  if (by_weight || !right.zero) scope.consume(left);
  LabelledValue y = scope.barred_value(call.node.outputs[0]);
  matmul_batch(call, a, b, y);
  y.axes[y.axes.size() - 2] = a.axes[a.axes.size() - 2];
  y.axes.back() = b.axes.back();
  if (by_weight) y.axes.back().zero = scope.produce(b, 1);
  call.set(std::move(y));
}

// Spatial axes become other ones.
void pool(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  for (std::size_t i = 2; i < x.axes.size(); ++i) call.scope.bar(x.axes[i]);
  LabelledValue y = call.scope.barred_value(call.node.outputs[0]);
  y.axes[0] = x.axes[0];
  y.axes[1] = x.axes[1];
  call.set(std::move(y));
}

// Gains and statistics go with the channels, whose values are zero where gain and shift are.
void channel_norm(const LabelCall& call) {
  LabelScope& scope = call.scope;
  const LabelledValue& x = call.in(0);
  LabelledValue y;
  y.axes = x.axes;
  for (auto& axis : y.axes) axis.zero = false;
  for (std::size_t i = 1; i < call.node.inputs.size(); ++i) scope.tie(x.axes[1], call.in(i).axes.at(0));
  y.axes[1].zero = scope.produce(call.in(1), 0) && scope.produce(call.in(2), 0);
  if (call.node.operation == "InstanceNormalization")
    for (std::size_t i = 2; i < x.axes.size(); ++i) scope.bar(x.axes[i]);
  call.set(std::move(y));
}

void layer_norm(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  const std::size_t first = call.axis(call.integer("axis", -1), x.rank());
  for (std::size_t i = first; i < x.axes.size(); ++i) call.scope.bar(x.axes[i]);
  for (std::size_t i = 1; i < call.node.inputs.size(); ++i)
    if (call.has(i)) call.scope.bar(call.in(i));
  LabelledValue y;
  y.axes = x.axes;
  for (auto& axis : y.axes) axis.zero = false;
  call.set(std::move(y));
}

// Softmax and the like: a barrier on the axis they look along; before opset 13 on all from it.
void along(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  const bool joined = call.scope.opset() < 13 && call.node.operation != "CumSum";
  const std::size_t first = call.axis(call.integer("axis", joined ? 1 : -1), x.rank());
  LabelledValue y;
  y.axes = x.axes;
  for (auto& axis : y.axes) axis.zero = false;
  for (std::size_t i = first; i < x.axes.size() && (joined || i == first); ++i) call.scope.bar(x.axes[i]);
  call.set(std::move(y));
}

void reduce(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  const auto given = call.integers("axes", 1);
  if (given.empty()) return call.bar_all();
  std::vector<bool> reduced(x.axes.size());
  for (const auto axis : given) reduced.at(call.axis(axis, x.rank())) = true;
  LabelledValue y;
  for (std::size_t i = 0; i < x.axes.size(); ++i) {
    if (!reduced[i]) {
      y.axes.push_back(x.axes[i]);
    } else {
      call.scope.bar(x.axes[i]);
      if (call.integer("keepdims", 1)) y.axes.push_back(call.scope.barred_axis(1));
    }
  }
  call.set(std::move(y));
}

constexpr std::array kRows{
    LabelRuleRow{"AveragePool", pool},
    LabelRuleRow{"BatchNormalization", channel_norm},
    LabelRuleRow{"Conv", conv},
    LabelRuleRow{"ConvTranspose", conv_transpose},
    LabelRuleRow{"Gemm", gemm},
    LabelRuleRow{"GlobalAveragePool", pool},
    LabelRuleRow{"GlobalMaxPool", pool},
    LabelRuleRow{"InstanceNormalization", channel_norm},
    LabelRuleRow{"LayerNormalization", layer_norm},
    LabelRuleRow{"LogSoftmax", along},
    LabelRuleRow{"MatMul", matmul},
    LabelRuleRow{"MaxPool", pool},
    LabelRuleRow{"ReduceMax", reduce},
    LabelRuleRow{"ReduceMean", reduce},
    LabelRuleRow{"ReduceMin", reduce},
    LabelRuleRow{"ReduceSum", reduce},
    LabelRuleRow{"Softmax", along},
};

}  // namespace

std::span<const LabelRuleRow> compute_label_rules() {
  return kRows;
}

}  // namespace wring
