// The dynamic program is a knapsack with one choice of each unit.
#include "engine/methods/search/spdy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "common/random.h"

namespace wring {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// A share of them, anew in (0, 1].
std::vector<double> redrawn(std::vector<double> coefficients, double share, Random random) {
  const std::size_t units = coefficients.size();
  std::vector<std::size_t> order(units);
  for (std::size_t i = 0; i < units; ++i) order[i] = i;
  const auto count = std::max<std::size_t>(1, std::llround(share * static_cast<double>(units)));
  for (std::size_t i = 0; i < std::min(count, units); ++i) {
    std::swap(order[i], order[i + random.below(units - i)]);
    coefficients[order[i]] = 1 - random.uniform();
  }
  return coefficients;
}

}  // namespace

std::optional<Assignment> plan_within(const std::vector<TimedLevels>& units,
                                      const std::vector<double>& coefficients, double limit,
                                      std::int64_t buckets) {
  if (limit < 0) return std::nullopt;
  const auto width = static_cast<std::size_t>(buckets) + 1;
  const auto taken = [&](double seconds) {  // buckets
    return seconds <= 0 ? 0.0 : std::ceil(seconds * static_cast<double>(buckets) / limit);
  };
  std::vector<double> least(width, 0), next(width);  // loss within so many buckets, of the units so far
  std::vector<std::vector<std::uint16_t>> chosen(units.size(), std::vector<std::uint16_t>(width));
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    std::fill(next.begin(), next.end(), kNever);
    for (std::size_t level = 0; level < units[unit].seconds.size(); ++level) {
      const double steps = taken(units[unit].seconds[level]);
      if (!(steps < static_cast<double>(width))) continue;
      const auto cost = static_cast<std::size_t>(steps);
      const double loss = coefficients[unit] * units[unit].errors[level];
      for (std::size_t at = cost; at < width; ++at) {
        if (least[at - cost] + loss >= next[at]) continue;
        next[at] = least[at - cost] + loss;
        chosen[unit][at] = static_cast<std::uint16_t>(level);
      }
    }
    least.swap(next);
  }
  if (least.back() == kNever) return std::nullopt;
  Assignment levels(units.size());
  std::size_t left = width - 1;
  for (std::size_t unit = units.size(); unit-- > 0;) {
    levels[unit] = chosen[unit][left];
    left -= static_cast<std::size_t>(taken(units[unit].seconds[levels[unit]]));
  }
  return levels;
}

Json SpdyState::to_json() const {
  return {{"coefficients", coefficients}, {"steps", steps}, {"start", start}, {"loss", loss}};
}

SpdyState SpdyState::from_json(const Json& json, const std::string& field) {
  return {json_at<std::vector<double>>(json, "coefficients", field),
          json_at<std::size_t>(json, "steps", field), json_at<double>(json, "start", field),
          json_at<double>(json, "loss", field)};
}

void tune(const std::function<Assignment(const std::vector<double>& coefficients)>& plan,
          const std::function<double(const Assignment&)>& loss, std::size_t units, std::size_t steps,
          double share, std::uint64_t seed, SpdyState& state, const std::function<void()>& after) {
  std::map<Assignment, double> known;
  const auto loss_of = [&](const std::vector<double>& coefficients) {
    const Assignment levels = plan(coefficients);
    const auto it = known.find(levels);
    return it != known.end() ? it->second : known.emplace(levels, loss(levels)).first->second;
  };
  if (state.coefficients.empty()) {
    state.coefficients.assign(units, 1);
    state.start = state.loss = loss_of(state.coefficients);
    after();
  }
  while (state.steps < steps) {
    auto tried = redrawn(state.coefficients, share, Random(seed, state.steps));
    if (const double found = loss_of(tried); found < state.loss) {
      state.coefficients = std::move(tried);
      state.loss = found;
    }
    ++state.steps;
    after();
  }
}

}  // namespace wring
