// The strategy of a goal: measure each layer, plan, verify the plans in full.
#pragma once

#include <optional>
#include <vector>

#include "server/sweeps/plans.h"
#include "server/sweeps/strategy.h"

namespace wring {

// Trial 0 measures how sensitive each layer is. With a bound on the size: the best plan within it under each
// reading of that table beside the best uniform levels; once all have ended the best reading again, with
// the bytes around a layer as they then are known. Without: plans at sizes that close in on the smallest one
// that holds the bounds.
class GoalSearch final : public Strategy {
 public:
  explicit GoalSearch(const Sweep& sweep);
  Next next(std::span<const TrialView> trials) override;
  std::string state(std::span<const TrialView> trials) const override;

 private:
  void lay_out();
  Plan first_guess() const;
  Plan at_bytes(double bytes) const;
  std::optional<Plan> another(std::span<const TrialView> trials) const;
  std::optional<Plan> refined(std::span<const TrialView> trials) const;
  std::optional<Plan> closer(std::span<const TrialView> trials) const;
  double aimed_loss() const;
  bool is_known(const Plan& plan) const;
  std::string conclusion(std::span<const TrialView> trials) const;

  Sweep sweep_;
  std::optional<Plans> table_;
  std::vector<Plan> plans_;   // trial n + 1 is plan n
  std::size_t laid_out_ = 0;  // of them, before anything was verified
};

// Trials that it makes at most.
std::uint64_t most_goal_trials(const StrategySpec& spec);

}  // namespace wring
