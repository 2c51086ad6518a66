// A cache of two parts: the newest positions as they are, the older ones compressed chunk by chunk.
#pragma once

#include <utility>

#include "engine/model/kv_cache.h"

namespace wring {

struct Window {
  std::int64_t length;               // positions that always stay as they are; up to chunk - 1 more do
  std::int64_t chunk;                // positions that are compressed together
  at::ScalarType dtype = at::kHalf;  // of what is stored
};

class WindowedCache : public BlockCache {
 public:
  // keeps_queries: for methods that score by the last of them.
  WindowedCache(const Window& window, bool keeps_queries) : window_(window), keeps_queries_(keeps_queries) {}

  void append(const at::Tensor& key, const at::Tensor& value) override;
  // Dense, over what compressed() gives and the window.
  at::Tensor attend(const at::Tensor& query, std::optional<double> scale) override;
  // Compresses the oldest whole chunks that are not among the newest `length` positions.
  void compact() override;
  std::uint64_t bytes() const override;

 protected:
  static constexpr std::int64_t kQueries = 32;  // the last, where they are kept

  // The next positions, fp32 [batch, kv_heads, a multiple of chunk, dim].
  virtual void compress(const at::Tensor& key, const at::Tensor& value) = 0;
  // Keys and values of all that was compressed, dense; undefined where nothing was.
  virtual std::pair<at::Tensor, at::Tensor> compressed() const = 0;
  virtual std::uint64_t compressed_bytes() const = 0;

  const Window& window() const { return window_; }
  void note_queries(const at::Tensor& query);  // by whoever attends in another way
  const at::Tensor& recent_key() const { return recent_key_; }
  const at::Tensor& recent_value() const { return recent_value_; }
  // fp32 [batch, kv_heads, group, at most kQueries, head_dim]
  at::Tensor grouped_queries() const;

 private:
  Window window_;
  bool keeps_queries_;
  at::Tensor recent_key_, recent_value_;  // [batch, kv_heads, positions, dim]
  at::Tensor queries_;                    // the last ones of each head
};

// Of a vector of `width` elements at that sparsity: width - floor(sparsity * width).
std::int64_t kept_count(std::int64_t width, double sparsity);

// bool as `score`: true at the `count` largest along `axis`, of equal ones the first.
at::Tensor largest(const at::Tensor& score, std::int64_t count, std::int64_t axis);

}  // namespace wring
