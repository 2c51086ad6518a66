// Hulls, and the steps along them in order.
#include "recipe/allocation.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace wring {
namespace {

// Indices of an item's choices on its lower convex hull, by rising bytes and falling loss.
std::vector<std::size_t> hull_of(const std::vector<Choice>& choices) {
  std::vector<std::size_t> order(choices.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    return std::tuple(choices[a].bytes, choices[a].loss) < std::tuple(choices[b].bytes, choices[b].loss);
  });
  const auto saved_a_byte = [&](std::size_t from, std::size_t to) {
    return (choices[from].loss - choices[to].loss) /
           static_cast<double>(choices[to].bytes - choices[from].bytes);
  };
  std::vector<std::size_t> hull;
  for (const auto i : order) {
    if (!hull.empty() && choices[i].loss >= choices[hull.back()].loss) continue;
    while (hull.size() > 1 &&
           saved_a_byte(hull[hull.size() - 2], hull.back()) <= saved_a_byte(hull.back(), i))
      hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

struct Step {
  std::size_t item, to;  // choice
  std::uint64_t bytes;
  double saved;
};

}  // namespace

std::optional<Allocation> allocate(const std::vector<std::vector<Choice>>& items, std::uint64_t budget) {
  Allocation best;
  std::vector<Step> steps;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto hull = hull_of(items[i]);
    best.chosen.push_back(hull.front());
    best.bytes += items[i][hull.front()].bytes;
    for (std::size_t k = 1; k < hull.size(); ++k) {
      const Choice &from = items[i][hull[k - 1]], &to = items[i][hull[k]];
      steps.push_back({i, hull[k], to.bytes - from.bytes, from.loss - to.loss});
    }
  }
  if (best.bytes > budget) return std::nullopt;
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) {
    return a.saved / static_cast<double>(a.bytes) > b.saved / static_cast<double>(b.bytes);
  });
  std::vector<bool> ended(items.size(), false);  // a step of it did not fit: those behind start from there
  for (const auto& step : steps) {
    if (ended[step.item]) continue;
    ended[step.item] = best.bytes + step.bytes > budget;
    if (ended[step.item]) continue;
    best.chosen[step.item] = step.to;
    best.bytes += step.bytes;
  }
  for (std::size_t i = 0; i < items.size(); ++i) best.loss += items[i][best.chosen[i]].loss;
  return best;
}

}  // namespace wring
