// What a person should know of the Hessian's factorisation behind a layer.
#pragma once

#include "common/json.h"
#include "engine/math/cholesky.h"

namespace wring {

// Adds {"damping": share used, "damping_raised": true where it had to be more than asked for, "dead_columns":
// where any}.
void report_factor(const InverseFactor& factor, Json& report);

}  // namespace wring
