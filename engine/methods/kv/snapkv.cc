// SnapKV: the positions that the last queries attend to most, with their neighbours, and those queries' own
// (Li et al., NeurIPS 2024). The paper compresses the prompt alone; here what is written is compressed, too,
// each time that a window of it has come.
#include <algorithm>

#include "common/error.h"
#include "engine/methods/kv/evicting_cache.h"
#include "engine/methods/kv/kv_method.h"
#include "engine/methods/kv/windowed_cache.h"

namespace wring {
namespace {

class Observed final : public EvictingCache {
 public:
  Observed(const CacheBudget& budget, std::int64_t window, std::int64_t kernel)
      : EvictingCache(budget), window_(window), kernel_(kernel) {}

 protected:
  // Of a pass of more queries than a window its last ones', else of all since something was dropped.
  void attended() override {
    const at::Tensor now = attention_sums(std::max<std::int64_t>(0, queries() - window_));
    if (queries() < window_ && sums_.defined()) now.narrow(2, 0, sums_.size(2)) += sums_;
    sums_ = now;
  }
  at::Tensor chosen() override {
    const std::int64_t older = held() - window_;
    const at::Tensor pooled =
        at::max_pool1d(sums_.narrow(2, 0, older), kernel_, /*stride=*/1, /*padding=*/kernel_ / 2);
    at::Tensor kept = none();
    kept.narrow(2, 0, older).copy_(largest(pooled, budget() - window_, 2));
    kept.narrow(2, older, window_).fill_(true);
    return kept;
  }
  void dropped(const at::Tensor& kept) override { sums_ = at::zeros_like(sums_.gather(2, kept)); }
  std::uint64_t score_bytes() const override { return sums_.nbytes(); }

 private:
  std::int64_t window_, kernel_;
  at::Tensor sums_;  // fp32 [batch, kv_heads, held]
};

class SnapKv final : public KvMethod {
 public:
  explicit SnapKv(const Params& params)
      : KvMethod("snapkv", params),
        window_(params.get<std::int64_t>("window")),
        kernel_(params.get<std::int64_t>("kernel")),
        budget_{params.get<std::int64_t>("budget"), window_ - 1, params.dtype("value_dtype")} {
    if (window_ > budget_.positions)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                  "a window of " + std::to_string(window_) + " is more than a budget of " +
                      std::to_string(budget_.positions),
                  params.field("window"), "At most budget.");
    if (kernel_ % 2 == 0)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                  "a position has no neighbourhood of " + std::to_string(kernel_), params.field("kernel"),
                  "An odd number.");
  }

  std::unique_ptr<BlockCache> make_block(std::size_t) const override {
    return std::make_unique<Observed>(budget_, window_, kernel_);
  }

 private:
  std::int64_t window_, kernel_;
  CacheBudget budget_;
};

WRING_METHOD("snapkv", SnapKv);

}  // namespace
}  // namespace wring
