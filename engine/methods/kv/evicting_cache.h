// A cache that drops whole positions, each head its own, once there are more than a budget of them.
#pragma once

#include "engine/model/kv_cache.h"

namespace wring {

struct CacheBudget {
  std::int64_t positions;            // that a head keeps
  std::int64_t slack;                // more of them are let in before some are dropped
  at::ScalarType dtype = at::kHalf;  // of what is stored
};

class EvictingCache : public BlockCache {
 public:
  explicit EvictingCache(const CacheBudget& budget) : budget_(budget) {}

  void append(const at::Tensor& key, const at::Tensor& value) override;
  at::Tensor attend(const at::Tensor& query, std::optional<double> scale) override;
  void compact() override;
  std::uint64_t bytes() const override;

 protected:
  // Told of each pass: what its queries give each key that is held, summed over the queries from `first` on
  // and over a KV head's query heads, is attention_sums(first).
  virtual void attended() {}
  // Which positions stay, bool [batch, kv_heads, held], `budget` in each row.
  virtual at::Tensor chosen() = 0;
  virtual void dropped(const at::Tensor& kept) { (void)kept; }  // int64 [batch, kv_heads, budget], rising
  virtual std::uint64_t score_bytes() const { return 0; }

  at::Tensor attention_sums(std::int64_t first) const;  // fp32 [batch, kv_heads, held]
  std::int64_t held() const { return key_.size(2); }
  std::int64_t queries() const { return query_.size(2); }  // of the pass
  std::int64_t budget() const { return budget_.positions; }
  at::Tensor none() const;  // bool [batch, kv_heads, held], false

 private:
  CacheBudget budget_;
  at::Tensor key_, value_;  // [batch, kv_heads, held, dim]
  at::Tensor query_;        // of the pass, until it is compacted
  std::optional<double> scale_;
};

}  // namespace wring
