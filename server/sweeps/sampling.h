// Points that were not tried yet.
#pragma once

#include <optional>
#include <set>
#include <span>

#include "common/random.h"
#include "server/sweeps/strategy.h"

namespace wring {

// The points of the trials so far. One thread.
class Tried {
 public:
  explicit Tried(const Space& space) : space_(space) {}

  void see(std::span<const TrialView> trials);  // all so far, a longer list than the time before
  bool contains(const Coordinates& at) const { return points_.contains(at); }
  // A uniform one of those that were not tried; nullopt: all were.
  std::optional<Coordinates> fresh(Random& random) const;

 private:
  const Space& space_;
  std::size_t seen_ = 0;
  std::set<Coordinates> points_;
};

// A uniform point of the space.
Coordinates uniform_point(const Space& space, Random& random);

}  // namespace wring
