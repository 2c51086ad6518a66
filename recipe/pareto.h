// Comparing trials by several measures at once: dominance, fronts, crowding (Deb et al. 2002, NSGA-II).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace wring {

// What a trial came to. Losses are minimised and equally many in all that are compared.
struct Measured {
  std::vector<double> losses;  // empty: nothing was measured, which any other is better than
  double violation = 0;        // of the constraints, summed; 0: all hold
};

// Constrained domination: what holds the constraints beats what does not, of those that do not the lesser
// violation wins; else no loss is higher and one is lower.
bool dominates(const Measured& a, const Measured& b);

// Indices of those that no other one dominates, ascending; where all violate a constraint, none.
std::vector<std::size_t> pareto_front(std::span<const Measured> trials);

// Indices in fronts: those nobody dominates, those that only they dominate, and so on; each ascending.
std::vector<std::vector<std::size_t>> non_dominated_sort(std::span<const Measured> trials);

// Of each in `front`: the sum over losses of the distance between its two neighbours, as a share of the
// front's extent; infinite at the ends.
std::vector<double> crowding_distances(std::span<const Measured> trials, std::span<const std::size_t> front);

// All indices, the best first: by front, then the less crowded, then by index. With one loss: by it.
std::vector<std::size_t> ranked(std::span<const Measured> trials);

// The volume between a front of two losses and `reference`, which is worse than all of them.
double hypervolume(std::vector<std::vector<double>> losses, const std::vector<double>& reference);

}  // namespace wring
