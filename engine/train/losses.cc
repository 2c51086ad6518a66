// Losses by ATen's differentiable operators, in fp32.
#include "engine/train/losses.h"

namespace wring {

at::Tensor next_token_loss(const at::Tensor& logits, const at::Tensor& ids) {
  const auto predicted = logits.narrow(1, 0, logits.size(1) - 1), next = ids.narrow(1, 1, ids.size(1) - 1);
  return at::cross_entropy_loss(predicted.reshape({-1, logits.size(2)}).to(at::kFloat), next.reshape({-1}));
}

at::Tensor distillation_loss(const at::Tensor& student, const at::Tensor& teacher, double temperature) {
  const auto log_probabilities = [&](const at::Tensor& logits) {
    return at::log_softmax(logits.reshape({-1, logits.size(-1)}).to(at::kFloat) / temperature, -1);
  };
  const auto log_p = log_probabilities(teacher), log_q = log_probabilities(student);
  return (log_p.exp() * (log_p - log_q)).sum(-1).mean() * (temperature * temperature);
}

at::Tensor hidden_state_loss(const at::Tensor& student, const at::Tensor& teacher) {
  const auto wide = teacher.to(at::kFloat);
  return (student.to(at::kFloat) - wide).square().mean() / wide.square().mean().clamp_min(1e-12);
}

}  // namespace wring
