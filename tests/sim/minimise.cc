// Greedy: every cut that still fails is kept.
#include "tests/sim/minimise.h"

#include <algorithm>

#include "common/clock.h"
#include "tests/sim/world.h"

namespace wring::sim {

std::optional<Violation> violation_of(World& world) {
  try {
    world.run();
  } catch (const Violation& violation) {
    return violation;
  } catch (const std::exception& error) {
    return Violation{"no-exception", "", error.what()};
  }
  return std::nullopt;
}

Plan minimise(Plan plan, const Violation& violation, double seconds) {
  const Stopwatch watch;
  bool smaller = true;
  const auto attempt = [&](const Plan& cut) {
    if (watch.seconds() > seconds) return false;
    World world(cut, false);
    const auto again = violation_of(world);
    if (!again || again->invariant != violation.invariant) return false;
    plan = cut;
    smaller = true;
    return true;
  };
  const auto shrink = [&](std::uint32_t Plan::*size) {
    for (std::uint32_t step = plan.*size / 2; step > 0; step /= 2) {
      Plan cut = plan;
      while (cut.*size > step && (cut.*size -= step, attempt(cut))) cut = plan;
    }
  };
  while (std::exchange(smaller, false) && watch.seconds() < seconds) {
    shrink(&Plan::jobs);
    shrink(&Plan::workers);
    shrink(&Plan::clients);
    for (auto& fault : plan.faults) {
      const auto index = static_cast<std::size_t>(&fault - plan.faults.data());
      Plan cut = plan;
      if (std::exchange(cut.faults[index], false)) attempt(cut);
    }
    Plan cut = plan;
    cut.faults_end /= 2;
    if (cut.faults_end > 500) attempt(cut);
  }
  return plan;
}

}  // namespace wring::sim
