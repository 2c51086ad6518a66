// Ranges of a graph's values over examples: what their codes have to reach.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "engine/graph/graph.h"
#include "engine/graph/rounding.h"
#include "engine/methods/graph/graph_examples.h"
#include "engine/run/progress.h"

namespace wring {

struct RangeRule {
  enum class Kind { kMinMax, kPercentile, kEntropy } kind = Kind::kMinMax;
  double percentile = 99.99;  // what lies within, in percent of all elements
};

// How often values lie in each of equal bins between two bounds: fp64 [bins].
struct Histogram {
  ValueRange bounds;
  at::Tensor counts;
};

// Leaves out as much at each end as comes to 100 - percentile together.
ValueRange percentile_range(const Histogram& histogram, double percentile);

// Of both bounds shrunk alike, those at which the distribution, clipped and in 256 levels, is the least
// Kullback-Leibler divergence from the clipped one (Migacz 2017).
ValueRange entropy_range(const Histogram& histogram);

// Of each of the graph's outputs. Goes over the examples once, and twice for what takes a histogram. Throws
// Error(kInvalidArgument, "NOT_FINITE") naming a value that is NaN or infinite for some example.
std::map<std::string, ValueRange> value_ranges(const Graph& graph, const GraphExamples& examples,
                                               const RangeRule& rule, Progress& progress);

}  // namespace wring
