// KV caches against the formulas, written out element by element in float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "engine/kernels/bitmap_tiles.h"
#include "engine/math/bitmap_tiles.h"
#include "engine/methods/kv/kv_method.h"
#include "engine/model/load.h"
#include "engine/run/progress.h"
#include "random_family.h"
#include "recipe/check.h"

namespace wring {
namespace {

std::unique_ptr<Method> made(const std::string& name, const Json& given) {
  const auto params = check_params(given, Catalogue::embedded().method(name, ""), "stages[0].params", {});
  return make_method(name, Params(params, "stages[0].params"));
}

std::unique_ptr<BlockCache> block_of(const Method& method) {
  return dynamic_cast<const KvMethod&>(method).make_block(0);
}

// Keys, values and queries of a text of two sequences, four query heads to two KV heads.
struct Text {
  at::Tensor query, key, value;

  Text(std::int64_t positions, std::int64_t dim) {
    at::manual_seed(positions + dim);
    query = at::randn({2, 4, positions, dim}) * 2;
    key = at::randn({2, 2, positions, dim});
    value = at::randn({2, 2, positions, dim});
  }
  at::Tensor pass(BlockCache& cache, std::int64_t first, std::int64_t count) const {
    cache.append(key.narrow(2, first, count), value.narrow(2, first, count));
    at::Tensor mixed = cache.attend(query.narrow(2, first, count), std::nullopt);
    cache.compact();
    return mixed;
  }
};

// softmax(q K^T / sqrt(D)) of positions [first, first + count) over all before them that are `kept` (bool
// [batch, kv_heads, seen], undefined: all), in float64 [batch, heads, count, seen].
at::Tensor weights_formula(const Text& text, const at::Tensor& key, std::int64_t first, std::int64_t count,
                           const at::Tensor& kept) {
  const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble).repeat_interleave(2, 1); };
  const std::int64_t seen = first + count;
  at::Tensor scores = at::matmul(text.query.narrow(2, first, count).to(at::kDouble),
                                 wide(key.narrow(2, 0, seen)).transpose(2, 3)) /
                      std::sqrt(static_cast<double>(text.query.size(3)));
  const at::Tensor hidden = at::ones({count, seen}, at::kBool).triu(first + 1);
  scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  if (kept.defined())
    scores.masked_fill_(kept.repeat_interleave(2, 1).unsqueeze(2).logical_not(),
                        -std::numeric_limits<double>::infinity());
  return at::softmax(scores, -1);
}

at::Tensor attention_formula(const Text& text, const at::Tensor& key, const at::Tensor& value,
                             std::int64_t first, std::int64_t count, const at::Tensor& kept = {}) {
  const at::Tensor wide = value.narrow(2, 0, first + count).to(at::kDouble).repeat_interleave(2, 1);
  return at::matmul(weights_formula(text, key, first, count, kept), wide)
      .transpose(1, 2)
      .reshape({2, count, -1});
}

// Each vector's `keep` largest by size, of equal ones the first, among the first `old` positions.
at::Tensor pruned(const at::Tensor& x, std::int64_t old, std::int64_t keep) {
  at::Tensor y = x.clone();
  for (std::int64_t b = 0; b < x.size(0); ++b)
    for (std::int64_t h = 0; h < x.size(1); ++h)
      for (std::int64_t t = 0; t < old; ++t) {
        const auto row = y[b][h][t];
        float* v = row.mutable_data_ptr<float>();
        std::vector<std::int64_t> order(static_cast<std::size_t>(x.size(3)));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](auto i, auto j) { return std::abs(v[i]) > std::abs(v[j]); });
        for (auto i = order.begin() + keep; i != order.end(); ++i) v[*i] = 0;
      }
  return y;
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST(BitmapTiles, HoldWhatWasPackedAtEveryDensity) {
  at::manual_seed(1);
  for (const double density : {0.0, 0.02, 0.5, 0.97, 1.0})
    for (const std::int64_t pad : {1, 8}) {
      at::Tensor dense = at::randn({3, 5, 64}) * (at::rand({3, 5, 64}) < density);
      dense[0][0][63] = -1;
      EXPECT_TRUE(at::equal(unpack_tiles(pack_tiles(dense, at::kFloat, pad)), dense)) << density;
      const at::Tensor half = dense.to(at::kHalf).to(at::kFloat);
      EXPECT_TRUE(at::equal(unpack_tiles(pack_tiles(dense, at::kHalf, pad)), half)) << density;
    }
}

// 8 bytes of bits and 4 of offset a tile, and its values filled up: the card's step 5.
TEST(BitmapTiles, TakeTheBytesOfTheFormula) {
  at::manual_seed(2);
  const at::Tensor dense = at::randn({2, 7, 64}) * (at::rand({2, 7, 64}) < 0.3);
  for (const std::int64_t pad : {1, 8}) {
    std::uint64_t expected = kTileSlack * 2;  // that the last tile's reading runs into
    for (const auto& tile : dense.view({14, 64}).split(1))
      expected += 12 + 2 * ((at::count_nonzero(tile).item<std::int64_t>() + pad - 1) / pad * pad);
    EXPECT_EQ(pack_tiles(dense, at::kHalf, pad).bytes(), expected);
  }
}

// float16's small values have no leading bit.
TEST(BitmapTiles, KeepTheSmallestValuesOfFloat16InProducts) {
  at::Tensor dense = at::zeros({1, 1, 64});
  dense[0][0][5] = 0x1p-24F;
  dense[0][0][6] = -0x1p-15F;
  dense[0][0][7] = 65504.0F;
  const BitmapTiles tiles = pack_tiles(dense, at::kHalf, 8);
  const float weight = 1;
  std::vector<float> sums(64);
  multiply_tiles(tiles, 0, 0, 1, &weight, 1, 1, sums.data(), 64);
  EXPECT_EQ(sums[5], 0x1p-24F);
  EXPECT_EQ(sums[6], -0x1p-15F);
  EXPECT_EQ(sums[7], 65504.0F);
}

TEST(BitmapTiles, AreMultipliedAsDenseOnes) {
  at::manual_seed(3);
  constexpr std::int64_t kTiles = 150, kFirst = 7, kCount = 131;
  const at::Tensor dense =
      at::randn({2, kTiles, 64}) * (at::rand({2, kTiles, 64}) < at::rand({2, kTiles, 1}));
  for (const auto dtype : {at::kFloat, at::kHalf})
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 9}) {
      const BitmapTiles tiles = pack_tiles(dense, dtype, 8);
      const at::Tensor weights = at::randn({rows, kCount}), before = at::randn({rows, 64});
      at::Tensor sums = before.clone();
      multiply_tiles(tiles, 1, kFirst, kCount, weights.const_data_ptr<float>(), rows, kCount,
                     sums.mutable_data_ptr<float>(), 64);
      const at::Tensor stored = dense[1].narrow(0, kFirst, kCount).to(dtype).contiguous();
      EXPECT_LT(
          difference(sums, before.to(at::kDouble) + at::mm(weights.to(at::kDouble), stored.to(at::kDouble))),
          1e-4);
      at::Tensor plain = before.clone();
      const TileWeights by{weights.const_data_ptr<float>(), rows, kCount};
      if (dtype == at::kHalf)
        multiply_tiles(reinterpret_cast<const std::uint16_t*>(stored.const_data_ptr<at::Half>()), kCount, by,
                       plain.mutable_data_ptr<float>(), 64);
      else
        multiply_tiles(stored.const_data_ptr<float>(), kCount, by, plain.mutable_data_ptr<float>(), 64);
      EXPECT_LT(difference(plain, sums), 1e-4);
    }
}

TEST(KvCache, WithoutAPolicyIsAttentionOverAllPositions) {
  constexpr std::int64_t kTokens = 250;  // room is made anew at 2, 67, 148 and 250
  const Text text(kTokens, 16);
  const at::Tensor keys = text.key.clone();
  KvCache cache;
  for (std::int64_t first = 0; first < kTokens;) {
    const std::int64_t count = first == 100 ? 30 : 1;
    const auto part = [&](const at::Tensor& x) { return x.narrow(2, first, count); };
    const at::Tensor mixed =
        cache.attend(0, part(text.query), part(text.key), part(text.value), std::nullopt);
    EXPECT_LT(difference(mixed, attention_formula(text, text.key, text.value, first, count)), 1e-5);
    first += count;
    cache.advance(count);
  }
  EXPECT_TRUE(at::equal(text.key, keys)) << "what it was handed is not its own";
  EXPECT_EQ(cache.length(), kTokens);
  EXPECT_EQ(cache.bytes(), 2u * 2 * 2 * kTokens * 16 * sizeof(float));
}

// The prompt attends densely; then what is older than the window is pruned, chunk by chunk, and no more.
TEST(Mustafar, AttendsAsTheFormulaOverPrunedKeysAndValues) {
  for (const std::int64_t dim : {64, 128})
    for (const std::int64_t at_once : {1, 5, 16}) {  // by the kernel, by the kernel, by ATen
      const auto method = made("mustafar", {{"k_sparsity", 0.7},
                                            {"v_sparsity", 0.5},
                                            {"window", 32},
                                            {"chunk", 64},
                                            {"value_dtype", "float32"}});
      const Text text(320, dim);
      const auto cache = block_of(*method);
      EXPECT_LT(difference(text.pass(*cache, 0, 200), attention_formula(text, text.key, text.value, 0, 200)),
                1e-5);
      const std::int64_t k = dim - static_cast<std::int64_t>(0.7 * static_cast<double>(dim)), v = dim / 2;
      std::int64_t old = 128;  // floor((200 - 32) / 64) * 64
      for (std::int64_t first = 200; first + at_once <= 320; first += at_once) {
        const at::Tensor expected =
            attention_formula(text, pruned(text.key, old, k), pruned(text.value, old, v), first, at_once);
        ASSERT_LT(difference(text.pass(*cache, first, at_once), expected), 1e-5)
            << dim << " " << at_once << " " << first;
        if (first + at_once - 32 - old >= 64) old += 64;
      }
      EXPECT_GE(old, 256);
    }
}

TEST(Mustafar, RoundsToWhatItStores) {
  const auto method =
      made("mustafar", {{"k_sparsity", 0.5}, {"v_sparsity", 0.5}, {"window", 0}, {"chunk", 64}});
  const Text text(129, 64);
  const auto cache = block_of(*method);
  (void)text.pass(*cache, 0, 128);
  const auto stored = [](const at::Tensor& x) { return pruned(x.to(at::kHalf).to(at::kFloat), 128, 32); };
  EXPECT_LT(difference(text.pass(*cache, 128, 1),
                       attention_formula(text, stored(text.key), stored(text.value), 128, 1)),
            1e-4);
}

TEST(Mustafar, BreaksTiesByTheElementsOrder) {
  const auto method = made(
      "mustafar",
      {{"k_sparsity", 0}, {"v_sparsity", 0.75}, {"window", 0}, {"chunk", 64}, {"value_dtype", "float32"}});
  Text text(65, 64);
  text.value = at::ones_like(text.value);
  text.key.zero_();  // every position weighs the same
  const auto cache = block_of(*method);
  (void)text.pass(*cache, 0, 64);
  const at::Tensor mixed = text.pass(*cache, 64, 1)[0][0].narrow(0, 0, 64);
  EXPECT_NEAR(mixed[15].item<float>(), 1, 1e-5);
  EXPECT_NEAR(mixed[16].item<float>(), 1 / 65.0, 1e-5);
}

// Of random values with D = 64 and 20 survivors: V tiles are one token each, 12 + 2 * 24 bytes of 128.
TEST(Mustafar, CountsItsBytes) {
  const auto method =
      made("mustafar", {{"k_sparsity", 0.7}, {"v_sparsity", 0.7}, {"window", 32}, {"chunk", 64}});
  const Text text(1024, 64);
  const auto cache = block_of(*method);
  (void)text.pass(*cache, 0, 1024);
  const std::uint64_t old = 960, window = 64, heads = 4;
  double expected = static_cast<double>(2 * heads * window * 64 * 2 + heads * old * 60);
  const at::Tensor key = pruned(text.key.to(at::kHalf).to(at::kFloat), static_cast<std::int64_t>(old), 20)
                             .narrow(2, 0, static_cast<std::int64_t>(old));
  const at::Tensor counts = at::count_nonzero(key.reshape({4, 15, 64, 64}), at::IntArrayRef{2});
  expected += at::floor_divide(counts + 7, 8).mul(16).add(12).sum().item<double>();
  EXPECT_NEAR(static_cast<double>(cache->bytes()), expected, 64);
  EXPECT_NEAR(static_cast<double>(cache->bytes()) / (2.0 * 4 * 1024 * 64 * 2),
              0.47 * 960 / 1024 + 64.0 / 1024, 0.01);
}

TEST(Mustafar, ScoresByTheLastQueriesWhereAsked) {
  const auto method = made("mustafar", {{"k_sparsity", 0.5},
                                        {"v_sparsity", 0},
                                        {"k_score", "output-aware"},
                                        {"window", 0},
                                        {"chunk", 64},
                                        {"value_dtype", "float32"}});
  const Text text(65, 64);
  const auto cache = block_of(*method);
  (void)text.pass(*cache, 0, 64);
  at::Tensor weight = at::zeros({2, 2, 64});
  for (std::int64_t h = 0; h < 4; ++h)
    for (std::int64_t t = 32; t < 64; ++t)
      weight.select(1, h / 2) += text.query.select(1, h).select(1, t).abs() / 32;
  const at::Tensor chosen = pruned(text.key.narrow(2, 0, 64) * weight.unsqueeze(2), 64, 32).ne(0);
  at::Tensor key = text.key.clone();
  key.narrow(2, 0, 64).mul_(chosen);
  EXPECT_LT(difference(text.pass(*cache, 64, 1), attention_formula(text, key, text.value, 64, 1)), 1e-5);
}

TEST(Mustafar, ComparesValuesWithinAChannelWhereAsked) {
  const auto method = made("mustafar", {{"k_sparsity", 0},
                                        {"v_sparsity", 0.5},
                                        {"v_score", "channel-magnitude"},
                                        {"window", 0},
                                        {"chunk", 64},
                                        {"value_dtype", "float32"}});
  const Text text(65, 64);
  const auto cache = block_of(*method);
  (void)text.pass(*cache, 0, 64);
  at::Tensor value = text.value.clone();
  const at::Tensor groups = value.narrow(2, 0, 64).reshape({2, 4, 32, 64}).transpose(2, 3).contiguous();
  value.narrow(2, 0, 64).copy_(pruned(groups, 64, 16).transpose(2, 3).reshape({2, 2, 64, 64}));
  EXPECT_LT(difference(text.pass(*cache, 64, 1), attention_formula(text, text.key, value, 64, 1)), 1e-5);
}

TEST(Mustafar, DropsAsManyAtRandomAndOthersInAnotherBlock) {
  const auto method = made("mustafar", {{"k_sparsity", 0.5},
                                        {"v_sparsity", 0.5},
                                        {"k_score", "random"},
                                        {"v_score", "random"},
                                        {"window", 0},
                                        {"chunk", 64}});
  const Text text(64, 64);
  const auto& kv = dynamic_cast<const KvMethod&>(*method);
  const auto bytes_of = [&](std::size_t block) {
    const auto cache = kv.make_block(block);
    (void)text.pass(*cache, 0, 64);
    return cache->bytes();
  };
  EXPECT_NEAR(static_cast<double>(bytes_of(0)), 4.0 * 64 * (2 * 12 + 2 * 32 + 2 * 35),
              4.0 * 64 * 4);  // a key's tile holds 32 in the mean
  EXPECT_EQ(bytes_of(0), bytes_of(0));
  EXPECT_NE(bytes_of(0), bytes_of(1));
}

TEST(Think, DropsTheChannelsThatQueriesAndKeysAreSmallestIn) {
  const auto method = made(
      "think",
      {{"k_sparsity", 0.5}, {"v_sparsity", 0.25}, {"window", 0}, {"chunk", 64}, {"value_dtype", "float32"}});
  Text text(65, 16);
  text.key *= at::rand({2, 2, 1, 16}) + 0.1;
  text.value *= at::rand({2, 2, 1, 16}) + 0.1;
  const auto cache = block_of(*method);
  (void)text.pass(*cache, 0, 64);
  at::Tensor key = text.key.clone(), value = text.value.clone();
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t h = 0; h < 2; ++h) {
      std::vector<std::pair<double, std::int64_t>> of_key, of_value;
      for (std::int64_t d = 0; d < 16; ++d) {
        const auto squares = [&](const at::Tensor& x, std::int64_t from, std::int64_t to) {
          return x.narrow(0, from, to - from).select(1, d).to(at::kDouble).square().sum().item<double>();
        };
        const double q = squares(text.query[b][2 * h], 32, 64) + squares(text.query[b][2 * h + 1], 32, 64);
        of_key.emplace_back(q * squares(text.key[b][h], 0, 64), d);
        of_value.emplace_back(squares(text.value[b][h], 0, 64), d);
      }
      std::sort(of_key.begin(), of_key.end());
      std::sort(of_value.begin(), of_value.end());
      for (std::size_t i = 0; i < 8; ++i) key[b][h].narrow(0, 0, 64).select(1, of_key[i].second).zero_();
      for (std::size_t i = 0; i < 4; ++i) value[b][h].narrow(0, 0, 64).select(1, of_value[i].second).zero_();
    }
  EXPECT_LT(difference(text.pass(*cache, 64, 1), attention_formula(text, key, value, 64, 1)), 1e-5);
}

// bool [batch, kv_heads, n + new]: the `count` largest of score [batch, kv_heads, n] that are kept so far,
// and the new ones.
at::Tensor best(const at::Tensor& score, const at::Tensor& kept, std::int64_t count, std::int64_t seen) {
  at::Tensor chosen = at::zeros({2, 2, seen}, at::kBool);
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t h = 0; h < 2; ++h) {
      std::vector<std::pair<double, std::int64_t>> order;
      for (std::int64_t t = 0; t < score.size(2); ++t)
        if (kept[b][h][t].item<bool>()) order.emplace_back(-score[b][h][t].item<double>(), t);
      std::sort(order.begin(), order.end());
      for (std::int64_t i = 0; i < count; ++i) chosen[b][h][order[static_cast<std::size_t>(i)].second] = true;
      chosen[b][h].narrow(0, score.size(2), seen - score.size(2)).fill_(true);
    }
  return chosen;
}

// Summed over queries from `from` on and the query heads of a KV head.
at::Tensor sums_of(const at::Tensor& weights, std::int64_t from = 0) {
  return weights.narrow(2, from, weights.size(2) - from).sum(2).view({2, 2, 2, -1}).sum(2);
}

at::Tensor widened(const at::Tensor& kept, std::int64_t seen) {
  return at::constant_pad_nd(kept, {0, seen - kept.size(2)}, 1);
}

TEST(StreamingLlm, SeesTheFirstPositionsAndTheLast) {
  const auto method = made("streaming-llm", {{"budget", 12}, {"sinks", 3}, {"value_dtype", "float32"}});
  const Text text(30, 8);
  const auto cache = block_of(*method);
  EXPECT_LT(difference(text.pass(*cache, 0, 20), attention_formula(text, text.key, text.value, 0, 20)), 1e-5);
  for (std::int64_t t = 20; t < 30; ++t) {
    at::Tensor kept = at::zeros({2, 2, t + 1}, at::kBool);
    kept.narrow(2, 0, 3).fill_(true);
    kept.narrow(2, t - 9, 10).fill_(true);  // itself and nine more
    EXPECT_LT(difference(text.pass(*cache, t, 1), attention_formula(text, text.key, text.value, t, 1, kept)),
              1e-5);
    EXPECT_EQ(cache->bytes(), 2u * 2 * 2 * 12 * 8 * sizeof(float));
  }
}

TEST(H2o, KeepsWhatWasAttendedToMostSoFarAndTheLast) {
  const auto method = made("h2o", {{"budget", 12}, {"recent", 5}, {"value_dtype", "float32"}});
  const Text text(30, 8);
  const auto cache = block_of(*method);
  (void)text.pass(*cache, 0, 20);
  at::Tensor sums = sums_of(weights_formula(text, text.key, 0, 20, {})),
             kept = at::ones({2, 2, 20}, at::kBool);
  for (std::int64_t t = 20; t < 30; ++t) {
    kept = best(sums.narrow(2, 0, t - 5), kept, 7, t);
    const at::Tensor seen = widened(kept, t + 1);
    EXPECT_LT(difference(text.pass(*cache, t, 1), attention_formula(text, text.key, text.value, t, 1, seen)),
              1e-5)
        << t;
    sums = at::constant_pad_nd(sums, {0, 1}) + sums_of(weights_formula(text, text.key, t, 1, seen));
    kept = seen;
  }
}

TEST(SnapKv, KeepsWhatTheLastQueriesAttendToWithItsNeighbours) {
  const auto method =
      made("snapkv", {{"budget", 12}, {"window", 4}, {"kernel", 3}, {"value_dtype", "float32"}});
  const Text text(30, 8);
  const auto cache = block_of(*method);
  (void)text.pass(*cache, 0, 20);
  const at::Tensor sums = sums_of(weights_formula(text, text.key, 0, 20, {}), 16).narrow(2, 0, 16);
  at::Tensor pooled = sums.clone();
  for (std::int64_t t = 0; t < 16; ++t)
    pooled.select(2, t).copy_(
        sums.narrow(2, std::max<std::int64_t>(t - 1, 0), t == 0 || t == 15 ? 2 : 3).amax(2));
  const at::Tensor kept = best(pooled, at::ones({2, 2, 16}, at::kBool), 8, 20);
  for (std::int64_t t = 20; t < 24; ++t) {  // until another window has come
    const at::Tensor seen = widened(kept, t + 1);
    EXPECT_LT(difference(text.pass(*cache, t, 1), attention_formula(text, text.key, text.value, t, 1, seen)),
              1e-5)
        << t;
  }
  EXPECT_EQ(cache->bytes(), 2u * 2 * 2 * 12 * 8 * sizeof(float) + 2u * 2 * 12 * sizeof(float));
}

TEST(Kivi, RoundsKeysAlongTokensAndValuesAlongChannels) {
  for (const int bits : {2, 4, 8}) {
    const auto method =
        made("kivi",
             {{"bits", bits}, {"group_size", 16}, {"window", 0}, {"chunk", 32}, {"value_dtype", "float32"}});
    const Text text(65, 32);
    const auto cache = block_of(*method);
    (void)text.pass(*cache, 0, 64);
    const auto rounded = [&](const at::Tensor& x, std::int64_t axis) {
      at::Tensor y = x.clone();
      for (const at::Tensor& group : y.narrow(2, 0, 64).split(16, axis)) {
        const auto half = [](const at::Tensor& v) { return v.to(at::kHalf).to(at::kFloat); };
        const at::Tensor low = group.amin(axis, true),
                         step = half((group.amax(axis, true) - low) / ((1 << bits) - 1));
        group.copy_(half(low) + ((group - half(low)) / step).round().clamp(0, (1 << bits) - 1) * step);
      }
      return y;
    };
    EXPECT_LT(difference(text.pass(*cache, 64, 1),
                         attention_formula(text, rounded(text.key, 2), rounded(text.value, 3), 64, 1)),
              1e-5)
        << bits;
    const std::uint64_t elements = 2u * 2 * 2 * 64 * 32;  // and the newest token, as it is
    EXPECT_EQ(cache->bytes(), elements * static_cast<std::uint64_t>(bits) / 8 + elements / 16 * 4 +
                                  2u * 2 * 2 * 32 * sizeof(float));
  }
}

Error refused(const std::function<void()>& what) {
  try {
    what();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "was not refused";
  return Error(ErrorCode::kInternal, "", "");
}

TEST(KvMethods, RefuseWhatTheyCannotCacheByItsField) {
  EXPECT_EQ(refused([] { made("mustafar", {{"k_sparsity", 0.95}}); }).field(), "stages[0].params.k_sparsity");
  EXPECT_EQ(refused([] { made("mustafar", {{"v_sparsity", -0.1}}); }).field(), "stages[0].params.v_sparsity");
  EXPECT_EQ(refused([] { made("mustafar", {{"chunk", 100}}); }).field(), "stages[0].params.chunk");
  EXPECT_EQ(refused([] { made("streaming-llm", {{"budget", 4}}); }).field(), "stages[0].params.sinks");
  EXPECT_EQ(refused([] { made("h2o", {{"budget", 4}}); }).field(), "stages[0].params.recent");
  EXPECT_EQ(refused([] { made("snapkv", {{"budget", 4}}); }).field(), "stages[0].params.window");
  EXPECT_EQ(refused([] { made("snapkv", {{"kernel", 4}}); }).field(), "stages[0].params.kernel");
  EXPECT_EQ(refused([] { made("kivi", {{"group_size", 48}}); }).field(), "stages[0].params.group_size");
  const auto narrow = random_family::llama(random_family::llama_config(), false);
  const Error heads = refused([&] { made("mustafar", Json::object())->check_model(*narrow, {}); });
  EXPECT_EQ(heads.field(), "model");
  EXPECT_NE(heads.hint().find("multiple of 64"), std::string::npos);
  const auto encoder = random_family::bert();
  for (const char* name : {"mustafar", "think", "kivi", "h2o", "snapkv", "streaming-llm"})
    EXPECT_EQ(refused([&] { made(name, Json::object())->check_model(*encoder, {}); }).field(), "model")
        << name;
}

// A model takes its policy along.
TEST(KvMethods, StayWithAModelThatIsWrittenAndReadBack) {
  const auto model = random_family::llama(random_family::llama_config({{"head_dim", 64}}), false);
  attach_kv_policy(*model, {{"method", "mustafar"}, {"version", 1}, {"params", {{"k_sparsity", 0.7}}}},
                   "kv_cache");
  const Json description = model->kv_policy()->to_json();
  EXPECT_EQ(description.at("params").at("k_sparsity"), 0.7);
  EXPECT_EQ(description.at("params").at("window"), 32);
  const TempDir folder;
  std::filesystem::create_directories(folder.path() / "source");
  write_file_atomic(folder.path() / "source" / "tokenizer.json", "{}", Durability::kProcess);
  save_model(*model, FileTree::on_disk(folder.path() / "source"), Json::array(), folder.path() / "saved");
  const auto read = load_model(FileTree::on_disk(folder.path() / "saved"));
  ASSERT_TRUE(read->kv_policy());
  EXPECT_EQ(read->kv_policy()->to_json(), description);
}

TEST(KvMethods, OfADamagedDescriptionAreRefusedByItsField) {
  const auto model = random_family::llama(random_family::llama_config({{"head_dim", 64}}), false);
  const auto field_of = [&](const Json& description) {
    return refused([&] { attach_kv_policy(*model, description, "kv_cache"); }).field();
  };
  EXPECT_EQ(field_of({{"method", "gptq"}, {"version", 1}, {"params", Json::object()}}), "kv_cache.method");
  EXPECT_EQ(field_of({{"method", "none"}, {"version", 1}, {"params", Json::object()}}), "kv_cache.method");
  EXPECT_EQ(field_of({{"method", "mustafar"}, {"version", 99}, {"params", Json::object()}}),
            "kv_cache.version");
  EXPECT_EQ(field_of({{"method", "mustafar"}, {"version", 1}, {"params", {{"chunk", 1}}}}),
            "kv_cache.params.chunk");
}

}  // namespace
}  // namespace wring
