// The order of AWQ's GEMM version: nibble slot k of a word holds column awq_order()[k] of its eight.
#pragma once

#include <ATen/ATen.h>

namespace wring {

inline at::Tensor awq_order() {
  return at::tensor({0, 2, 4, 6, 1, 3, 5, 7}, at::kLong);
}

}  // namespace wring
