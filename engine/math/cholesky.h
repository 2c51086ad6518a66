// The factor of a damped Hessian's inverse, which methods that walk along the columns need.
#pragma once

#include <ATen/ATen.h>

namespace wring {

// Upper triangular U with (H + d I)^-1 = U^T U, for the columns of H in `order`.
struct InverseFactor {
  at::Tensor upper;     // [n, n] fp32
  at::Tensor order;     // int64 [n]: the k-th column walked is the weight's column order[k]
  at::Tensor dead;      // bool [n], in the weight's order: inputs that were zero throughout
  double damping = 0;   // d as a share of the mean live diagonal
  bool raised = false;  // whether that is more than was asked for
};

// `hessian` [n, n] symmetric, positive semi-definite up to rounding. Dead columns get the mean diagonal.
// Where the factorisation fails, damping is raised tenfold from max(damping, 1e-6) until it succeeds.
// `descending`: columns in falling order of their diagonal, else as they are. Works in fp64 where the
// Hessian is; the factor is in host memory.
// Throws Error(kInvalidArgument, "NOT_FINITE") where the Hessian holds NaN or infinity.
InverseFactor invert_damped(const at::Tensor& hessian, double damping, bool descending);

// The inverse of a lower triangular matrix.
at::Tensor invert_lower(const at::Tensor& lower);

}  // namespace wring
