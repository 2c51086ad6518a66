// The attention of a decoder with rotary positions, for methods that make its heads narrower.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>

#include "engine/model/model.h"

namespace wring {

// A block's attention. Query head i reads KV head i / (heads / kv_heads). Channels p and p + query_width / 2
// of a query or key are a pair, which rotates together.
struct RotaryHeads {
  const Layer *q, *k, *v, *o;  // null where it was cut out
  std::int64_t heads, kv_heads;
  std::int64_t query_width, value_width;  // channels of a head's query and key; of its value
};

// All throw Error(kUnimplemented, "UNSUPPORTED_MODEL") for families without rotary positions.
RotaryHeads rotary_heads(const Model& model, std::size_t block);

// What `layer`, q or k of the block, makes of x [sequences * positions, hidden], as attention compares it:
// rotated, [rows, heads * query_width].
at::Tensor rotated(const Model& model, std::size_t block, const Layer& layer, const at::Tensor& x,
                   std::int64_t positions);

// Leaves those pairs of the queries and keys, kept int64 [kv_heads, n], rising in each row. Scores are
// divided by the root of head_dim as before.
void keep_rotary_pairs(Model& model, std::size_t block, const at::Tensor& kept);

// Other values, of which a head has no more channels than before.
struct HeadValues {
  std::shared_ptr<const WeightRep> v, o;  // [kv_heads * width, hidden], [hidden, heads * width]
  at::Tensor v_bias;                      // [kv_heads * width] where v has one
};
void replace_values(Model& model, std::size_t block, const HeadValues& values);

}  // namespace wring
