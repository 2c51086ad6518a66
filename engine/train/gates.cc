// Closed forms of the hard-concrete distribution.
#include "engine/train/gates.h"

#include <c10/core/GradMode.h>

#include <cmath>

namespace wring {

using H = HardConcrete;

at::Tensor gate_noise(std::int64_t n, at::Generator generator) {
  return at::rand({n}, std::move(generator)) * (1 - 2 * H::kEpsilon) + H::kEpsilon;
}

at::Tensor sample_gates(const at::Tensor& log_alpha, const at::Tensor& noise) {
  const at::Tensor y = at::sigmoid((at::logit(noise) + log_alpha) / H::kTemperature);
  return at::clamp(y * (H::kRight - H::kLeft) + H::kLeft, 0, 1);
}

at::Tensor keep_probability(const at::Tensor& log_alpha) {
  const double closed = H::kTemperature * std::log(-H::kLeft / H::kRight);
  return at::clamp(at::sigmoid(log_alpha - closed), H::kEpsilon, 1 - H::kEpsilon);
}

at::Tensor settled_gates(const at::Tensor& log_alpha) {
  return at::sigmoid(log_alpha * (0.8 / H::kTemperature));
}

double log_alpha_of(double drop_rate) {
  return std::log((1 - drop_rate) / drop_rate);
}

void clamp_log_alpha(at::Tensor& log_alpha) {
  const c10::NoGradGuard unrecorded;
  log_alpha.clamp_(std::log(0.01), std::log(100));
}

at::Tensor budget_loss(const at::Tensor& multipliers, const at::Tensor& sparsity, double target) {
  const at::Tensor over = sparsity - target;
  return multipliers[0] * over + multipliers[1] * over.square();
}

}  // namespace wring
