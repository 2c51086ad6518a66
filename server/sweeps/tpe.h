// The tree-structured Parzen estimator.
#pragma once

#include "server/sweeps/sampling.h"
#include "server/sweeps/strategy.h"

namespace wring {

// Draws candidates where good trials lie close and takes the one at which good ones are most likelier than
// the rest (Bergstra et al. 2011; kernels over all dimensions at once, as in Falkner et al. 2018). Trial n is
// drawn from the first n - parallel + 1 trials, once they have ended. Several objectives are compared by
// fronts.
class Tpe final : public Strategy {
 public:
  explicit Tpe(const Sweep& sweep);
  Next next(std::span<const TrialView> trials) override;
  std::string state(std::span<const TrialView> trials) const override;

 private:
  std::span<const TrialView> known(std::span<const TrialView> trials) const;
  Coordinates draw(std::span<const TrialView> history, Random& random) const;

  Space space_;
  StrategySpec spec_;
  std::uint64_t parallel_;
  Tried tried_;
};

}  // namespace wring
