// Attention over what is left, and its sums by key, some queries at a time.
#include "engine/methods/kv/evicting_cache.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/math/attention.h"

namespace wring {
namespace {

constexpr std::int64_t kQueriesAtOnce = 128;  // whose whole rows of attention are in memory

at::Tensor joined(const at::Tensor& before, const at::Tensor& behind) {
  return before.defined() ? at::cat({before, behind}, 2) : behind;
}

}  // namespace

void EvictingCache::append(const at::Tensor& key, const at::Tensor& value) {
  key_ = joined(key_, key.to(budget_.dtype));
  value_ = joined(value_, value.to(budget_.dtype));
}

at::Tensor EvictingCache::attend(const at::Tensor& query, std::optional<double> scale) {
  query_ = query;
  scale_ = scale;
  attended();
  const auto dtype = query.scalar_type();
  return attention(query, key_.to(dtype), value_.to(dtype), true, {}, scale);
}

void EvictingCache::compact() {
  query_.reset();
  if (held() <= budget_.positions + budget_.slack) return;
  const at::Tensor order =
      std::get<1>(at::sort(chosen().to(at::kByte), /*stable=*/true, 2, /*descending=*/true));
  const at::Tensor kept = order.narrow(2, 0, budget_.positions).contiguous();
  const auto gathered = [&](const at::Tensor& x) {
    return x.gather(2, kept.unsqueeze(3).expand({-1, -1, -1, x.size(3)}));
  };
  key_ = gathered(key_);
  value_ = gathered(value_);
  dropped(kept);
}

std::uint64_t EvictingCache::bytes() const {
  return key_.defined() ? key_.nbytes() + value_.nbytes() + score_bytes() : 0;
}

at::Tensor EvictingCache::none() const {
  return at::zeros({key_.size(0), key_.size(1), held()}, key_.options().dtype(at::kBool));
}

at::Tensor EvictingCache::attention_sums(std::int64_t first) const {
  const std::int64_t batch = key_.size(0), kv_heads = key_.size(1), dim = key_.size(3),
                     group = query_.size(1) / kv_heads, old = held() - queries();
  const double scale = scale_.value_or(1 / std::sqrt(static_cast<double>(dim)));
  const at::Tensor keys = key_.to(at::kFloat).transpose(2, 3).unsqueeze(2);
  const at::Tensor position = at::arange(held(), key_.options().dtype(at::kLong));
  at::Tensor sums = at::zeros({batch, kv_heads, held()}, keys.options());
  for (; first < queries(); first += kQueriesAtOnce) {
    const std::int64_t count = std::min(kQueriesAtOnce, queries() - first);
    const at::Tensor query =
        query_.narrow(2, first, count).to(at::kFloat).reshape({batch, kv_heads, group, count, dim});
    const at::Tensor last = position.narrow(0, old + first, count).unsqueeze(1);
    const at::Tensor scores =
        at::matmul(query * scale, keys)
            .masked_fill_(position.unsqueeze(0).gt(last), -std::numeric_limits<float>::infinity());
    sums += at::softmax(scores, -1).sum(at::IntArrayRef{2, 3});
  }
  return sums;
}

}  // namespace wring
