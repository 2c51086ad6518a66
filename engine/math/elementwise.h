// Passes between products that ATen would make in several: one kernel on the CPU, ATen's operators elsewhere
// and wherever a gradient is wanted.
#pragma once

#include <ATen/ATen.h>

namespace wring {

// Whether the CPU's own kernels take these tensors: float32 or bfloat16 there, and no gradient to be kept.
bool runs_on_kernels(at::TensorList tensors);

// x / sqrt(mean(x^2 over the last axis) + epsilon) * gain in `dtype`, computed in fp32 (Zhang and Sennrich
// 2019, eq. 4). x [..., n], gain [n].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon, at::ScalarType dtype);

// silu(gate) * up, of one shape and dtype. May overwrite gate.
at::Tensor silu_multiply(at::Tensor gate, const at::Tensor& up);

// sums [n] fp64 += the squares of x [rows, n], summed by column.
void add_column_squares(const at::Tensor& x, at::Tensor& sums);

// x [batch, heads, positions, 2 * half], halves layout, rotated by the angles whose cosine and sine are
// [positions, half] fp32.
at::Tensor rotate_halves(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine);

}  // namespace wring
