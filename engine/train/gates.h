// Gates that learn to close: hard-concrete variables (Louizos et al., ICLR 2018), and a budget held by two
// multipliers (Wang et al., "Structured Pruning of Large Language Models", EMNLP 2020).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace wring {

// y = sigmoid((log u - log(1 - u) + a) / T), stretched to (l, r) and cut off: z = min(1, max(0, l + (r - l)
// y)).
struct HardConcrete {
  static constexpr double kTemperature = 2.0 / 3, kLeft = -0.1, kRight = 1.1, kEpsilon = 1e-6;
};

// u in (e, 1 - e), e = kEpsilon: the noise of n gates, fp32 on the CPU.
at::Tensor gate_noise(std::int64_t n, at::Generator generator);

// z of log alpha `a` [n] and noise [n], with gradients to a.
at::Tensor sample_gates(const at::Tensor& log_alpha, const at::Tensor& noise);

// p = P(z > 0) = 1 - sigmoid(T log(-l / r) - a), within [e, 1 - e]; with gradients.
at::Tensor keep_probability(const at::Tensor& log_alpha);

// What a gate is once nothing is drawn any more: sigmoid(0.8 a / T), below 1 and above 0.
at::Tensor settled_gates(const at::Tensor& log_alpha);

// log((1 - q) / q): where a gate begins that is closed with a probability near q.
double log_alpha_of(double drop_rate);

// Keeps log alpha within [log 0.01, log 100], in place: beyond it no gradient would bring a gate back.
void clamp_log_alpha(at::Tensor& log_alpha);

// lambda_1 (s - t) + lambda_2 (s - t)^2, which the gates descend and the multipliers [2] ascend.
at::Tensor budget_loss(const at::Tensor& multipliers, const at::Tensor& sparsity, double target);

}  // namespace wring
