// SPDY: a level of each unit within a bound on time, by a dynamic program whose weights a local search tunes
// to the model's own loss (Frantar, Alistarh, ICML 2022; as ZipLM simplifies it, NeurIPS 2023).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/methods/search/evolution.h"

namespace wring {

struct TimedLevels {
  std::vector<double> seconds, errors;  // of a unit at each of its levels
};

// The levels of least sum c_u error_u,s with sum seconds_u,s <= limit. Seconds are rounded up to whole
// buckets, limit / buckets each. nullopt where there are none.
std::optional<Assignment> plan_within(const std::vector<TimedLevels>& units,
                                      const std::vector<double>& coefficients, double limit,
                                      std::int64_t buckets);

struct SpdyState {
  std::vector<double> coefficients;  // in (0, 1]; empty: none yet
  std::size_t steps = 0;             // that are over
  double start = 0, loss = 0;        // of the first plan, and of the one that they give

  Json to_json() const;
  static SpdyState from_json(const Json& json, const std::string& field);  // throws Error(kInvalidArgument)
};

// From all coefficients 1, or from `state`: each step draws a share of them anew and keeps them where the
// plan that they give loses less. `plan` gives it, `loss` measures one, once for each plan. A step's draws
// hang on `seed` and its number alone. `after` is called after each.
void tune(const std::function<Assignment(const std::vector<double>& coefficients)>& plan,
          const std::function<double(const Assignment&)>& loss, std::size_t units, std::size_t steps,
          double share, std::uint64_t seed, SpdyState& state, const std::function<void()>& after);

}  // namespace wring
