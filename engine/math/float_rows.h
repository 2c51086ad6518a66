// Rows of fp32 or bf16 tensors as floats, for kernels that know floats only.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "engine/kernels/elementwise.h"

namespace wring {

inline const std::uint16_t* bf16_bits(const at::Tensor& t) {
  return reinterpret_cast<const std::uint16_t*>(t.const_data_ptr<at::BFloat16>());
}

// The n values from element `offset` of a float32 or bfloat16 tensor's memory on, widened into `to`.
inline void read_floats(const at::Tensor& from, std::int64_t offset, std::int64_t n, float* to) {
  if (from.scalar_type() == at::kFloat) {
    std::memcpy(to, from.const_data_ptr<float>() + offset, static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  widen(bf16_bits(from) + offset, n, to);
}

// The other way.
inline void write_floats(const float* from, std::int64_t n, at::Tensor& to, std::int64_t offset) {
  if (to.scalar_type() == at::kFloat) {
    std::memcpy(to.mutable_data_ptr<float>() + offset, from, static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  narrow(from, n, reinterpret_cast<std::uint16_t*>(to.mutable_data_ptr<at::BFloat16>()) + offset);
}

}  // namespace wring
