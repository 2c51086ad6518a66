// Adam with decoupled weight decay.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "engine/model/weight_rep.h"

namespace wring {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  bool ascend = false;  // towards larger values: Lagrange multipliers
};

// Loshchilov and Hutter 2019, algorithm 2, by ATen's fused kernels. Parameters without a gradient are left as
// they are.
class AdamW {
 public:
  // fp32 leaves on one device.
  AdamW(std::vector<at::Tensor> parameters, const AdamWOptions& options);

  // The Euclidean norm of all gradients, which are scaled down to `most` where it is more. 0: as they are.
  double clip_gradients(double most);
  void step(double learning_rate);
  void clear_gradients();

  // Moments and step counts, to go on from; and back. Throws Error(kDataLoss) where they do not fit.
  std::vector<NamedTensor> state() const;
  void set_state(const std::map<std::string, at::Tensor>& state);

 private:
  AdamWOptions options_;
  std::vector<at::Tensor> parameters_, first_, second_, steps_;
};

}  // namespace wring
