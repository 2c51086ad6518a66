// Designs that are laid out before anything is measured.
#include "server/sweeps/designs.h"

#include <numeric>
#include <utility>

namespace wring {

Next Grid::next(std::span<const TrialView> trials) {
  if (trials.size() >= size_) return {};
  return {Advice::kTry, {space_.point(trials.size())}};
}

Next RandomSearch::next(std::span<const TrialView> trials) {
  tried_.see(trials);
  Random random(seed_, trials.size());
  auto at = tried_.fresh(random);
  if (!at) return {};
  return {Advice::kTry, {*std::move(at)}};
}

Next LatinHypercube::next(std::span<const TrialView> trials) {
  std::uint64_t n = trials.size();
  std::size_t block = 0;
  for (; block < extents_.size() && n >= extents_[block]; ++block) n -= extents_[block];
  if (block == extents_.size()) return {};
  if (block != block_) shuffle(block);
  Random random(seed_, Random::mix(trials.size()));
  Coordinates at;
  for (const auto& order : orders_)
    at.push_back((static_cast<double>(order[n]) + random.uniform()) / static_cast<double>(extents_[block]));
  return {Advice::kTry, {space_.snapped(std::move(at))}};
}

void LatinHypercube::shuffle(std::size_t block) {
  block_ = block;
  orders_.assign(space_.dimensions.size(), std::vector<std::uint64_t>(extents_[block]));
  for (std::size_t d = 0; d < orders_.size(); ++d) {
    auto& order = orders_[d];
    std::iota(order.begin(), order.end(), std::uint64_t{0});
    Random random(seed_, Random::mix((block << 32) + d + 1));
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  }
}

}  // namespace wring
