// What to try next: strategies over a sweep's space, as functions of the trials so far.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "recipe/pareto.h"
#include "recipe/sweep.h"

namespace wring {

// A trial as a strategy sees it.
struct TrialView {
  Coordinates at;
  std::uint32_t rung = 0;
  std::int64_t parent = -1;  // the trial that was promoted to this one
  bool ended = false;
  Measured measured;  // of one that succeeded
  Json outcome;       // outcome_of() one that has ended; of goals alone
};

struct Proposal {
  Coordinates at;
  std::uint32_t rung = 0;
  std::int64_t parent = -1;
  std::string label;  // of goals, whose trials are no points of a space:
  Json recipe;        // null: the space's at that point
};

enum class Advice {
  kTry,
  kWait,  // until more trials have ended
  kDone   // the strategy has nothing more to try
};

struct Next {
  Advice advice = Advice::kDone;
  Proposal proposal;
  std::string reason;  // why it is done, where there is more to say
};

// One thread. No I/O, clock or luck: the answer depends on the sweep, its seed and `trials` alone, so that a
// restart goes on with the trials that would have come. `trials` is all that were made, by number; from call
// to call it grows and its open ones end (make another strategy where an ended one changes).
//
// Of grid, random, latin-hypercube, successive-halving and nsga2, and of tpe for one `parallel`, trial n is
// the same whatever order trials end in; asha promotes what has ended, which is its point.
class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual Next next(std::span<const TrialView> trials) = 0;
  // Where it stands after next(trials), for people: "generation 3: 5 of 8 trials have ended". Empty where the
  // number of trials says it all.
  virtual std::string state(std::span<const TrialView> /*trials*/) const { return ""; }
};

// `extents`: how many trials were asked for at first, and by each extension; empty: no such bound.
std::unique_ptr<Strategy> make_strategy(const Sweep& sweep, const std::vector<std::uint64_t>& extents);

// How many trials it comes to, bounds.trials included; 0: not known.
std::uint64_t expected_trials(const Sweep& sweep, const std::vector<std::uint64_t>& extents);

}  // namespace wring
