// What moves parameters along their gradients.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "engine/model/weight_rep.h"

namespace wring {

// Parameters without a gradient are left as they are.
class Optimizer {
 public:
  // fp32 leaves on one device.
  explicit Optimizer(std::vector<at::Tensor> parameters) : parameters_(std::move(parameters)) {}
  virtual ~Optimizer() = default;

  const std::vector<at::Tensor>& parameters() const { return parameters_; }

  // The Euclidean norm of all gradients, which are scaled down to `most` where it is more. 0: as they are.
  virtual double clip_gradients(double most);
  void clear_gradients();

  virtual void step(double learning_rate) = 0;

  // What step() will take off parameter `i` with its present gradient, over the learning rate, without what
  // decays by itself; undefined without a gradient.
  virtual at::Tensor direction(std::size_t i) const = 0;

  // Moments and step counts, to go on from; and back. Throws Error(kDataLoss) where they do not fit.
  virtual std::vector<NamedTensor> state() const = 0;
  virtual void set_state(const std::map<std::string, at::Tensor>& state) = 0;

 protected:
  // Copies the state tensor of that name into `into`.
  static void take_state(const std::map<std::string, at::Tensor>& state, const std::string& name,
                         at::Tensor& into);

  std::vector<at::Tensor> parameters_;
};

}  // namespace wring
