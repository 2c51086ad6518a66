// Choosing a level for each layer under a budget of bytes: the multiple-choice knapsack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace wring {

struct Choice {
  std::uint64_t bytes = 0;
  double loss = 0;
};

struct Allocation {
  std::vector<std::size_t> chosen;  // of each item's choices
  std::uint64_t bytes = 0;
  double loss = 0;
};

// One choice of each item, all within `budget`, with little loss in sum; nullopt where not even the smallest
// fit. By Lagrange's multiplier: every item climbs its lower convex hull, over all items the steps that save
// most loss a byte first (Shoham, Gersho 1988). Without the budget's last bytes this is the optimum for what
// it takes; with them the loss is above the optimum by no more than the first step that did not fit saves,
// since the best mixture of choices, which no choice beats, is that step taken in part. Each item has
// choices.
std::optional<Allocation> allocate(const std::vector<std::vector<Choice>>& items, std::uint64_t budget);

}  // namespace wring
