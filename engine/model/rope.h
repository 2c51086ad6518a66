// Rotary position embedding and its scaling variants (RoFormer, arXiv 2104.09864; scalings as Hugging Face
// names them).
#pragma once

#include <ATen/ATen.h>

#include "common/json.h"

namespace wring {

// Angles per position, from a model's config (rope_theta, rope_scaling: default, linear, dynamic, llama3,
// yarn). Immutable. Throws Error(kUnimplemented, "ROPE_SCALING") for another kind.
class RotaryEmbedding {
 public:
  RotaryEmbedding(const Json& config, std::int64_t head_dim);

  // x [batch, heads, positions, head_dim] (halves layout) rotated for positions first .. first + positions.
  at::Tensor rotate(const at::Tensor& x, std::int64_t first) const;

 private:
  at::Tensor inverse_frequency_;  // [head_dim / 2] fp32
  double attention_factor_ = 1;   // of yarn
};

}  // namespace wring
