// Operators that act on each element, with NumPy's broadcasting (ONNX operators, ai.onnx 9 to 21).
#include <ATen/ATen.h>

#include <array>
#include <limits>

#include "engine/graph/onnx_tensor.h"
#include "engine/graph/operator_table.h"

namespace wring {
namespace {

template <at::Tensor (*function)(const at::Tensor&)>
Tensors unary(const Call& call) {
  return {function(call.input(0))};
}

template <at::Tensor (*function)(const at::Tensor&, const at::Tensor&)>
Tensors binary(const Call& call) {
  return {function(call.input(0), call.input(1))};
}

// Sum, Mean, Max and Min take any number of inputs.
template <at::Tensor (*function)(const at::Tensor&, const at::Tensor&)>
at::Tensor folded(const Call& call) {
  at::Tensor value = call.input(0);
  for (std::size_t i = 1; i < call.input_count(); ++i) value = function(value, call.input(i));
  return value;
}

template <at::Tensor (*function)(const at::Tensor&, const at::Tensor&)>
Tensors variadic(const Call& call) {
  return {folded<function>(call)};
}

at::Tensor add(const at::Tensor& a, const at::Tensor& b) {
  return at::add(a, b);
}
at::Tensor subtract(const at::Tensor& a, const at::Tensor& b) {
  return at::sub(a, b);
}

// Integers are divided towards zero.
at::Tensor divide(const at::Tensor& a, const at::Tensor& b) {
  return at::isIntegralType(a.scalar_type(), false) ? at::div(a, b, "trunc") : at::div(a, b);
}

at::Tensor power(const at::Tensor& a, const at::Tensor& b) {
  return at::pow(a, b).to(a.scalar_type());
}

Tensors mean(const Call& call) {
  return {folded<add>(call) / static_cast<double>(call.input_count())};
}

Tensors modulo(const Call& call) {
  return {call.flag("fmod") ? at::fmod(call.input(0), call.input(1))
                            : at::remainder(call.input(0), call.input(1))};
}

Tensors where(const Call& call) {
  return {at::where(call.input(0), call.input(1), call.input(2))};
}

at::Tensor soft_sign(const at::Tensor& x) {
  return x / (1 + x.abs());
}
at::Tensor soft_plus(const at::Tensor& x) {
  return at::softplus(x);
}

Tensors gelu(const Call& call) {
  return {at::gelu(call.input(0), call.text("approximate", "none"))};
}

Tensors leaky_relu(const Call& call) {
  return {at::leaky_relu(call.input(0), call.number("alpha", 0.01))};
}

Tensors elu(const Call& call) {
  return {at::elu(call.input(0), call.number("alpha", 1))};
}

Tensors celu(const Call& call) {
  return {at::celu(call.input(0), call.number("alpha", 1))};
}

Tensors selu(const Call& call) {
  const double alpha = call.number("alpha", 1.67326319217681884765625),
               gamma = call.number("gamma", 1.05070102214813232421875);
  return {gamma * at::elu(call.input(0), alpha)};
}

Tensors thresholded_relu(const Call& call) {
  return {at::threshold(call.input(0), call.number("alpha", 1), 0)};
}

Tensors hard_sigmoid(const Call& call) {
  return {at::clamp(call.number("alpha", 0.2) * call.input(0) + call.number("beta", 0.5), 0, 1)};
}

// The slope broadcasts towards the input from the right, so a slope a channel has trailing sizes of one.
Tensors p_relu(const Call& call) {
  const at::Tensor x = call.input(0);
  return {at::where(x >= 0, x, x * call.input(1))};
}

Tensors clip(const Call& call) {
  std::optional<at::Scalar> low, high;
  if (call.opset() < 11) {
    low = call.number("min", std::numeric_limits<float>::lowest());
    high = call.number("max", std::numeric_limits<float>::max());
  } else {
    if (call.has_input(1)) low = call.scalar_of(1);
    if (call.has_input(2)) high = call.scalar_of(2);
  }
  const at::Tensor x = call.input(0);
  if (!low && !high) return {x};
  return {at::clamp(x, low, high).to(x.scalar_type())};
}

Tensors identity(const Call& call) {
  return {call.input(0)};
}

Tensors cast(const Call& call) {
  const auto type = onnx_type_from(static_cast<std::int32_t>(call.integer("to")));
  if (!type) call.unsupported("a cast to the element type " + std::to_string(call.integer("to")));
  return {call.input(0).to(scalar_type(*type, "to"))};
}

Tensors cast_like(const Call& call) {
  return {call.input(0).to(call.input(1).scalar_type())};
}

// In training by the node's ratio, whether it was exported for training or not.
Tensors dropout(const Call& call) {
  const at::Tensor x = call.input(0);
  const double ratio = call.has_input(1) ? call.number_of(1) : call.number("ratio", 0.5);
  if (!call.training() || ratio == 0) return {x, at::ones_like(x, at::kBool)};
  const at::Tensor kept = at::rand_like(x) >= ratio;
  return {x * kept / (1 - ratio), kept};
}

Tensors is_infinite(const Call& call) {
  const at::Tensor x = call.input(0);
  at::Tensor found = at::zeros_like(x, at::kBool);
  if (call.integer("detect_positive", 1)) found = found | at::isposinf(x);
  if (call.integer("detect_negative", 1)) found = found | at::isneginf(x);
  return {found};
}

constexpr std::array kRows{
    OperatorRow{"Abs", unary<at::abs>},
    OperatorRow{"Acos", unary<at::acos>},
    OperatorRow{"Acosh", unary<at::acosh>},
    OperatorRow{"Add", binary<add>},
    OperatorRow{"And", binary<at::logical_and>},
    OperatorRow{"Asin", unary<at::asin>},
    OperatorRow{"Asinh", unary<at::asinh>},
    OperatorRow{"Atan", unary<at::atan>},
    OperatorRow{"Atanh", unary<at::atanh>},
    OperatorRow{"Cast", cast},
    OperatorRow{"CastLike", cast_like},
    OperatorRow{"Ceil", unary<at::ceil>},
    OperatorRow{"Celu", celu},
    OperatorRow{"Clip", clip},
    OperatorRow{"Cos", unary<at::cos>},
    OperatorRow{"Cosh", unary<at::cosh>},
    OperatorRow{"Div", binary<divide>},
    OperatorRow{"Dropout", dropout},
    OperatorRow{"Elu", elu},
    OperatorRow{"Equal", binary<at::eq>},
    OperatorRow{"Erf", unary<at::erf>},
    OperatorRow{"Exp", unary<at::exp>},
    OperatorRow{"Floor", unary<at::floor>},
    OperatorRow{"Gelu", gelu},
    OperatorRow{"Greater", binary<at::gt>},
    OperatorRow{"GreaterOrEqual", binary<at::ge>},
    OperatorRow{"HardSigmoid", hard_sigmoid},
    OperatorRow{"HardSwish", unary<at::hardswish>},
    OperatorRow{"Identity", identity},
    OperatorRow{"IsInf", is_infinite},
    OperatorRow{"IsNaN", unary<at::isnan>},
    OperatorRow{"LeakyRelu", leaky_relu},
    OperatorRow{"Less", binary<at::lt>},
    OperatorRow{"LessOrEqual", binary<at::le>},
    OperatorRow{"Log", unary<at::log>},
    OperatorRow{"Max", variadic<at::maximum>},
    OperatorRow{"Mean", mean},
    OperatorRow{"Min", variadic<at::minimum>},
    OperatorRow{"Mish", unary<at::mish>},
    OperatorRow{"Mod", modulo},
    OperatorRow{"Mul", binary<at::mul>},
    OperatorRow{"Neg", unary<at::neg>},
    OperatorRow{"Not", unary<at::logical_not>},
    OperatorRow{"Or", binary<at::logical_or>},
    OperatorRow{"PRelu", p_relu},
    OperatorRow{"Pow", binary<power>},
    OperatorRow{"Reciprocal", unary<at::reciprocal>},
    OperatorRow{"Relu", unary<at::relu>},
    OperatorRow{"Round", unary<at::round>},
    OperatorRow{"Selu", selu},
    OperatorRow{"Sigmoid", unary<at::sigmoid>},
    OperatorRow{"Sign", unary<at::sign>},
    OperatorRow{"Sin", unary<at::sin>},
    OperatorRow{"Sinh", unary<at::sinh>},
    OperatorRow{"Softplus", unary<soft_plus>},
    OperatorRow{"Softsign", unary<soft_sign>},
    OperatorRow{"Sqrt", unary<at::sqrt>},
    OperatorRow{"Sub", binary<subtract>},
    OperatorRow{"Sum", variadic<add>},
    OperatorRow{"Tan", unary<at::tan>},
    OperatorRow{"Tanh", unary<at::tanh>},
    OperatorRow{"ThresholdedRelu", thresholded_relu},
    OperatorRow{"Where", where},
    OperatorRow{"Xor", binary<at::logical_xor>},
};

}  // namespace

std::span<const OperatorRow> elementwise_operators() {
  return kRows;
}

}  // namespace wring
