// Matrix products.
#include <ATen/ATen.h>

#include <array>

#include "engine/graph/operator_table.h"

namespace wring {
namespace {

Tensors matmul(const Call& call) {
  return {at::matmul(call.input(0), call.input(1))};
}

// alpha * A' B' + beta * C, where ' is a transposition or nothing.
Tensors gemm(const Call& call) {
  const auto turned = [&](const at::Tensor& matrix, const char* name) {
    if (matrix.dim() != 2) call.refuse("its factors must be matrices");
    return call.flag(name) ? matrix.t() : matrix;
  };
  const at::Tensor a = turned(call.input(0), "transA"), b = turned(call.input(1), "transB");
  const double alpha = call.number("alpha", 1), beta = call.number("beta", 1);
  if (!call.has_input(2)) return {alpha == 1 ? at::mm(a, b) : at::mm(a, b) * alpha};
  return {at::addmm(call.input(2), a, b, beta, alpha)};
}

Tensors einsum(const Call& call) {
  return {at::einsum(call.text("equation", ""), call.inputs())};
}

constexpr std::array kRows{
    OperatorRow{"Einsum", einsum},
    OperatorRow{"Gemm", gemm},
    OperatorRow{"MatMul", matmul},
};

}  // namespace

std::span<const OperatorRow> product_operators() {
  return kRows;
}

}  // namespace wring
