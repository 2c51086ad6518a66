// Parzen windows over the unit cube.
#include "server/sweeps/tpe.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace wring {
namespace {

constexpr int kCandidates = 24;
// How far a kernel moves a point, in all dimensions together. 0.2 n^(-1 / (d + 4)) of n points in each of d
// dimensions, the usual width, left 1.8 to 5.4 times the regret (docs/results/sweeps.md).
constexpr double kStep = 0.12;
constexpr std::size_t kMostGood = 25;

// Of so many trials, how many are the good ones.
std::size_t good_count(std::size_t trials) {
  return std::min(kMostGood, std::max<std::size_t>(2, (trials + 9) / 10));
}

double cumulative(double z) {
  return 0.5 * std::erfc(-z / std::numbers::sqrt2);
}

double normal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

// A mixture of one kernel a point, and of the uniform density.
class Density {
 public:
  Density(const Space& space, std::vector<Coordinates> points) : space_(space), points_(std::move(points)) {
    width_ = kStep / std::sqrt(static_cast<double>(space.dimensions.size()));
    smoothing_ = 1 / std::max<double>(1, static_cast<double>(points_.size()));
  }

  Coordinates draw(Random& random) const {
    const auto chosen = random.below(points_.size() + 1);
    if (chosen == points_.size()) return uniform_point(space_, random);
    Coordinates at = points_[chosen];
    for (std::size_t d = 0; d < at.size(); ++d) at[d] = moved(space_.dimensions[d], at[d], random);
    return space_.snapped(std::move(at));
  }

  double at(const Coordinates& x) const {
    double sum = 1;
    for (const auto& point : points_) {
      double product = 1;
      for (std::size_t d = 0; d < x.size(); ++d) product *= kernel(space_.dimensions[d], x[d], point[d]);
      sum += product;
    }
    return sum / static_cast<double>(points_.size() + 1);
  }

 private:
  // At least half a step of a list, so that the next value is not out of reach.
  double width(const Dimension& d) const {
    return d.values.empty() ? width_ : std::max(width_, 0.5 / static_cast<double>(d.values.size()));
  }

  // Aitchison and Aitken's kernel keeps a choice with most of its weight.
  double same(std::size_t choices) const {
    return (1 + smoothing_) / (1 + static_cast<double>(choices) * smoothing_);
  }

  double moved(const Dimension& d, double from, Random& random) const {
    if (!d.ordered) return random.chance(same(d.values.size())) ? from : random.uniform();
    for (int tries = 0; tries < 100; ++tries)
      if (const double x = from + width(d) * normal(random); x >= 0 && x < 1) return x;
    return from;
  }

  double kernel(const Dimension& d, double x, double centre) const {
    if (!d.ordered) {
      const auto choices = d.values.size();
      const double kept = same(choices);
      const double density = d.snapped(x) == d.snapped(centre)
                                 ? kept + (1 - kept) / static_cast<double>(choices)
                                 : (1 - kept) / static_cast<double>(choices);
      return density * static_cast<double>(choices);
    }
    const double wide = width(d), z = (x - centre) / wide;
    const double mass = cumulative((1 - centre) / wide) - cumulative(-centre / wide);
    return std::exp(-z * z / 2) / (wide * std::sqrt(2 * std::numbers::pi) * mass);
  }

  const Space& space_;
  std::vector<Coordinates> points_;
  double width_ = 1, smoothing_ = 1;
};

}  // namespace

Tpe::Tpe(const Sweep& sweep)
    : space_(sweep.space), spec_(sweep.strategy), parallel_(sweep.parallel), tried_(space_) {}

Next Tpe::next(std::span<const TrialView> trials) {
  tried_.see(trials);
  Random random(spec_.seed, trials.size());
  const auto history = known(trials);
  if (!std::all_of(history.begin(), history.end(), [](const auto& t) { return t.ended; }))
    return {Advice::kWait, {}};
  if (history.size() >= spec_.startup)
    if (auto at = draw(history, random); !tried_.contains(at) || !space_.size())
      return {Advice::kTry, {std::move(at)}};
  auto at = tried_.fresh(random);
  if (!at) return {};
  return {Advice::kTry, {*std::move(at)}};
}

// What the next trial is drawn from.
std::span<const TrialView> Tpe::known(std::span<const TrialView> trials) const {
  return trials.first(trials.size() + 1 > parallel_ ? trials.size() + 1 - parallel_ : 0);
}

std::string Tpe::state(std::span<const TrialView> trials) const {
  const std::size_t count = known(trials).size();
  if (count < spec_.startup)
    return "drawn at random until " + std::to_string(spec_.startup) + " trials are known, " +
           std::to_string(count) + " are";
  return "drawn near the best " + std::to_string(good_count(count)) + " of " + std::to_string(count);
}

// The best candidate that was not tried; where all were, one that was.
Coordinates Tpe::draw(std::span<const TrialView> history, Random& random) const {
  std::vector<Measured> measured;
  for (const auto& trial : history) measured.push_back(trial.measured);
  const auto order = ranked(measured);
  const std::size_t count = good_count(order.size());
  std::vector<Coordinates> good, rest;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool is_good = i < count && !measured[order[i]].losses.empty();
    (is_good ? good : rest).push_back(history[order[i]].at);
  }
  const Density good_density(space_, std::move(good)), rest_density(space_, std::move(rest));
  Coordinates best;
  double best_ratio = -1;
  for (int i = 0; i < kCandidates; ++i) {
    auto at = good_density.draw(random);
    const double ratio = tried_.contains(at) ? 0 : good_density.at(at) / rest_density.at(at);
    if (ratio <= best_ratio) continue;
    best_ratio = ratio;
    best = std::move(at);
  }
  return best;
}

}  // namespace wring
