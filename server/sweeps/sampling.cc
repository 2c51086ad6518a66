// Uniform points.
#include "server/sweeps/sampling.h"

namespace wring {

void Tried::see(std::span<const TrialView> trials) {
  for (; seen_ < trials.size(); ++seen_) points_.insert(trials[seen_].at);
}

std::optional<Coordinates> Tried::fresh(Random& random) const {
  const auto size = space_.size();
  if (size && points_.size() >= *size) return std::nullopt;
  for (int tries = 0; tries < 100; ++tries) {
    auto at = uniform_point(space_, random);
    if (!points_.contains(at)) return at;
  }
  if (!size) return uniform_point(space_, random);  // ranges of few numbers: again, then
  for (std::uint64_t n = random.below(*size);; n = (n + 1) % *size)
    if (auto at = space_.point(n); !points_.contains(at)) return at;
}

Coordinates uniform_point(const Space& space, Random& random) {
  Coordinates at(space.dimensions.size());
  for (auto& x : at) x = random.uniform();
  return space.snapped(std::move(at));
}

}  // namespace wring
