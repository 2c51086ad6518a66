// Selection and variation.
#include "server/sweeps/nsga2.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace wring {
namespace {

constexpr double kCrossover = 0.9, kCrossoverIndex = 15, kMutationIndex = 20;
constexpr std::size_t kFewValues = 10;  // a small change of such a dimension would change nothing
constexpr int kTries = 20;

double inside(double x) {
  return std::clamp(x, 0.0, std::nextafter(1.0, 0.0));
}

// One of the two children (Deb, Agrawal 1995).
double crossed(double a, double b, Random& random) {
  const double u = random.uniform();
  const double spread = u <= 0.5 ? std::pow(2 * u, 1 / (kCrossoverIndex + 1))
                                 : std::pow(1 / (2 * (1 - u)), 1 / (kCrossoverIndex + 1));
  const double sign = random.chance(0.5) ? 1 : -1;
  return inside(0.5 * (a + b) + sign * 0.5 * spread * (b - a));
}

double mutated(double x, Random& random) {
  const double u = random.uniform();
  const double change = u < 0.5 ? std::pow(2 * u, 1 / (kMutationIndex + 1)) - 1
                                : 1 - std::pow(2 * (1 - u), 1 / (kMutationIndex + 1));
  return inside(x + change);
}

bool is_coarse(const Dimension& d) {
  return !d.ordered || (!d.values.empty() && d.values.size() <= kFewValues);
}

}  // namespace

Nsga2::Nsga2(const Sweep& sweep) : space_(sweep.space), spec_(sweep.strategy), tried_(space_) {}

Next Nsga2::next(std::span<const TrialView> trials) {
  tried_.see(trials);
  const std::size_t generation = trials.size() / spec_.population;
  const auto before = trials.first(generation * spec_.population);
  if (!std::all_of(before.begin(), before.end(), [](const auto& t) { return t.ended; }))
    return {Advice::kWait, {}};
  Random random(spec_.seed, trials.size());
  if (generation > 0) {
    while (generation_ < generation) select(trials, generation_ + 1);
    for (int tries = 0; tries < kTries; ++tries)
      if (auto at = child(trials, random); !tried_.contains(at)) return {Advice::kTry, {std::move(at)}};
  }
  auto at = tried_.fresh(random);
  if (!at) return {};
  return {Advice::kTry, {*std::move(at)}};
}

std::string Nsga2::state(std::span<const TrialView> trials) const {
  const std::size_t before = trials.empty() ? 0 : (trials.size() - 1) / spec_.population;
  const auto members = trials.subspan(before * spec_.population);
  const auto ended = std::count_if(members.begin(), members.end(), [](const auto& t) { return t.ended; });
  return "generation " + std::to_string(before + 1) + ": " + std::to_string(ended) + " of " +
         std::to_string(spec_.population) + " trials have ended";
}

// Makes `parents_` those of a generation, out of those before and their children.
void Nsga2::select(std::span<const TrialView> trials, std::size_t generation) {
  std::vector<std::size_t> pool = parents_;
  for (std::size_t i = 0; i < spec_.population; ++i) pool.push_back((generation - 1) * spec_.population + i);
  std::vector<Measured> measured;
  for (const auto n : pool) measured.push_back(trials[n].measured);
  parents_.clear();
  for (const auto i : ranked(measured))
    if (parents_.size() < spec_.population) parents_.push_back(pool[i]);
  generation_ = generation;
}

std::size_t Nsga2::tournament(Random& random) const {
  return parents_[std::min(random.below(parents_.size()), random.below(parents_.size()))];
}

Coordinates Nsga2::child(std::span<const TrialView> trials, Random& random) const {
  const Coordinates &a = trials[tournament(random)].at, &b = trials[tournament(random)].at;
  const bool crosses = random.chance(kCrossover);
  const double rate = 1 / static_cast<double>(a.size());
  Coordinates at = a;
  for (std::size_t d = 0; d < at.size(); ++d) {
    const bool coarse = is_coarse(space_.dimensions[d]);
    if (crosses && random.chance(0.5)) at[d] = coarse ? b[d] : crossed(a[d], b[d], random);
    if (random.chance(rate)) at[d] = coarse ? random.uniform() : mutated(at[d], random);
  }
  return space_.snapped(std::move(at));
}

}  // namespace wring
