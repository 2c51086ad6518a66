// What a decoder keeps of a text's keys and values; it computes the attention over them itself.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/json.h"

namespace wring {

// One block's keys and values of one or several texts of equal length, without padding. A forward pass calls
// append(), attend(), compact(), once each.
class BlockCache {
 public:
  virtual ~BlockCache() = default;

  // The next positions: key [batch, kv_heads, positions, head_dim] after its rotation, value [batch,
  // kv_heads, positions, value_dim].
  virtual void append(const at::Tensor& key, const at::Tensor& value) = 0;

  // Of the positions that were appended last over all that is held, each seeing none behind it: query [batch,
  // heads, positions, head_dim] -> [batch, positions, heads * value_dim]. scale: 1 / sqrt(head_dim) where it
  // is not given.
  virtual at::Tensor attend(const at::Tensor& query, std::optional<double> scale) = 0;

  // Prunes, evicts or packs what is due, now that those positions' attention is known.
  virtual void compact() {}

  virtual std::uint64_t bytes() const = 0;  // of everything that is held, without room for what is to come
};

// Keeps everything, as it comes.
std::unique_ptr<BlockCache> full_block_cache();

// How the caches of a model's blocks are made. Immutable.
class KvPolicy {
 public:
  virtual ~KvPolicy() = default;
  virtual std::unique_ptr<BlockCache> make_block(std::size_t block) const = 0;
  virtual Json to_json() const = 0;  // of wring.json: {method, version, params}
};

// The caches of all blocks, made as they are met.
class KvCache {
 public:
  explicit KvCache(std::shared_ptr<const KvPolicy> policy = nullptr)  // null: the full cache
      : policy_(std::move(policy)) {}

  at::Tensor attend(std::size_t block, const at::Tensor& query, const at::Tensor& key,
                    const at::Tensor& value, std::optional<double> scale);

  std::int64_t length() const { return length_; }  // positions that went through all blocks
  void advance(std::int64_t positions) { length_ += positions; }
  std::uint64_t bytes() const;

 private:
  std::shared_ptr<const KvPolicy> policy_;
  std::vector<std::unique_ptr<BlockCache>> blocks_;  // null: not met yet
  std::int64_t length_ = 0;
};

}  // namespace wring
