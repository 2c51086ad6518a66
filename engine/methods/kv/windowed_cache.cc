// The window, and what both parts give together.
#include "engine/methods/kv/windowed_cache.h"

#include <algorithm>
#include <cmath>

#include "engine/math/attention.h"

namespace wring {
namespace {

at::Tensor joined(const at::Tensor& before, const at::Tensor& behind) {
  return before.defined() ? at::cat({before, behind}, 2) : behind;
}

at::Tensor behind(const at::Tensor& x, std::int64_t first) {
  return x.narrow(2, first, x.size(2) - first).contiguous();
}

}  // namespace

void WindowedCache::append(const at::Tensor& key, const at::Tensor& value) {
  recent_key_ = joined(recent_key_, key.to(window_.dtype));
  recent_value_ = joined(recent_value_, value.to(window_.dtype));
}

void WindowedCache::note_queries(const at::Tensor& query) {
  if (!keeps_queries_) return;
  const std::int64_t last = std::min(kQueries, query.size(2));
  queries_ = joined(queries_, query.narrow(2, query.size(2) - last, last));
  if (queries_.size(2) > kQueries) queries_ = behind(queries_, queries_.size(2) - kQueries);
}

at::Tensor WindowedCache::attend(const at::Tensor& query, std::optional<double> scale) {
  note_queries(query);
  const auto [key, value] = compressed();
  const auto of = [&](const at::Tensor& old, const at::Tensor& recent) {
    return joined(old.defined() ? old.to(query.scalar_type()) : old, recent.to(query.scalar_type()));
  };
  return attention(query, of(key, recent_key_), of(value, recent_value_), true, {}, scale);
}

void WindowedCache::compact() {
  const std::int64_t due = (recent_key_.size(2) - window_.length) / window_.chunk * window_.chunk;
  if (due <= 0) return;
  compress(recent_key_.narrow(2, 0, due).to(at::kFloat), recent_value_.narrow(2, 0, due).to(at::kFloat));
  recent_key_ = behind(recent_key_, due);
  recent_value_ = behind(recent_value_, due);
}

std::uint64_t WindowedCache::bytes() const {
  std::uint64_t bytes = compressed_bytes();
  for (const at::Tensor* held : {&recent_key_, &recent_value_, &queries_})
    if (held->defined()) bytes += held->nbytes();
  return bytes;
}

at::Tensor WindowedCache::grouped_queries() const {
  const std::int64_t kv_heads = recent_key_.size(1);
  return queries_.to(at::kFloat)
      .reshape({queries_.size(0), kv_heads, queries_.size(1) / kv_heads, queries_.size(2), queries_.size(3)});
}

std::int64_t kept_count(std::int64_t width, double sparsity) {
  return width - static_cast<std::int64_t>(std::floor(sparsity * static_cast<double>(width) + 1e-9));
}

at::Tensor largest(const at::Tensor& score, std::int64_t count, std::int64_t axis) {
  const at::Tensor order = std::get<1>(at::sort(score, /*stable=*/true, axis, /*descending=*/true));
  return at::zeros(score.sizes(), score.options().dtype(at::kBool))
      .scatter_(axis, order.narrow(axis, 0, count), true);
}

}  // namespace wring
