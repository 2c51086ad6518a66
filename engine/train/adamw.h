// Adam with decoupled weight decay.
#pragma once

#include "engine/train/optimizer.h"

namespace wring {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  bool ascend = false;  // towards larger values: Lagrange multipliers
};

// Loshchilov and Hutter 2019, algorithm 2, by ATen's fused kernels.
class AdamW final : public Optimizer {
 public:
  AdamW(std::vector<at::Tensor> parameters, const AdamWOptions& options);

  void step(double learning_rate) override;
  at::Tensor direction(std::size_t i) const override;
  std::vector<NamedTensor> state() const override;
  void set_state(const std::map<std::string, at::Tensor>& state) override;

 private:
  AdamWOptions options_;
  std::vector<at::Tensor> first_, second_, steps_;
};

}  // namespace wring
