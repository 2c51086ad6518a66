// Mustafar: each cached key and value keeps its largest elements, in bitmap tiles that attention reads as
// they are (Joo et al., NeurIPS 2025, sections 2 and 3).
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/error.h"
#include "engine/kernels/bitmap_tiles.h"
#include "engine/math/bitmap_tiles.h"
#include "engine/math/elementwise.h"
#include "engine/methods/kv/kv_method.h"
#include "engine/methods/kv/windowed_cache.h"

namespace wring {
namespace {

constexpr std::int64_t kTokensOfChannel = 32;  // among which a channel's values compete (channel-magnitude)
constexpr std::int64_t kFewQueries = 8;        // below, the tiles are read as they are
constexpr std::int64_t kTokensAtOnce = 8192;   // packed together

struct Settings {
  double k_sparsity, v_sparsity;
  std::string k_score, v_score;
  std::int64_t pad;
  Window window;
  std::uint64_t seed;
};

// key [B, H, T, D] <-> rows of tiles [B * H, T / 64 * D, 64]: a tile is 64 tokens of a channel.
at::Tensor key_tiles(const at::Tensor& key) {
  const std::int64_t blocks = key.size(2) / kTile, dim = key.size(3);
  return key.reshape({-1, blocks, kTile, dim}).transpose(2, 3).reshape({-1, blocks * dim, kTile});
}

at::Tensor keys_of_tiles(const at::Tensor& tiles, std::int64_t dim) {
  const std::int64_t blocks = tiles.size(1) / dim;
  return tiles.reshape({-1, blocks, dim, kTile}).transpose(2, 3).reshape({-1, blocks * kTile, dim});
}

// value [B, H, T, D] <-> rows of tiles [B * H, T * D / 64, 64]: a tile is 64 channels of a token; those of 64
// tokens stand together.
at::Tensor value_tiles(const at::Tensor& value) {
  const std::int64_t blocks = value.size(2) / kTile, parts = value.size(3) / kTile;
  return value.reshape({-1, blocks, kTile, parts, kTile})
      .transpose(2, 3)
      .reshape({-1, blocks * parts * kTile, kTile});
}

at::Tensor values_of_tiles(const at::Tensor& tiles, std::int64_t dim) {
  const std::int64_t parts = dim / kTile, blocks = tiles.size(1) / (parts * kTile);
  return tiles.reshape({-1, blocks, parts, kTile, kTile}).transpose(2, 3).reshape({-1, blocks * kTile, dim});
}

class Mustafar final : public WindowedCache {
 public:
  explicit Mustafar(const Settings& settings)
      : WindowedCache(settings.window, settings.k_score == "output-aware"),
        s_(settings),
        random_(at::make_generator<at::CPUGeneratorImpl>(settings.seed)) {}

  at::Tensor attend(const at::Tensor& query, std::optional<double> scale) override {
    const bool few = query.size(2) < kFewQueries && query.scalar_type() == at::kFloat &&
                     runs_on_kernels({query}) && !chunks_.empty();
    if (!few) return WindowedCache::attend(query, scale);
    note_queries(query);
    return attend_on_tiles(query, scale);
  }

 protected:
  void compress(const at::Tensor& key, const at::Tensor& value) override {
    key_dim_ = key.size(3);
    value_dim_ = value.size(3);
    for (std::int64_t first = 0; first < key.size(2); first += kTokensAtOnce) {
      const std::int64_t count = std::min(kTokensAtOnce, key.size(2) - first);
      const at::Tensor k = key.narrow(2, first, count), v = value.narrow(2, first, count);
      const auto pack = [&](const at::Tensor& tiles) { return pack_tiles(tiles, s_.window.dtype, s_.pad); };
      chunks_.push_back({pack(key_tiles(k * kept_keys(k))), pack(value_tiles(v * kept_values(v))), count});
    }
  }

  std::pair<at::Tensor, at::Tensor> compressed() const override {
    if (chunks_.empty()) return {};
    std::vector<at::Tensor> keys, values;
    const std::int64_t batch = recent_key().size(0), heads = recent_key().size(1);
    for (const Chunk& chunk : chunks_) {
      keys.push_back(
          keys_of_tiles(unpack_tiles(chunk.keys), key_dim_).view({batch, heads, chunk.tokens, key_dim_}));
      values.push_back(values_of_tiles(unpack_tiles(chunk.values), value_dim_)
                           .view({batch, heads, chunk.tokens, value_dim_}));
    }
    return {at::cat(keys, 2), at::cat(values, 2)};
  }

  std::uint64_t compressed_bytes() const override {
    std::uint64_t bytes = 0;
    for (const Chunk& chunk : chunks_) bytes += chunk.keys.bytes() + chunk.values.bytes();
    return bytes;
  }

 private:
  struct Chunk {
    BitmapTiles keys, values;
    std::int64_t tokens;
  };

  at::Tensor random_scores(const at::Tensor& x) { return at::rand(x.sizes(), random_).to(x.device()); }

  // Step 1: bool as x, per token.
  at::Tensor kept_keys(const at::Tensor& key) {
    at::Tensor score = s_.k_score == "random" ? random_scores(key) : key.abs();
    if (s_.k_score == "output-aware") score *= grouped_queries().abs().mean(3).sum(2).unsqueeze(2);
    return largest(score, kept_count(key.size(3), s_.k_sparsity), 3);
  }

  at::Tensor kept_values(const at::Tensor& value) {
    if (s_.v_score != "channel-magnitude")
      return largest(s_.v_score == "random" ? random_scores(value) : value.abs(),
                     kept_count(value.size(3), s_.v_sparsity), 3);
    const at::Tensor groups = value.abs().reshape(
        {value.size(0), value.size(1), value.size(2) / kTokensOfChannel, kTokensOfChannel, value.size(3)});
    return largest(groups, kept_count(kTokensOfChannel, s_.v_sparsity), 3).view(value.sizes());
  }

  // Step 3. Scores of the tiles, then of the window; one softmax; both products again.
  at::Tensor attend_on_tiles(const at::Tensor& query, std::optional<double> given) {
    const std::int64_t batch = query.size(0), heads = query.size(1), positions = query.size(2),
                       dim = query.size(3), kv_heads = recent_key().size(1), rows = batch * kv_heads,
                       recent = recent_key().size(2), n = heads / kv_heads * positions;
    std::int64_t old = 0;
    for (const Chunk& chunk : chunks_) old += chunk.tokens;
    const double scale = given.value_or(1 / std::sqrt(static_cast<double>(dim)));
    const at::Tensor q = (query * scale).reshape({rows, n, dim}).contiguous();
    const at::Tensor window_key = recent_key().to(at::kFloat).view({rows, recent, dim}),
                     window_value = recent_value().to(at::kFloat).view({rows, recent, value_dim_});
    at::Tensor scores = at::zeros({rows, n, old + recent}, q.options());
    each_tile_run(rows, [&](std::int64_t row, const Chunk& chunk, std::int64_t block, std::int64_t token) {
      multiply_tiles(chunk.keys, row, block * dim, dim, q.const_data_ptr<float>() + row * n * dim, n, dim,
                     scores.mutable_data_ptr<float>() + row * n * (old + recent) + token, old + recent);
    });
    at::Tensor window_scores = scores.narrow(2, old, recent);
    window_scores.copy_(at::bmm(q, window_key.transpose(1, 2)));
    if (positions > 1) {
      const at::Tensor hidden = at::ones({positions, recent}, at::kBool).triu(recent - positions + 1);
      window_scores.view({rows, -1, positions, recent}).masked_fill_(hidden, -INFINITY);
    }
    const at::Tensor weights = at::softmax(scores, -1);
    at::Tensor mixed = at::bmm(weights.narrow(2, old, recent), window_value);
    const std::int64_t parts = value_dim_ / kTile;
    each_tile_run(rows, [&](std::int64_t row, const Chunk& chunk, std::int64_t block, std::int64_t token) {
      for (std::int64_t part = 0; part < parts; ++part)
        multiply_tiles(chunk.values, row, (block * parts + part) * kTile, kTile,
                       weights.const_data_ptr<float>() + row * n * (old + recent) + token, n, old + recent,
                       mixed.mutable_data_ptr<float>() + row * n * value_dim_ + part * kTile, value_dim_);
    });
    return mixed.view({batch, heads, positions, value_dim_})
        .transpose(1, 2)
        .reshape({batch, positions, heads * value_dim_});
  }

  // For each KV head: its blocks of 64 tokens in order, by number in their chunk and by first token.
  template <typename Do>
  void each_tile_run(std::int64_t rows, const Do& run) const {
    at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        std::int64_t token = 0;
        for (const Chunk& chunk : chunks_)
          for (std::int64_t block = 0; block < chunk.tokens / kTile; ++block, token += kTile)
            run(row, chunk, block, token);
      }
    });
  }

  Settings s_;
  at::Generator random_;
  std::vector<Chunk> chunks_;
  std::int64_t key_dim_ = 0, value_dim_ = 0;
};

class MustafarMethod final : public KvMethod {
 public:
  explicit MustafarMethod(const Params& params)
      : KvMethod("mustafar", params),
        settings_{params.get<double>("k_sparsity"),
                  params.get<double>("v_sparsity"),
                  params.get<std::string>("k_score"),
                  params.get<std::string>("v_score"),
                  params.get<std::int64_t>("pad"),
                  {params.get<std::int64_t>("window"), params.get<std::int64_t>("chunk"),
                   params.dtype("value_dtype")},
                  params.get<std::uint64_t>("seed")} {
    if (settings_.window.chunk % kTile != 0)
      throw Error(ErrorCode::kInvalidArgument, "CHUNK",
                  std::to_string(settings_.window.chunk) + " is no multiple of a tile's 64 tokens",
                  params.field("chunk"), "For instance 64 or 256.");
  }

  void check_heads(std::int64_t query_width, std::int64_t value_width) const override {
    for (const std::int64_t width : {query_width, value_width})
      if (width % kTile != 0)
        throw Error(ErrorCode::kUnimplemented, "HEAD_SIZE",
                    "heads of " + std::to_string(width) + " channels are not cut into tiles", "model",
                    "mustafar takes heads of 64, 128, 192 or any other multiple of 64 channels.");
  }

  std::unique_ptr<BlockCache> make_block(std::size_t block) const override {
    Settings settings = settings_;
    settings.seed += block;
    return std::make_unique<Mustafar>(settings);
  }

 private:
  Settings settings_;
};

WRING_METHOD("mustafar", MustafarMethod);

}  // namespace
}  // namespace wring
