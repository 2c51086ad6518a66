// Softmax attention: a kernel of our own for many queries on the CPU, ATen's elsewhere.
#pragma once

#include <ATen/ATen.h>

namespace wring {

// softmax(query key^T / sqrt(head_dim)) value (Vaswani et al. 2017, eq. 1), several query heads to a KV head.
// query [batch, heads, positions, head_dim]; key, value [batch, kv_heads, keys, head_dim], of one dtype.
// causal: query i of n sees the keys up to keys - n + i. key_mask bool [batch, keys], true = visible, or
// undefined. -> [batch, positions, heads * head_dim]. A query that sees nothing gives zeros.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                     const at::Tensor& key_mask);

}  // namespace wring
