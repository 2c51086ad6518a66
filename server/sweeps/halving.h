// Halving strategies: many configurations at a low fidelity, the best of them at higher ones.
#pragma once

#include "server/sweeps/sampling.h"
#include "server/sweeps/strategy.h"

namespace wring {

// Rung by rung: the best 1/eta of a rung go on once all of it has ended (Jamieson, Talwalkar 2016).
class SuccessiveHalving final : public Strategy {
 public:
  explicit SuccessiveHalving(const Sweep& sweep);
  Next next(std::span<const TrialView> trials) override;
  std::string state(std::span<const TrialView> trials) const override;

 private:
  Space space_;
  StrategySpec spec_;
  Tried tried_;
};

// Whoever is among the best 1/eta of what has ended on its rung goes on at once; where nobody is, another
// configuration begins (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020, Algorithm
// 2, with early-stopping rate 0).
class Asha final : public Strategy {
 public:
  explicit Asha(const Sweep& sweep);
  Next next(std::span<const TrialView> trials) override;
  std::string state(std::span<const TrialView> trials) const override;

 private:
  Space space_;
  StrategySpec spec_;
  Tried tried_;
};

// Trials of successive halving, all rungs together.
std::uint64_t halving_trials(const StrategySpec& spec);

}  // namespace wring
