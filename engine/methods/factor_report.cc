// The factorisation's damping and dead columns as members of a layer's report.
#include "engine/methods/factor_report.h"

namespace wring {

void report_factor(const InverseFactor& factor, Json& report) {
  report["damping"] = factor.damping;
  if (factor.raised) report["damping_raised"] = true;
  const auto dead = factor.dead.sum().item<std::int64_t>();
  if (dead > 0) report["dead_columns"] = dead;
}

}  // namespace wring
