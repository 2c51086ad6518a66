// The full cache, and blocks in their order.
#include "engine/model/kv_cache.h"

#include "engine/math/attention.h"

namespace wring {
namespace {

class FullCache final : public BlockCache {
 public:
  void append(const at::Tensor& key, const at::Tensor& value) override {
    key_ = key_.defined() ? at::cat({key_, key}, 2) : key;
    value_ = value_.defined() ? at::cat({value_, value}, 2) : value;
  }
  at::Tensor attend(const at::Tensor& query, std::optional<double> scale) override {
    return attention(query, key_, value_, true, {}, scale);
  }
  std::uint64_t bytes() const override { return key_.defined() ? key_.nbytes() + value_.nbytes() : 0; }

 private:
  at::Tensor key_, value_;
};

}  // namespace

std::unique_ptr<BlockCache> full_block_cache() {
  return std::make_unique<FullCache>();
}

at::Tensor KvCache::attend(std::size_t block, const at::Tensor& query, const at::Tensor& key,
                           const at::Tensor& value, std::optional<double> scale) {
  if (blocks_.size() <= block) blocks_.resize(block + 1);
  auto& cache = blocks_[block];
  if (!cache) cache = policy_ ? policy_->make_block(block) : full_block_cache();
  cache->append(key, value);
  at::Tensor mixed = cache->attend(query, scale);
  cache->compact();
  return mixed;
}

std::uint64_t KvCache::bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& cache : blocks_) bytes += cache ? cache->bytes() : 0;
  return bytes;
}

}  // namespace wring
