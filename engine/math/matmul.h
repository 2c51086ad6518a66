// The one place that chooses how a dense product is computed.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace wring {

// x [..., in] weight [out, in] bias [out] or undefined -> [..., out], in x's dtype (weight has the same).
// On CPU: oneDNN where rows are many (about 2.4x MKL's fp32 on AMD), ATen otherwise.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

// Whether `device` multiplies bf16 several times faster than fp32: CUDA, and processors with bf16
// instructions.
bool prefers_bf16(at::Device device);

// What a parameter says that products are computed in: "float32", "bfloat16", or anything else for what the
// device prefers.
at::ScalarType product_dtype(const std::string& wanted, at::Device device);

// a [m, k] b [k, n] fp32 -> [m, n].
at::Tensor matmul(const at::Tensor& a, const at::Tensor& b);

}  // namespace wring
