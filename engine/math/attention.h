// Softmax attention: a kernel of our own for many queries on the CPU, ATen's elsewhere.
#pragma once

#include <ATen/ATen.h>

#include <optional>

namespace wring {

// softmax(scale query key^T) value (Vaswani et al. 2017, eq. 1), several query heads to a KV head.
// query [batch, heads, positions, head_dim]; key [batch, kv_heads, keys, head_dim]; value [batch, kv_heads,
// keys, value_dim], of one dtype. scale: 1 / sqrt(head_dim) where it is not given, as of narrower heads.
// causal: query i of n sees the keys up to keys - n + i. key_mask bool [batch, keys], true = visible, or
// undefined. -> [batch, positions, heads * value_dim]. A query that sees nothing gives zeros.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                     const at::Tensor& key_mask, std::optional<double> scale = {});

}  // namespace wring
