// The differentiable form of linear().
#pragma once

#include <ATen/ATen.h>

namespace wring {

// x [..., in] weight [out, in] bias [out] or undefined -> [..., out]; gradients reach all three. Forward and
// backward products go through linear() and matmul(), which on the CPU are faster than ATen's.
at::Tensor linear_with_gradient(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace wring
