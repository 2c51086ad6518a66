// Least and greatest first, then histograms between them.
#include "engine/methods/graph/value_ranges.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::int64_t kBins = 2048, kLevels = 256;
constexpr double kTiny = 1e-12;

using Look = std::function<void(const std::string& name, const at::Tensor& value)>;

// All values of all examples; the last batch is filled up with the first examples.
void go_over(const Graph& graph, const GraphExamples& examples, const Look& look,
             const std::function<void(std::int64_t done)>& report) {
  for (std::int64_t first = 0; first < examples.count; first += examples.at_once) {
    const at::Tensor numbers = (at::arange(examples.at_once, at::kLong) + first).remainder(examples.count);
    for (const auto& [name, value] : graph.run(examples.inputs(numbers))) look(name, value);
    report(std::min(first + examples.at_once, examples.count));
  }
}

// P: the histogram between two bins, what lies outside in the outermost. Q: the same without that, in levels
// of which each spreads evenly over the bins of P that are not empty.
double divergence(const at::Tensor& counts, std::int64_t first, std::int64_t last) {
  const at::Tensor inside = counts.slice(0, first, last);
  at::Tensor p = inside.clone();
  p[0] += counts.slice(0, 0, first).sum();
  p[-1] += counts.slice(0, last).sum();
  const std::int64_t bins = last - first;
  const at::Tensor level = at::floor_divide(at::arange(bins, at::kLong) * kLevels, bins);
  const at::Tensor there = p > 0;
  const auto by_level = [&](const at::Tensor& values) {
    return at::zeros({kLevels}, at::kDouble).index_add_(0, level, values);
  };
  at::Tensor q = (by_level(inside) / by_level(there.to(at::kDouble)).clamp_min(1)).index_select(0, level);
  q = at::where(there, q, at::zeros_like(q));
  p = p / p.sum();
  q = (q / q.sum().clamp_min(kTiny)).clamp_min(kTiny);
  return at::where(there, p * (p.clamp_min(kTiny) / q).log(), at::zeros_like(p)).sum().item<double>();
}

// Codes have a zero, so how many values are zero says nothing of a range: the bin where zero lies counts as
// the next one does. Behind a Relu it would outweigh all others.
at::Tensor without_zeros(const Histogram& histogram) {
  const auto [low, high] = histogram.bounds;
  const std::int64_t bins = histogram.counts.size(0);
  const double place = -low / (high - low) * static_cast<double>(bins);
  const auto zero = std::clamp<std::int64_t>(static_cast<std::int64_t>(place), 0, bins - 1);
  at::Tensor counts = histogram.counts.clone();
  counts[zero] = counts[zero + 1 < bins ? zero + 1 : zero - 1];
  return counts;
}

}  // namespace

ValueRange percentile_range(const Histogram& histogram, double percentile) {
  const at::Tensor below = histogram.counts.cumsum(0) / histogram.counts.sum();
  const std::int64_t bins = below.size(0);
  const double cut = (100 - percentile) / 200,
               width = (histogram.bounds.high - histogram.bounds.low) / static_cast<double>(bins);
  const std::int64_t first = (below <= cut).sum().item<std::int64_t>();
  const std::int64_t last = std::min((below < 1 - cut).sum().item<std::int64_t>() + 1, bins);
  return {histogram.bounds.low + width * static_cast<double>(first),
          histogram.bounds.low + width * static_cast<double>(last)};
}

ValueRange entropy_range(const Histogram& histogram) {
  const auto [low, high] = histogram.bounds;
  const std::int64_t bins = histogram.counts.size(0);
  const double width = (high - low) / static_cast<double>(bins);
  const at::Tensor counts = without_zeros(histogram);
  ValueRange best = histogram.bounds;
  double least = std::numeric_limits<double>::infinity();
  constexpr int kSteps = 128;
  for (int step = kSteps; step >= kSteps / 8; --step) {
    const double share = static_cast<double>(step) / kSteps;
    const auto first = static_cast<std::int64_t>(std::llround((share * low - low) / width));
    const auto last = static_cast<std::int64_t>(std::llround((share * high - low) / width));
    if (last - first < kLevels) break;
    const double loss = divergence(counts, first, last);
    if (loss >= least) continue;
    least = loss;
    best = {low + width * static_cast<double>(first), low + width * static_cast<double>(last)};
  }
  return best;
}

std::map<std::string, ValueRange> value_ranges(const Graph& graph, const GraphExamples& examples,
                                               const RangeRule& rule, Progress& progress) {
  const c10::NoGradGuard unrecorded;
  const int passes = rule.kind == RangeRule::Kind::kMinMax ? 1 : 2;
  const auto report = [&](int pass) {
    return [&progress, &examples, pass, passes](std::int64_t done) {
      progress.report(static_cast<std::uint64_t>(pass * examples.count + done),
                      static_cast<std::uint64_t>(passes * examples.count), "examples");
    };
  };
  std::map<std::string, ValueRange> ranges;
  std::set<std::string> seen_values;
  go_over(
      graph, examples,
      [&](const std::string& name, const at::Tensor& value) {
        ranges.emplace(name, ValueRange{});  // codes have a zero
        if (value.numel() == 0) return;
        seen_values.insert(name);
        const auto [low, high] = at::aminmax(value.to(at::kFloat));
        const ValueRange seen{low.item<double>(), high.item<double>()};
        if (!std::isfinite(seen.low) || !std::isfinite(seen.high))
          throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                      "the value is NaN or infinite for some examples", name);
        ValueRange& range = ranges.at(name);
        range = {std::min(range.low, seen.low), std::max(range.high, seen.high)};
      },
      report(0));
  for (const auto& [name, range] : ranges)
    if (!seen_values.contains(name))
      throw Error(ErrorCode::kInvalidArgument, "NO_VALUES", "the value has no elements in any example", name,
                  "Give examples in which it has some: of a decoder's cache, keys and values of earlier "
                  "tokens.");
  if (passes == 1) return ranges;
  std::map<std::string, Histogram> histograms;
  go_over(
      graph, examples,
      [&](const std::string& name, const at::Tensor& value) {
        const ValueRange& range = ranges.at(name);
        if (range.low == range.high || value.numel() == 0) return;
        Histogram& histogram =
            histograms.emplace(name, Histogram{range, at::zeros({kBins}, at::kDouble)}).first->second;
        histogram.counts += at::histc(value.to(at::kCPU, at::kFloat), kBins, range.low, range.high);
      },
      report(1));
  for (const auto& [name, histogram] : histograms)
    ranges[name] = rule.kind == RangeRule::Kind::kPercentile ? percentile_range(histogram, rule.percentile)
                                                             : entropy_range(histogram);
  return ranges;
}

}  // namespace wring
