// Gradient descent with momentum.
#pragma once

#include "engine/train/optimizer.h"

namespace wring {

struct SgdOptions {
  double momentum = 0.9, weight_decay = 0;  // the decay is added to the gradient
};

// v = momentum v + (gradient + weight_decay x), x -= rate v; v is 0 before the first step.
class Sgd final : public Optimizer {
 public:
  Sgd(std::vector<at::Tensor> parameters, const SgdOptions& options);

  void step(double learning_rate) override;
  at::Tensor direction(std::size_t i) const override;
  std::vector<NamedTensor> state() const override;
  void set_state(const std::map<std::string, at::Tensor>& state) override;

 private:
  SgdOptions options_;
  std::vector<at::Tensor> velocities_;
};

}  // namespace wring
