// Matrix products.
#include <ATen/ATen.h>

#include <array>

#include "engine/graph/operator_table.h"
#include "engine/model/packed_rows.h"

namespace wring {
namespace {

// ATen has no fast product of fp16 on CPUs: there they are summed in fp32 and rounded once.
at::Tensor widened(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kHalf ? x.to(at::kFloat) : x;
}

Tensors matmul(const Call& call) {
  const at::Tensor a = call.input(0);
  return {at::matmul(widened(a), widened(call.input(1))).to(a.scalar_type())};
}

// alpha * A' B' + beta * C, where ' is a transposition or nothing.
Tensors gemm(const Call& call) {
  const auto turned = [&](const at::Tensor& matrix, const char* name) {
    if (matrix.dim() != 2) call.refuse("its factors must be matrices");
    return widened(call.flag(name) ? matrix.t() : matrix);
  };
  const at::Tensor a = turned(call.input(0), "transA"), b = turned(call.input(1), "transB");
  const double alpha = call.number("alpha", 1), beta = call.number("beta", 1);
  const auto type = call.input(0).scalar_type();
  if (!call.has_input(2)) return {(alpha == 1 ? at::mm(a, b) : at::mm(a, b) * alpha).to(type)};
  return {at::addmm(widened(call.input(2)), a, b, beta, alpha).to(type)};
}

// onnxruntime's product with a weight [N, K] of 2, 4 or 8 bits: codes [N, K / block, bytes of a block],
// lowest first; scales a block; zero points packed row by row, 2^(bits - 1) where they are left out.
Tensors matmul_nbits(const Call& call) {
  const std::int64_t bits = call.integer("bits", 4), block = call.integer("block_size"),
                     rows = call.integer("N"), columns = call.integer("K");
  const at::Tensor x = call.input(0), packed = call.input(1);
  if (bits != 2 && bits != 4 && bits != 8) call.unsupported(std::to_string(bits) + " bits");
  for (std::size_t i = 4; i < call.input_count(); ++i)
    if (call.has_input(i)) call.unsupported("its input " + std::to_string(i));
  constexpr std::int64_t kMost = 1LL << 31;  // of N and of K
  if (block < 16 || rows < 1 || columns < 1 || rows > kMost || columns > kMost || columns % block != 0 ||
      packed.numel() % rows != 0 || packed.numel() / rows != columns * bits / 8 ||
      packed.scalar_type() != at::kByte)
    call.refuse("its codes do not fit N, K, bits and block_size");
  const std::int64_t blocks = columns / block;
  if (call.input(2).numel() != rows * blocks) call.refuse("its scales are not one a block");
  const auto codes_of = [&](const at::Tensor& bytes, std::int64_t count) {
    return unpack_rows(bytes.cpu().reshape({rows, -1}), count, static_cast<int>(bits)).to(at::kFloat);
  };
  at::Tensor zeros = at::full({rows, blocks}, 1 << (bits - 1), at::kFloat);
  if (call.has_input(3)) {
    if (call.input(3).scalar_type() != at::kByte) call.unsupported("zero points that are no bytes");
    if (call.input(3).numel() != rows * ((blocks * bits + 7) / 8))
      call.refuse("its zero points are not one a block");
    zeros = codes_of(call.input(3), blocks);
  }
  const at::Tensor scales = call.input(2).cpu().to(at::kFloat).reshape({rows, blocks, 1});
  const at::Tensor weight =
      (codes_of(packed, columns).reshape({rows, blocks, block}) - zeros.unsqueeze(2)) * scales;
  const at::Tensor wide = widened(x);
  return {at::matmul(wide, weight.reshape({rows, columns}).to(wide.options()).t()).to(x.scalar_type())};
}

// Of 8-bit integers, less a zero point for each factor or (of the second) column; sums are 32 bits wide.
Tensors matmul_integer(const Call& call) {
  const auto shifted = [&](std::size_t i) {
    const at::Tensor codes = call.input(i).to(at::kDouble);  // exact to 2^53
    return call.has_input(i + 2) ? codes - call.input(i + 2).to(at::kDouble) : codes;
  };
  if (call.has_input(2) && call.input(2).numel() > 1) call.unsupported("a zero point a row");
  return {at::matmul(shifted(0), shifted(1)).to(at::kInt)};
}

Tensors einsum(const Call& call) {
  return {at::einsum(call.text("equation", ""), call.inputs())};
}

constexpr std::array kRows{
    OperatorRow{"Einsum", einsum},
    OperatorRow{"Gemm", gemm},
    OperatorRow{"MatMul", matmul},
    OperatorRow{"MatMulInteger", matmul_integer},
    OperatorRow{"com.microsoft.MatMulNBits", matmul_nbits},
};

}  // namespace

std::span<const OperatorRow> product_operators() {
  return kRows;
}

}  // namespace wring
