// HESSO's hybrid training: chosen units shrink along a line to zero while all else trains (Chen et al. 2024;
// card C3, part B).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/methods/graph/graph_training.h"
#include "engine/methods/graph/units.h"

namespace wring {

// Which step does what: `begin` steps of plain training, `periods` periods of `length` steps, and plain
// training of what is left.
struct HybridSchedule {
  std::int64_t begin = 0, periods = 1, length = 1;

  // Of start_pruning and pruning, shares of the steps. Throws Error(kInvalidArgument, "OUT_OF_RANGE") where
  // the periods do not fit.
  static HybridSchedule from(const Params& params, const LoopOptions& loop, std::int64_t periods);

  bool prunes(std::int64_t step) const { return step >= begin && step < begin + periods * length; }
  bool begins_period(std::int64_t step) const { return prunes(step) && at(step) == 0; }
  std::int64_t period(std::int64_t step) const { return (step - begin) / length; }
  std::int64_t at(std::int64_t step) const { return (step - begin) % length; }  // in its period
};

// How many units leave: floor(units x share), the card's M.
std::size_t units_to_remove(const GraphLabels& labels, double share);

// Which units are chosen, shrinking or gone. Refers to all it is made of.
class Hybrid {
 public:
  Hybrid(const GraphLabels& labels, const UnitValues& values, const HybridSchedule& schedule);

  at::Tensor state() const { return state_; }  // int64 [units], for a snapshot: changed in place

  void choose(const std::vector<std::size_t>& units);  // they shrink from now on
  std::vector<bool> chosen() const;                    // by unit, those that are gone included
  std::vector<std::size_t> removed() const;

  // After the optimiser's step: what shrinks is multiplied so that the factors of a period come to a line
  // from 1 to 0, and gone at its end; what is gone is zero again.
  void shrink(std::int64_t step);

 private:
  const GraphLabels& labels_;
  const UnitValues& values_;
  const HybridSchedule& schedule_;
  at::Tensor state_;
};

}  // namespace wring
