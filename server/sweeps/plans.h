// Plans for a goal: a level for each layer, from what the sensitivity trial measured.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "recipe/allocation.h"
#include "recipe/goal.h"

namespace wring {

// How the table's losses are read: a layer's relative errors, weighed by (KL a unit of error) to this power.
// 1 takes the measured KL at its word, 0 leaves it out.
using Trust = double;

// What a plan may cost at most; nullopt: there is no such bound.
struct Budget {
  std::optional<double> bytes;    // of the whole artifact
  std::optional<double> seconds;  // of one decoded token

  bool is_bound() const { return bytes || seconds; }
};

struct Plan {
  std::string label;                // for people
  std::vector<std::size_t> levels;  // of each layer
  bool uniform = false;
  Trust trust = 1;
  std::uint64_t bytes = 0;  // of the whole artifact, as far as it is known beforehand
  double seconds = 0;       // of one decoded token, likewise; 0: speed is not asked for
  double loss = 0;          // as it was read
  Json recipe;
};

// Throws Error where the table is not one.
class Plans {
 public:
  // `outcome`: of the trial that measured sensitivity (outcome_of()).
  Plans(const Sweep& sweep, const Json& outcome);

  // Nullopt where no plan is found within the budget. Where both are bound, costs are weighed against each
  // other in several ways, and the best plan that holds both is taken.
  std::optional<Plan> mixed(Trust trust, const Budget& budget) const;
  // With each layer's level that costs least of what is bound: bytes, or else seconds.
  Plan cheapest(const Budget& budget) const;
  // One a level that all layers take, by rising bytes. Losses as with trust 1.
  std::vector<Plan> uniform() const;

  bool has_kl() const { return has_kl_; }
  // What the bounds let a plan have, as far as that can be foreseen: memory as if it went with the bytes.
  Budget most() const;
  // Of a trial that was verified, by what its plan costs more than was foreseen: bytes of files; bytes of
  // memory beyond the plan's; seconds a token. None where the trial did not measure it.
  struct Unforeseen {
    std::optional<double> bytes, memory, seconds;
  };
  Unforeseen unforeseen(const Plan& plan, const Json& outcome) const;
  // The budget with these on top of every plan.
  Budget most(const Unforeseen& more) const;

 private:
  struct AtLevel {
    std::size_t level;
    std::uint64_t bytes;
    double error, kl;
    double seconds = 0;  // of one token
  };
  struct LayerRow {
    std::string name;
    std::uint64_t bytes;  // as it came in
    std::vector<AtLevel> levels;
  };
  // Of what the recipe's own stages leave, and of what was handed in; 0: not measured.
  struct Figure {
    double now = 0, input = 0;
  };

  Figure measured(const Json& outcome, const char* suite, const char* metric) const;
  void read_layers(const Json& table);
  void read_times(const Json& outcome);
  double loss_of(const AtLevel& at, Trust trust) const;
  std::optional<Plan> weighed(Trust trust, const Budget& budget, double weight, double part) const;
  Plan plan_of(const std::vector<std::size_t>& chosen, Trust trust) const;
  std::optional<double> least_bound(const char* suite,
                                    const std::function<double(const Constraint&)>& bound) const;

  const Sweep& sweep_;
  std::vector<StageSpec> levels_;
  std::vector<LayerRow> layers_;
  Figure bytes_, weight_bytes_, bits_, memory_, speed_;  // bytes of all files, bytes of tensors, ...
  double parameters_ = 0;
  std::uint64_t rest_ = 0;   // of an artifact, what no level changes
  double rest_seconds_ = 0;  // of a token, likewise
  bool has_kl_ = false, speed_is_shared_ = false;
};

}  // namespace wring
