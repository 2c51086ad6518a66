// Selection by score: a partial sort of (score, place) pairs packed into one integer each.
#include "engine/methods/sparse/pattern.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "common/error.h"

namespace wring {
namespace {

// Marks all but the `dropped` smallest of scores[0 .. count). Scores order as their bit patterns do: none is
// negative.
void keep_largest_of(const float* scores, std::int64_t count, std::int64_t dropped, bool* keep,
                     std::vector<std::uint64_t>& keys) {
  keys.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    keys[static_cast<std::size_t>(i)] =
        std::uint64_t{std::bit_cast<std::uint32_t>(scores[i])} << 32 | static_cast<std::uint64_t>(i);
  std::nth_element(keys.begin(), keys.begin() + dropped, keys.end());
  std::fill(keep, keep + count, true);
  for (std::int64_t i = 0; i < dropped; ++i) keep[keys[static_cast<std::size_t>(i)] & 0xFFFFFFFFU] = false;
}

// Runs of `count` scores, each by itself.
at::Tensor keep_in_runs(const at::Tensor& scores, std::int64_t count, std::int64_t dropped) {
  at::Tensor keep = at::empty(scores.sizes(), at::kBool);
  const auto* in = scores.const_data_ptr<float>();
  auto* out = keep.data_ptr<bool>();
  const std::int64_t runs = scores.numel() / count, grain = std::max<std::int64_t>(1, (1 << 12) / count);
  at::parallel_for(0, runs, grain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint64_t> keys;
    for (std::int64_t run = begin; run < end; ++run)
      keep_largest_of(in + run * count, count, dropped, out + run * count, keys);
  });
  return keep;
}

std::int64_t number_dropped(double share, std::int64_t count) {
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(share * static_cast<double>(count)), 0, count);
}

}  // namespace

void check_pattern(const char* method, const SparsityPattern& pattern, const Layer& layer,
                   const std::string& field) {
  constexpr int kMostNeighbours = 128;
  const std::int64_t columns = layer.weight().columns();
  if (pattern.m > kMostNeighbours)
    throw Error(ErrorCode::kInvalidArgument, "SPARSITY_PATTERN",
                "M is " + std::to_string(pattern.m) + ", more than " + std::to_string(kMostNeighbours),
                field);
  if (pattern.m == 0 || columns % pattern.m == 0) return;
  throw Error(ErrorCode::kInvalidArgument, "SPARSITY_PATTERN",
              std::to_string(pattern.n) + ":" + std::to_string(pattern.m) + " does not divide the " +
                  std::to_string(columns) + " input features of " + layer.name(),
              field,
              std::string(method) + " accepts N:M where M divides every targeted layer's inputs, or a share");
}

at::Tensor keep_largest(const at::Tensor& scores, double share_dropped) {
  if (scores.numel() == 0) return at::empty(scores.sizes(), at::kBool);
  return keep_in_runs(scores, scores.numel(), number_dropped(share_dropped, scores.numel()));
}

at::Tensor keep_largest_of_rows(const at::Tensor& scores, double share_dropped) {
  if (scores.numel() == 0) return at::empty(scores.sizes(), at::kBool);
  return keep_in_runs(scores, scores.size(1), number_dropped(share_dropped, scores.size(1)));
}

at::Tensor keep_of_neighbours(const at::Tensor& scores, int dropped, int m) {
  if (scores.numel() == 0) return at::empty(scores.sizes(), at::kBool);
  return keep_in_runs(scores, m, dropped);
}

std::shared_ptr<const WeightRep> masked_as(const at::Tensor& weight, const at::Tensor& keep,
                                           const Layer& layer, const std::string& value_dtype) {
  at::ScalarType dtype = source_dtype(layer.weight());
  if (value_dtype != "source")
    dtype = value_dtype == "float32" ? at::kFloat : value_dtype == "bfloat16" ? at::kBFloat16 : at::kHalf;
  return masked_rep(weight.to(dtype), keep);
}

}  // namespace wring
