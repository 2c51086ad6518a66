// What changes along the steps of a training run.
#pragma once

#include <cstdint>
#include <string>

namespace wring {

// A learning rate: a linear rise over the warm-up, then constant, or down to a tenth along a line or half a
// cosine.
struct LearningRate {
  enum class Decay { kConstant, kLinear, kCosine };

  double peak = 1e-4;
  std::int64_t steps = 1, warmup = 0;
  Decay decay = Decay::kCosine;

  double at(std::int64_t step) const;  // step 0 to steps - 1
};
LearningRate::Decay parse_decay(const std::string& name);  // "constant", "linear", "cosine"

// How much is gone at a step: from `begin` on along s(t) = last (1 - (1 - t)^exponent), every `interval`
// steps, until `last` at `end` (Zhu and Gupta 2017, eq. 1, from nothing).
struct SparsityRamp {
  double last = 0.5;
  std::int64_t begin = 0, end = 0, interval = 1;
  double exponent = 3;

  bool changes_at(std::int64_t step) const;
  double at(std::int64_t step) const;
};

}  // namespace wring
