// Successive halving, synchronous and not.
#include "server/sweeps/halving.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace wring {
namespace {

std::uint64_t kept(std::uint64_t count, double eta) {
  return static_cast<std::uint64_t>(std::floor(static_cast<double>(count) / eta + 1e-9));
}

// Numbers of the trials of a rung, ascending.
std::vector<std::size_t> of_rung(std::span<const TrialView> trials, std::uint32_t rung) {
  std::vector<std::size_t> found;
  for (std::size_t n = 0; n < trials.size(); ++n)
    if (trials[n].rung == rung) found.push_back(n);
  return found;
}

// Those of `members` that measured something, the best first.
std::vector<std::size_t> best_first(std::span<const TrialView> trials,
                                    const std::vector<std::size_t>& members) {
  std::vector<std::size_t> measured;
  std::vector<Measured> values;
  for (const auto n : members) {
    if (trials[n].measured.losses.empty()) continue;
    measured.push_back(n);
    values.push_back(trials[n].measured);
  }
  std::vector<std::size_t> order;
  for (const auto i : ranked(values)) order.push_back(measured[i]);
  return order;
}

Next promote(std::span<const TrialView> trials, std::size_t n) {
  return {Advice::kTry, {trials[n].at, trials[n].rung + 1, static_cast<std::int64_t>(n)}};
}

// Numbers of the trials that another one goes on from, and -1.
std::set<std::int64_t> promoted_of(std::span<const TrialView> trials) {
  std::set<std::int64_t> promoted;
  for (const auto& trial : trials) promoted.insert(trial.parent);
  return promoted;
}

Next begin_another(const Tried& tried, std::uint64_t seed, std::size_t number) {
  Random random(seed, number);
  auto at = tried.fresh(random);
  if (!at) return {};
  return {Advice::kTry, {*std::move(at)}};
}

std::size_t count_ended(std::span<const TrialView> trials, const std::vector<std::size_t>& members) {
  return static_cast<std::size_t>(
      std::count_if(members.begin(), members.end(), [&](auto n) { return trials[n].ended; }));
}

}  // namespace

SuccessiveHalving::SuccessiveHalving(const Sweep& sweep)
    : space_(sweep.space), spec_(sweep.strategy), tried_(space_) {}

Next SuccessiveHalving::next(std::span<const TrialView> trials) {
  tried_.see(trials);
  const auto promoted = promoted_of(trials);
  auto members = of_rung(trials, 0);
  if (members.size() < spec_.configurations) {
    const auto another = begin_another(tried_, spec_.seed, trials.size());
    if (another.advice == Advice::kTry) return another;  // else the space is smaller than that
  }
  for (std::uint32_t rung = 0; rung + 1 < spec_.fidelity->rungs(); ++rung) {
    const auto above = of_rung(trials, rung + 1);
    if (above.empty() && count_ended(trials, members) < members.size()) return {Advice::kWait, {}};
    const auto best = best_first(trials, members);
    const auto count = std::min<std::uint64_t>(kept(members.size(), spec_.fidelity->eta), best.size());
    if (above.size() < count)
      for (const auto n : best)  // a trial that was retried may be another one's better since
        if (!promoted.contains(static_cast<std::int64_t>(n))) return promote(trials, n);
    if (count == 0) break;
    members = above;
  }
  return {};
}

std::string SuccessiveHalving::state(std::span<const TrialView> trials) const {
  const std::uint32_t last = spec_.fidelity->rungs() - 1;
  std::uint32_t rung = 0;
  for (const auto& trial : trials) rung = std::max(rung, trial.rung);
  const auto members = of_rung(trials, rung);
  const std::uint64_t size =
      rung == 0 ? std::min<std::uint64_t>(spec_.configurations, space_.size().value_or(spec_.configurations))
                : kept(of_rung(trials, rung - 1).size(), spec_.fidelity->eta);
  const std::string text = "rung " + std::to_string(rung + 1) + " of " + std::to_string(last + 1) + ": " +
                           std::to_string(count_ended(trials, members)) + " of " + std::to_string(size) +
                           " trials have ended";
  return rung == last ? text
                      : text + ", the best " + std::to_string(kept(size, spec_.fidelity->eta)) + " go on";
}

Asha::Asha(const Sweep& sweep) : space_(sweep.space), spec_(sweep.strategy), tried_(space_) {}

Next Asha::next(std::span<const TrialView> trials) {
  tried_.see(trials);
  const auto promoted = promoted_of(trials);
  for (std::uint32_t rung = spec_.fidelity->rungs() - 1; rung-- > 0;) {
    auto ended = of_rung(trials, rung);
    std::erase_if(ended, [&](auto n) { return !trials[n].ended; });
    auto best = best_first(trials, ended);
    best.resize(std::min<std::size_t>(best.size(), kept(ended.size(), spec_.fidelity->eta)));
    for (const auto n : best)
      if (!promoted.contains(static_cast<std::int64_t>(n))) return promote(trials, n);
  }
  const bool full = spec_.configurations > 0 && of_rung(trials, 0).size() >= spec_.configurations;
  if (!full)
    if (const auto another = begin_another(tried_, spec_.seed, trials.size()); another.advice == Advice::kTry)
      return another;
  const bool open = std::any_of(trials.begin(), trials.end(), [](const auto& t) { return !t.ended; });
  return {open ? Advice::kWait : Advice::kDone, {}};
}

std::string Asha::state(std::span<const TrialView> trials) const {
  const auto promoted =
      std::count_if(trials.begin(), trials.end(), [](const auto& t) { return t.parent >= 0; });
  return "configurations: " + std::to_string(trials.size() - static_cast<std::size_t>(promoted)) +
         ", promotions: " + std::to_string(promoted);
}

std::uint64_t halving_trials(const StrategySpec& spec) {
  std::uint64_t sum = 0, count = spec.configurations;
  for (std::uint32_t rung = 0; rung < spec.fidelity->rungs() && count > 0; ++rung) {
    sum += count;
    count = kept(count, spec.fidelity->eta);
  }
  return sum;
}

}  // namespace wring
