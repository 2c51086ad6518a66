// Attention of one new token over KV caches, all layers in turn so that each is out of the processor's caches
// when it is met again: seconds, bytes that are read and bandwidth, of one thread.
//   wring_kv_bench [--tokens 4096] [--layers 30] [--heads 9] [--kv-heads 3] [--dim 64] [--repeats 50]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include "common/clock.h"
#include "engine/kernels/bitmap_tiles.h"
#include "engine/methods/kv/kv_method.h"
#include "recipe/check.h"

namespace wring {
namespace {

struct Shape {
  std::int64_t tokens = 4096, layers = 30, heads = 9, kv_heads = 3, dim = 64, repeats = 50;
};

// All layers' attention, and what they hold.
struct Contestant {
  std::string name;
  std::function<void(std::size_t layer, const at::Tensor& query)> attend;
  std::uint64_t bytes;
};

double median_seconds(const Shape& shape, const at::Tensor& query, const Contestant& contestant) {
  std::vector<double> seconds;
  for (std::int64_t i = -2; i < shape.repeats; ++i) {  // the first two warm up
    const Stopwatch watch;
    for (std::int64_t layer = 0; layer < shape.layers; ++layer)
      contestant.attend(static_cast<std::size_t>(layer), query);
    if (i >= 0) seconds.push_back(watch.seconds());
  }
  std::nth_element(seconds.begin(), seconds.begin() + shape.repeats / 2, seconds.end());
  return seconds[static_cast<std::size_t>(shape.repeats / 2)];
}

at::Tensor text(const Shape& shape, std::int64_t heads) {
  return at::randn({1, heads, shape.tokens, shape.dim});
}

// What a recipe's stage, or the full cache where there is none, holds of random keys and values.
Contestant cache(const Shape& shape, const std::string& name, const std::string& method, const Json& given) {
  auto blocks = std::make_shared<std::vector<std::unique_ptr<BlockCache>>>();
  std::uint64_t bytes = 0;
  std::unique_ptr<Method> made;
  if (!method.empty())
    made = make_method(method,
                       Params(check_params(given, Catalogue::embedded().method(method, ""), "", {}), ""));
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    blocks->push_back(made ? dynamic_cast<const KvMethod&>(*made).make_block(0) : full_block_cache());
    blocks->back()->append(text(shape, shape.kv_heads), text(shape, shape.kv_heads));
    blocks->back()->compact();
    bytes += blocks->back()->bytes();
  }
  return {name,
          [blocks](std::size_t layer, const at::Tensor& query) { (void)(*blocks)[layer]->attend(query, {}); },
          bytes};
}

// ATen's own attention over a full cache that lies as it likes it: [heads, tokens, dim].
Contestant dense_products(const Shape& shape, const std::string& name, at::ScalarType dtype, bool fused) {
  auto keys = std::make_shared<std::vector<at::Tensor>>(),
       values = std::make_shared<std::vector<at::Tensor>>();
  for (std::int64_t layer = 0; layer < shape.layers; ++layer)
    for (const auto& list : {keys, values}) list->push_back(text(shape, shape.kv_heads).to(dtype));
  const auto attend = [=](std::size_t layer, const at::Tensor& query) {
    const at::Tensor k = (*keys)[layer], v = (*values)[layer];
    if (fused) {
      (void)at::scaled_dot_product_attention(query.to(dtype), k, v, {}, 0, false, {}, /*enable_gqa=*/true);
      return;
    }
    const double scale = std::sqrt(static_cast<double>(shape.dim));
    const at::Tensor q = (query / scale).reshape({shape.kv_heads, -1, shape.dim}).to(dtype);
    const at::Tensor weights = at::softmax(at::bmm(q, k[0].transpose(1, 2)), -1, at::kFloat);
    (void)at::bmm(weights.to(dtype), v[0]);
  };
  return {name, attend,
          static_cast<std::uint64_t>(shape.layers) * ((*keys)[0].nbytes() + (*values)[0].nbytes())};
}

// The full cache in tiles, through the loops that the bitmap tiles' products end in.
template <typename Value>
Contestant dense_tiles(const Shape& shape, const std::string& name, at::ScalarType dtype) {
  auto keys = std::make_shared<std::vector<at::Tensor>>(),
       values = std::make_shared<std::vector<at::Tensor>>();
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    keys->push_back(
        text(shape, shape.kv_heads)[0].unflatten(1, {-1, kTile}).transpose(2, 3).to(dtype).contiguous());
    values->push_back(text(shape, shape.kv_heads)[0]
                          .unflatten(1, {-1, kTile})
                          .unflatten(3, {-1, kTile})
                          .transpose(2, 3)
                          .to(dtype)
                          .contiguous());
  }
  const auto attend = [=](std::size_t layer, const at::Tensor& query) {
    const std::int64_t n = shape.heads / shape.kv_heads, parts = shape.dim / kTile, t = shape.tokens;
    const at::Tensor q =
        (query / std::sqrt(static_cast<double>(shape.dim))).reshape({shape.kv_heads, n, shape.dim});
    at::Tensor scores = at::zeros({shape.kv_heads, n, t}), mixed = at::zeros({shape.kv_heads, n, shape.dim});
    const auto data = [](const at::Tensor& x) { return static_cast<const Value*>(x.const_data_ptr()); };
    for (std::int64_t h = 0; h < shape.kv_heads; ++h)
      for (std::int64_t first = 0; first < t; first += kTile)
        multiply_tiles(data((*keys)[layer]) + (h * t + first) * shape.dim, shape.dim,
                       TileWeights{q.const_data_ptr<float>() + h * n * shape.dim, n, shape.dim},
                       scores.mutable_data_ptr<float>() + h * n * t + first, t);
    const at::Tensor weights = at::softmax(scores, -1);
    for (std::int64_t h = 0; h < shape.kv_heads; ++h)
      for (std::int64_t first = 0; first < t; first += kTile)
        for (std::int64_t part = 0; part < parts; ++part)
          multiply_tiles(data((*values)[layer]) + (h * t + first) * shape.dim + part * kTile * kTile, kTile,
                         TileWeights{weights.const_data_ptr<float>() + h * n * t + first, n, t},
                         mixed.mutable_data_ptr<float>() + h * n * shape.dim + part * kTile, shape.dim);
  };
  return {name, attend,
          static_cast<std::uint64_t>(shape.layers) * ((*keys)[0].nbytes() + (*values)[0].nbytes())};
}

void run(const Shape& shape) {
  at::set_num_threads(1);
  at::manual_seed(0);
  const at::Tensor query = at::randn({1, shape.heads, 1, shape.dim});
  const auto mustafar = [&](double sparsity, const char* dtype) {
    return cache(shape, "mustafar " + std::to_string(static_cast<int>(100 * sparsity + .5)) + " %, " + dtype,
                 "mustafar", {{"k_sparsity", sparsity}, {"v_sparsity", sparsity}, {"value_dtype", dtype}});
  };
  std::printf("%ld tokens x %ld layers, %ld query heads on %ld KV heads of %ld; one thread, median of %ld\n",
              shape.tokens, shape.layers, shape.heads, shape.kv_heads, shape.dim, shape.repeats);
  std::printf("%-28s %10s %10s %8s\n", "cache", "ms", "MB", "GB/s");
  const auto measure = [&](const Contestant& contestant) {
    const double seconds = median_seconds(shape, query, contestant);
    std::printf("%-28s %10.2f %10.1f %8.2f\n", contestant.name.c_str(), 1e3 * seconds,
                static_cast<double>(contestant.bytes) / 1e6,
                static_cast<double>(contestant.bytes) / seconds / 1e9);
    std::fflush(stdout);
  };
  measure(cache(shape, "full, as the engine has it", "", {}));
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    measure(dense_products(shape, std::string("full, two products, ") + at::toString(dtype), dtype, false));
    measure(dense_products(shape, std::string("full, fused, ") + at::toString(dtype), dtype, true));
  }
  measure(dense_tiles<float>(shape, "full in tiles, float32", at::kFloat));
  measure(dense_tiles<std::uint16_t>(shape, "full in tiles, float16", at::kHalf));
  for (const char* dtype : {"float32", "float16"})
    for (const double sparsity : {0.5, 0.7}) measure(mustafar(sparsity, dtype));
}

}  // namespace
}  // namespace wring

int main(int argc, char** argv) {
  wring::Shape shape;
  CLI::App app("Attention of one token over KV caches.");
  app.add_option("--tokens", shape.tokens);
  app.add_option("--layers", shape.layers);
  app.add_option("--heads", shape.heads);
  app.add_option("--kv-heads", shape.kv_heads);
  app.add_option("--dim", shape.dim);
  app.add_option("--repeats", shape.repeats);
  CLI11_PARSE(app, argc, argv);
  if (shape.tokens % wring::kTile != 0 || shape.dim % wring::kTile != 0 ||
      shape.heads % shape.kv_heads != 0) {
    std::fprintf(stderr, "tokens and dim are multiples of 64, heads of kv-heads\n");
    return 1;
  }
  wring::run(shape);
}
