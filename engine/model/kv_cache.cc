// The full cache, and blocks in their order.
#include "engine/model/kv_cache.h"

#include "engine/math/attention.h"

namespace wring {
namespace {

// [batch, heads, tokens, dim].
class Rows {
 public:
  void append(const at::Tensor& rows) {
    const std::int64_t count = count_ + rows.size(2);
    if (!buffer_.defined()) {
      buffer_ = rows;  // a prompt, behind which there may be nothing
    } else {
      if (count > buffer_.size(2)) grow(count + count / 4 + 64);  // so that a token copies the others seldom
      buffer_.narrow(2, count_, rows.size(2)).copy_(rows);
    }
    count_ = count;
  }
  at::Tensor all() const { return buffer_.narrow(2, 0, count_); }
  std::uint64_t bytes() const { return buffer_.defined() ? all().nbytes() : 0; }

 private:
  void grow(std::int64_t capacity) {
    at::Tensor grown =
        at::empty({buffer_.size(0), buffer_.size(1), capacity, buffer_.size(3)}, buffer_.options());
    grown.narrow(2, 0, count_).copy_(all());
    buffer_ = std::move(grown);
  }

  at::Tensor buffer_;
  std::int64_t count_ = 0;
};

class FullCache final : public BlockCache {
 public:
  void append(const at::Tensor& key, const at::Tensor& value) override {
    keys_.append(key);
    values_.append(value);
  }
  at::Tensor attend(const at::Tensor& query, std::optional<double> scale) override {
    return attention(query, keys_.all(), values_.all(), true, {}, scale);
  }
  std::uint64_t bytes() const override { return keys_.bytes() + values_.bytes(); }

 private:
  Rows keys_, values_;
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
