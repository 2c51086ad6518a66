// The strategy of a goal: measure each layer, plan, verify the plans in full.
#pragma once

#include <optional>
#include <vector>

#include "server/sweeps/plans.h"
#include "server/sweeps/strategy.h"

namespace wring {

// Trial 0 measures how sensitive each layer is, and where memory or speed is asked for these of the input.
// With a bound on what a model costs (bytes, memory, seconds a token): the best plan within it under each
// reading of that table beside the best uniform levels; once all have ended the best reading again, with
// what plans cost beyond what was foreseen as it then is known. Without: plans at sizes, or at speeds, that
// close in on the smallest one that holds the bounds.
class GoalSearch final : public Strategy {
 public:
  explicit GoalSearch(const Sweep& sweep);
  Next next(std::span<const TrialView> trials) override;
  std::string state(std::span<const TrialView> trials) const override;

 private:
  void lay_out();
  Plan first_guess() const;
  // Bytes, or where speed is what is best seconds a token.
  double cost_of(const Plan& plan) const;
  Plan at_cost(double cost) const;
  std::optional<Plan> another(std::span<const TrialView> trials) const;
  std::optional<Plan> refined(std::span<const TrialView> trials) const;
  std::optional<Plan> best_uniform(std::span<const TrialView> trials) const;
  Plans::Unforeseen learned(std::span<const TrialView> trials) const;
  std::optional<Plan> closer(std::span<const TrialView> trials) const;
  bool is_used_up(const TrialView& trial) const;
  double aimed_loss() const;
  bool is_known(const Plan& plan) const;
  std::string conclusion(std::span<const TrialView> trials) const;

  Sweep sweep_;
  bool is_fast_best_ = false;  // whether speed is what is best
  std::optional<Plans> table_;
  std::vector<Plan> plans_;   // trial n + 1 is plan n
  std::size_t laid_out_ = 0;  // of them, before anything was verified
};

// Trials that it makes at most.
std::uint64_t most_goal_trials(const Sweep& sweep);

}  // namespace wring
