// StreamingLLM: the first positions, which attention leans on, and the last ones (Xiao et al., ICLR 2024).
// Keys stay at the positions that they had in the text.
#include "common/error.h"
#include "engine/methods/kv/evicting_cache.h"
#include "engine/methods/kv/kv_method.h"

namespace wring {
namespace {

class StreamingLlm final : public EvictingCache {
 public:
  StreamingLlm(const CacheBudget& budget, std::int64_t sinks) : EvictingCache(budget), sinks_(sinks) {}

 protected:
  at::Tensor chosen() override {
    at::Tensor kept = none();
    kept.narrow(2, 0, sinks_).fill_(true);
    kept.narrow(2, held() - (budget() - sinks_), budget() - sinks_).fill_(true);
    return kept;
  }

 private:
  std::int64_t sinks_;
};

class StreamingLlmMethod final : public KvMethod {
 public:
  explicit StreamingLlmMethod(const Params& params)
      : KvMethod("streaming-llm", params),
        budget_{params.get<std::int64_t>("budget"), 0, params.dtype("value_dtype")},
        sinks_(params.get<std::int64_t>("sinks")) {
    if (sinks_ >= budget_.positions)
      throw Error(
          ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
          std::to_string(sinks_) + " sinks leave nothing of a budget of " + std::to_string(budget_.positions),
          params.field("sinks"), "Fewer than budget.");
  }

  std::unique_ptr<BlockCache> make_block(std::size_t) const override {
    return std::make_unique<StreamingLlm>(budget_, sinks_);
  }

 private:
  CacheBudget budget_;
  std::int64_t sinks_;
};

WRING_METHOD("streaming-llm", StreamingLlmMethod);

}  // namespace
}  // namespace wring
