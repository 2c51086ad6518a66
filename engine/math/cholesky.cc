// The inverse factor without the inverse: H = R R^T with R upper (Cholesky from the last row up), then U =
// R^-1.
#include "engine/math/cholesky.h"

#include <algorithm>

#include "common/error.h"

namespace wring {
namespace {

constexpr double kFirstRaise = 1e-6;
constexpr double kMaxDamping = 1e6;  // the damped matrix is then diagonal to fp64's precision

at::Tensor reversed(const at::Tensor& square) {
  return square.flip({0, 1});
}

// U of `damped` [n, n] fp64, or undefined where it is not positive definite.
at::Tensor inverse_factor(const at::Tensor& damped) {
  const auto [lower, info] = at::linalg_cholesky_ex(reversed(damped));
  if (info.item<std::int64_t>() != 0) return {};
  const at::Tensor upper = reversed(invert_lower(lower));
  return at::isfinite(upper.diagonal()).all().item<bool>() ? upper : at::Tensor();
}

}  // namespace

at::Tensor invert_lower(const at::Tensor& lower) {
  constexpr std::int64_t kSmall = 96;
  const std::int64_t n = lower.size(0), half = n / 2, rest = n - half;
  if (n <= kSmall) return at::linalg_solve_triangular(lower, at::eye(n, lower.options()), /*upper=*/false);
  const at::Tensor a = invert_lower(lower.narrow(0, 0, half).narrow(1, 0, half));
  const at::Tensor c = invert_lower(lower.narrow(0, half, rest).narrow(1, half, rest));
  const at::Tensor b = lower.narrow(0, half, rest).narrow(1, 0, half);
  at::Tensor inverse = at::zeros_like(lower, at::MemoryFormat::Contiguous);
  inverse.narrow(0, 0, half).narrow(1, 0, half).copy_(a);
  inverse.narrow(0, half, rest).narrow(1, half, rest).copy_(c);
  inverse.narrow(0, half, rest).narrow(1, 0, half).copy_(at::mm(at::mm(c, b), a).neg_());
  return inverse;
}

InverseFactor invert_damped(const at::Tensor& hessian, double damping, bool descending) {
  at::Tensor h = hessian.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  const at::Tensor diagonal = h.diagonal().clone();
  if (!at::isfinite(h).all().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                "the layer's inputs hold NaN or infinity on the calibration data");
  InverseFactor factor;
  factor.dead = diagonal.le(0);
  const at::Tensor live = diagonal.masked_select(factor.dead.logical_not());
  const double mean = live.numel() > 0 ? live.mean().item<double>() : 1.0;
  h.diagonal().masked_fill_(factor.dead, mean);
  factor.order = descending ? at::argsort(diagonal, /*stable=*/true, /*dim=*/0, /*descending=*/true)
                            : at::arange(h.size(0), h.options().dtype(at::kLong));
  if (descending) h = h.index_select(0, factor.order).index_select(1, factor.order);

  for (factor.damping = damping; factor.damping <= kMaxDamping;
       factor.damping = std::max(kFirstRaise, 10 * factor.damping), factor.raised = true) {
    at::Tensor damped = h.clone();
    damped.diagonal().add_(factor.damping * mean);
    factor.upper = inverse_factor(damped);
    if (!factor.upper.defined()) continue;
    factor.upper = factor.upper.to(at::kCPU, at::kFloat).contiguous();
    factor.order = factor.order.cpu();
    factor.dead = factor.dead.cpu();
    return factor;
  }
  throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
              "no damping makes the layer's Hessian positive definite");
}

}  // namespace wring
