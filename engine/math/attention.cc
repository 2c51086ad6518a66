// Keys and values are packed once for all query heads that share them; then each tile of queries is a task.
#include "engine/math/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/kernels/attention.h"
#include "engine/math/elementwise.h"
#include "engine/math/float_rows.h"

namespace wring {
namespace {

constexpr std::int64_t kFewQueries = 8;  // below, packing the keys costs more than it saves

struct Packed {
  std::vector<float> keys, values;                                     // a KV head after another
  std::int64_t keys_per_head = 0, values_per_head = 0, value_dim = 0;  // with zeros, to whole tiles
};

Packed pack(const at::Tensor& key, const at::Tensor& value) {
  const std::int64_t heads = key.size(1), count = key.size(2), dim = key.size(3), wide = value.size(3);
  Packed packed;
  packed.value_dim = (wide + kKeyTile - 1) / kKeyTile * kKeyTile;
  packed.keys_per_head = padded_keys(count) * dim;
  packed.values_per_head = count * packed.value_dim;
  packed.keys.resize(static_cast<std::size_t>(key.size(0) * heads * packed.keys_per_head));
  packed.values.resize(static_cast<std::size_t>(key.size(0) * heads * packed.values_per_head));
  at::parallel_for(0, key.size(0) * heads, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> rows(static_cast<std::size_t>(count * dim));
    for (std::int64_t i = begin; i < end; ++i) {
      const auto read = [&](const at::Tensor& from, float* to, std::int64_t stride) {
        const std::int64_t origin = i / heads * from.stride(0) + i % heads * from.stride(1);
        for (std::int64_t k = 0; k < count; ++k)
          read_floats(from, origin + k * from.stride(2), from.size(3), to + k * stride);
      };
      read(key, rows.data(), dim);
      pack_keys(rows.data(), count, dim, packed.keys.data() + i * packed.keys_per_head);
      read(value, packed.values.data() + i * packed.values_per_head, packed.value_dim);
    }
  });
  return packed;
}

at::Tensor on_kernel(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                     const at::Tensor& key_mask, std::optional<double> given) {
  const std::int64_t batch = query.size(0), heads = query.size(1), positions = query.size(2),
                     dim = query.size(3), wide = value.size(3), keys = key.size(2),
                     group = heads / key.size(1);
  const float scale = given ? static_cast<float>(*given) : 1 / std::sqrt(static_cast<float>(dim));
  const Packed packed = pack(key, value);
  const at::Tensor keep = key_mask.defined() ? key_mask.to(at::kByte).contiguous() : at::Tensor();
  at::Tensor output = at::empty({batch, positions, heads, wide}, query.options());
  const std::int64_t tiles = (positions + kQueryTile - 1) / kQueryTile;
  at::parallel_for(0, batch * heads * tiles, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scores(static_cast<std::size_t>(kQueryTile * padded_keys(keys)));
    std::vector<float> queries(static_cast<std::size_t>(kQueryTile * dim)),
        mixed(static_cast<std::size_t>(kQueryTile * packed.value_dim));
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t sequence = task / (heads * tiles), head = task / tiles % heads, turn = task % tiles;
      // Early tiles of a causal head are cheap, late ones dear: taken in turns, so that halves weigh the
      // same.
      const std::int64_t tile = turn % 2 == 0 ? turn / 2 : tiles - 1 - turn / 2;
      const std::int64_t first = tile * kQueryTile, count = std::min(kQueryTile, positions - first);
      std::fill(queries.begin(), queries.end(), 0.0F);
      for (std::int64_t i = 0; i < count; ++i)
        read_floats(query,
                    sequence * query.stride(0) + head * query.stride(1) + (first + i) * query.stride(2), dim,
                    queries.data() + i * dim);
      for (float& q : queries) q *= scale;
      const std::int64_t shared = sequence * key.size(1) + head / group;
      attend({queries.data(), packed.keys.data() + shared * packed.keys_per_head,
              packed.values.data() + shared * packed.values_per_head,
              keep.defined() ? keep.const_data_ptr<std::uint8_t>() + sequence * keys : nullptr, keys, dim,
              packed.value_dim, causal ? keys - positions + first + 1 : keys, causal ? 1 : 0, scores.data(),
              mixed.data()});
      for (std::int64_t i = 0; i < count; ++i)
        write_floats(mixed.data() + i * packed.value_dim, wide, output,
                     ((sequence * positions + first + i) * heads + head) * wide);
    }
  });
  return output.reshape({batch, positions, heads * wide});
}

at::Tensor on_aten(const at::Tensor& query, at::Tensor key, at::Tensor value, bool causal,
                   const at::Tensor& key_mask, std::optional<double> scale) {
  const std::int64_t positions = query.size(2), keys = key.size(2), group = query.size(1) / key.size(1);
  std::optional<at::Tensor> mask;  // none where every query sees all keys, or ATen's own causal mask serves
  const bool aligned = causal && keys == positions && !key_mask.defined();
  if (causal && positions > 1 && !aligned)
    mask = at::ones({positions, keys}, query.options().dtype(at::kBool)).tril(keys - positions);
  if (key_mask.defined()) {
    const auto visible = key_mask.unsqueeze(1).unsqueeze(1).expand({-1, 1, positions, -1});
    mask = mask ? mask->logical_and(visible) : visible;
  }
  // The query heads of a KV head are positions of one head: keys and values are read once for them.
  if (positions == 1 && group > 1) {
    const auto mixed =
        at::scaled_dot_product_attention(query.reshape({query.size(0), key.size(1), group, query.size(3)}),
                                         key, value, mask, 0.0, false, scale);
    return mixed.reshape({query.size(0), 1, query.size(1) * value.size(3)});
  }
  if (group > 1) {
    key = key.repeat_interleave(group, 1);
    value = value.repeat_interleave(group, 1);
  }
  const auto mixed =
      at::scaled_dot_product_attention(query, key, value, mask, 0.0, aligned && positions > 1, scale);
  return mixed.transpose(1, 2).reshape({query.size(0), positions, query.size(1) * value.size(3)});
}

bool suits_kernel(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool narrow) {
  return query.size(2) >= kFewQueries && (narrow || query.size(3) % kKeyTile == 0) && query.stride(3) == 1 &&
         key.stride(3) == 1 && value.stride(3) == 1 && runs_on_kernels({query, key, value});
}

}  // namespace

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                     const at::Tensor& key_mask, std::optional<double> scale) {
  return suits_kernel(query, key, value, scale.has_value())
             ? on_kernel(query, key, value, causal, key_mask, scale)
             : on_aten(query, key, value, causal, key_mask, scale);
}

}  // namespace wring
