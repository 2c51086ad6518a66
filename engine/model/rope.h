// Rotary position embedding and its scaling variants (RoFormer, arXiv 2104.09864; scalings as Hugging Face
// names them).
#pragma once

#include <ATen/ATen.h>

#include <mutex>

#include "common/json.h"

namespace wring {

// Angles per position, from a model's config (rope_theta, rope_scaling: default, linear, dynamic, llama3,
// yarn). With `dynamic` (NTK-aware) the base grows with the sequence beyond the trained length; keys in a
// cache keep the angles they got, as in transformers. Safe to share between threads. Throws
// Error(kUnimplemented, "ROPE_SCALING") for another kind.
class RotaryEmbedding {
 public:
  RotaryEmbedding(const Json& config, std::int64_t head_dim);

  // x [batch, heads, positions, head_dim] (halves layout) rotated for positions first .. first + positions.
  at::Tensor rotate(const at::Tensor& x, std::int64_t first) const;
  // The same for heads that have kept some pairs of channels: pairs int64 [kv_heads, n], which ones; x
  // [batch, heads, positions, 2 n], as many neighbouring heads to each KV head.
  at::Tensor rotate(const at::Tensor& x, std::int64_t first, const at::Tensor& pairs) const;

  struct Dynamic {
    double theta = 0, factor = 1, trained_length = 0;
    std::int64_t head_dim = 0;  // 0: not dynamic
  };

  // What angles are made of: position x frequency, cosine and sine x factor.
  const at::Tensor& frequencies() const { return inverse_frequency_; }  // [head_dim / 2] fp32
  double attention_factor() const { return attention_factor_; }
  const Dynamic& dynamic() const { return dynamic_; }

 private:
  struct Angles {
    std::int64_t first = 0;
    at::Tensor cosine, sine;  // [positions, head_dim / 2] fp32
  };
  at::Tensor inverse_frequency(std::int64_t length) const;  // of a sequence so long
  Angles angles(std::int64_t first, std::int64_t positions, at::Device device) const;

  at::Tensor inverse_frequency_;  // [head_dim / 2] fp32
  Dynamic dynamic_;
  double attention_factor_ = 1;  // of yarn
  mutable std::mutex mutex_;
  mutable Angles last_;  // all blocks of a forward ask for the same
};

}  // namespace wring
