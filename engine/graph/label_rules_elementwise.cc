// Label rules of operators that act on each element: axes of full size are tied, and what is zero stays so or
// not.
#include <algorithm>
#include <array>

#include "engine/graph/label_call.h"

namespace wring {
namespace {

// f(0) = 0; a view of an initializer stays one only where nothing changes.
void keeps_zero(const LabelCall& call) {
  LabelledValue y = call.in(0);
  if (call.node.operation != "Identity" && call.node.operation != "Cast") y.initializer.clear();
  if (y.initializer.empty()) y.initializer_axes.clear();
  call.set(std::move(y));
}

void loses_zero(const LabelCall& call) {
  LabelledValue y{call.in(0).axes, {}, {}};
  for (auto& axis : y.axes) axis.zero = false;
  call.set(std::move(y));
}

void clip(const LabelCall& call) {
  const auto bound = [&](std::size_t i, const char* name) -> double {
    if (const auto* attribute = call.node.find(name))
      if (const auto* value = std::get_if<float>(&attribute->value)) return *value;
    return call.has(i) ? call.scope.traced(call.node.inputs[i]).number.value_or(0) : 0;
  };
  const bool keeps = bound(1, "min") <= 0 && bound(2, "max") >= 0;
  keeps ? keeps_zero(call) : loses_zero(call);
}

// How an operator's result is zero along an axis.
enum class Zero { kWhereAll, kWhereAny, kWhereFirst, kNever };

// The input's axis behind output axis `i`; null where it is broadcast there.
LabelledAxis* full_axis(const LabelCall& call, std::size_t input, std::size_t i) {
  LabelledValue& value = call.in(input);
  const auto& out = call.out_sizes();
  const std::size_t back = out.size() - i;
  if (value.axes.size() < back) return nullptr;
  LabelledAxis& axis = value.axes[value.axes.size() - back];
  return axis.size() == out[i] ? &axis : nullptr;
}

// Whether the input is zero along its axis; an initializer that is added becomes so with its unit.
bool zero_with_unit(const LabelCall& call, std::size_t input, std::size_t i, const LabelledAxis& axis) {
  const LabelledValue& value = call.in(input);
  if (value.initializer.empty()) return axis.zero;
  const std::size_t back = call.out_sizes().size() - i;
  return call.scope.produce(value, value.axes.size() - back);
}

// Values count from input `first` on; those before only choose.
LabelledAxis tied_axis(const LabelCall& call, std::size_t i, std::size_t first, Zero rule) {
  LabelledAxis made;
  bool all = true, any = false, leading = false;
  for (std::size_t input = 0; input < call.node.inputs.size(); ++input) {
    LabelledAxis* axis = full_axis(call, input, i);
    if (!axis) {
      all = all && input < first;
      continue;
    }
    if (made.atoms.empty())
      made.atoms = axis->atoms;
    else
      call.scope.tie(made, *axis);
    if (input < first) continue;
    any = any || axis->zero;
    if (input == first) leading = axis->zero;
    if (rule == Zero::kWhereAll) all = zero_with_unit(call, input, i, *axis) && all;
  }
  made.zero = rule == Zero::kWhereAll   ? all
              : rule == Zero::kWhereAny ? any
                                        : rule == Zero::kWhereFirst && leading;
  return made;
}

template <Zero rule, std::size_t first = 0>
void tied(const LabelCall& call) {
  LabelledValue y;
  for (std::size_t i = 0; i < call.out_sizes().size(); ++i) {
    y.axes.push_back(tied_axis(call, i, first, rule));
    if (y.axes.back().atoms.empty()) y.axes.back() = call.scope.barred_axis(call.out_sizes()[i]);
  }
  call.set(std::move(y));
}

// The divisor must not be zero where the unit is.
void divide(const LabelCall& call) {
  for (auto& axis : call.in(1).axes)
    if (axis.zero) call.scope.bar(axis);
  tied<Zero::kWhereFirst>(call);
}

constexpr std::array kRows{
    LabelRuleRow{"Abs", keeps_zero},
    LabelRuleRow{"Add", tied<Zero::kWhereAll>},
    LabelRuleRow{"And", tied<Zero::kNever>},
    LabelRuleRow{"Cast", keeps_zero},
    LabelRuleRow{"Celu", keeps_zero},
    LabelRuleRow{"Clip", clip},
    LabelRuleRow{"Div", divide},
    LabelRuleRow{"Dropout", keeps_zero},
    LabelRuleRow{"Elu", keeps_zero},
    LabelRuleRow{"Equal", tied<Zero::kNever>},
    LabelRuleRow{"Erf", keeps_zero},
    LabelRuleRow{"Exp", loses_zero},
    LabelRuleRow{"Gelu", keeps_zero},
    LabelRuleRow{"HardSigmoid", loses_zero},
    LabelRuleRow{"HardSwish", keeps_zero},
    LabelRuleRow{"Identity", keeps_zero},
    LabelRuleRow{"LeakyRelu", keeps_zero},
    LabelRuleRow{"Log", loses_zero},
    LabelRuleRow{"Max", tied<Zero::kWhereAll>},
    LabelRuleRow{"Min", tied<Zero::kWhereAll>},
    LabelRuleRow{"Mish", keeps_zero},
    LabelRuleRow{"Mul", tied<Zero::kWhereAny>},
    LabelRuleRow{"Neg", keeps_zero},
    LabelRuleRow{"PRelu", tied<Zero::kWhereFirst>},
    LabelRuleRow{"Pow", tied<Zero::kNever>},
    LabelRuleRow{"Relu", keeps_zero},
    LabelRuleRow{"Selu", keeps_zero},
    LabelRuleRow{"Sigmoid", loses_zero},
    LabelRuleRow{"Softplus", loses_zero},
    LabelRuleRow{"Softsign", keeps_zero},
    LabelRuleRow{"Sqrt", keeps_zero},
    LabelRuleRow{"Sub", tied<Zero::kWhereAll>},
    LabelRuleRow{"Sum", tied<Zero::kWhereAll>},
    LabelRuleRow{"Tanh", keeps_zero},
    LabelRuleRow{"Where", tied<Zero::kWhereAll, 1>},
};

}  // namespace

std::span<const LabelRuleRow> elementwise_label_rules() {
  return kRows;
}

}  // namespace wring
