// H2O: the positions that all queries so far attended to most, and the last ones (Zhang et al., NeurIPS 2023,
// algorithm 1), each KV head by the sum over its query heads.
#include "common/error.h"
#include "engine/methods/kv/evicting_cache.h"
#include "engine/methods/kv/kv_method.h"
#include "engine/methods/kv/windowed_cache.h"

namespace wring {
namespace {

class HeavyHitters final : public EvictingCache {
 public:
  HeavyHitters(const CacheBudget& budget, std::int64_t recent) : EvictingCache(budget), recent_(recent) {}

 protected:
  void attended() override {
    const at::Tensor now = attention_sums(0);
    if (sums_.defined()) now.narrow(2, 0, sums_.size(2)) += sums_;
    sums_ = now;
  }
  at::Tensor chosen() override {
    const std::int64_t older = held() - recent_;
    at::Tensor kept = none();
    kept.narrow(2, 0, older).copy_(largest(sums_.narrow(2, 0, older), budget() - recent_, 2));
    kept.narrow(2, older, recent_).fill_(true);
    return kept;
  }
  void dropped(const at::Tensor& kept) override { sums_ = sums_.gather(2, kept); }
  std::uint64_t score_bytes() const override { return sums_.nbytes(); }

 private:
  std::int64_t recent_;
  at::Tensor sums_;  // fp32 [batch, kv_heads, held]
};

class H2o final : public KvMethod {
 public:
  explicit H2o(const Params& params)
      : KvMethod("h2o", params),
        budget_{params.get<std::int64_t>("budget"), 0, params.dtype("value_dtype")},
        recent_(params.get<std::int64_t>("recent")) {
    if (recent_ > budget_.positions)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                  std::to_string(recent_) + " positions are more than a budget of " +
                      std::to_string(budget_.positions),
                  params.field("recent"), "At most budget; the paper takes half of it.");
  }

  std::unique_ptr<BlockCache> make_block(std::size_t) const override {
    return std::make_unique<HeavyHitters>(budget_, recent_);
  }

 private:
  CacheBudget budget_;
  std::int64_t recent_;
};

WRING_METHOD("h2o", H2o);

}  // namespace
}  // namespace wring
