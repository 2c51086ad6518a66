// Multi-objective evolution.
#pragma once

#include "server/sweeps/sampling.h"
#include "server/sweeps/strategy.h"

namespace wring {

// NSGA-II (Deb et al. 2002): generations of `population` trials; of parents and children the better half by
// front and crowding are the next parents. Simulated binary crossover (probability 0.9, index 15) and
// polynomial mutation (one dimension in the mean, index 20); choices are taken from either parent or drawn
// anew.
class Nsga2 final : public Strategy {
 public:
  explicit Nsga2(const Sweep& sweep);
  Next next(std::span<const TrialView> trials) override;
  std::string state(std::span<const TrialView> trials) const override;

 private:
  void select(std::span<const TrialView> trials, std::size_t generation);
  std::size_t tournament(Random& random) const;
  Coordinates child(std::span<const TrialView> trials, Random& random) const;

  Space space_;
  StrategySpec spec_;
  Tried tried_;
  std::size_t generation_ = 0;        // that `parents_` are of
  std::vector<std::size_t> parents_;  // numbers of trials, the best first
};

}  // namespace wring
