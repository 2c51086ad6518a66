// Plans for a goal: a level for each layer, from what a sensitivity trial measured.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "recipe/allocation.h"
#include "recipe/goal.h"

namespace wring {

// How the table's losses are read: a layer's relative errors, weighed by (KL a unit of error) to this power.
// 1 takes the measured KL at its word, 0 leaves it out.
using Trust = double;

struct Plan {
  std::string label;                // for people
  std::vector<std::size_t> levels;  // of each layer
  bool uniform = false;
  Trust trust = 1;
  std::uint64_t bytes = 0;  // of the whole artifact, as far as it is known beforehand
  double loss = 0;          // as it was read
  Json recipe;
};

// Throws Error where the table is not one.
class Plans {
 public:
  // `outcome`: of the trial that measured sensitivity (outcome_of()).
  Plans(const Sweep& sweep, const Json& outcome);

  // Nullopt where not even the smallest levels fit. `bytes`: of the whole artifact.
  std::optional<Plan> mixed(Trust trust, std::uint64_t bytes) const;
  Plan smallest() const;
  // One a level that all layers take, by rising bytes. Losses as with trust 1.
  std::vector<Plan> uniform() const;

  bool has_kl() const { return has_kl_; }
  // What the bounds on size let an artifact have; nullopt: there are none.
  std::optional<std::uint64_t> most_bytes() const;
  // Of plans: with each layer's smallest level, and with all that a budget could buy.
  std::uint64_t least_bytes() const { return smallest().bytes; }
  std::uint64_t top_bytes() const { return mixed(1, UINT64_MAX)->bytes; }

 private:
  struct AtLevel {
    std::size_t level;
    std::uint64_t bytes;
    double error, kl;
  };
  struct LayerRow {
    std::string name;
    std::uint64_t bytes;  // as it came in
    std::vector<AtLevel> levels;
  };

  std::vector<std::vector<Choice>> choices(Trust trust) const;
  Plan plan_of(const Allocation& allocation) const;

  const Sweep& sweep_;
  std::vector<StageSpec> levels_;
  std::vector<LayerRow> layers_;
  double input_bytes_ = 0, input_weight_bytes_ = 0;      // as handed in
  std::uint64_t artifact_bytes_ = 0, weight_bytes_ = 0;  // behind the recipe's own stages
  double parameters_ = 0;
  std::uint64_t rest_ = 0;  // of an artifact, what no level changes
  bool has_kl_ = false;
};

}  // namespace wring
