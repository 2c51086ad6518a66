// The recurrence as it stands in the header.
#include "engine/train/sgd.h"

#include <c10/core/GradMode.h>

#include <utility>

namespace wring {

Sgd::Sgd(std::vector<at::Tensor> parameters, const SgdOptions& options)
    : Optimizer(std::move(parameters)), options_(options) {
  for (const auto& parameter : parameters_)
    velocities_.push_back(at::zeros_like(parameter, at::TensorOptions().requires_grad(false)));
}

at::Tensor Sgd::direction(std::size_t i) const {
  const c10::NoGradGuard unrecorded;
  const at::Tensor& gradient = parameters_[i].grad();
  if (!gradient.defined()) return {};
  return gradient.add(parameters_[i], options_.weight_decay).add_(velocities_[i], options_.momentum);
}

void Sgd::step(double learning_rate) {
  const c10::NoGradGuard unrecorded;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor moved = direction(i);
    if (!moved.defined()) continue;
    velocities_[i].copy_(moved);
    parameters_[i].sub_(moved, learning_rate);
  }
}

std::vector<NamedTensor> Sgd::state() const {
  std::vector<NamedTensor> state;
  for (std::size_t i = 0; i < velocities_.size(); ++i)
    state.push_back({"velocity." + std::to_string(i), velocities_[i].cpu()});
  return state;
}

void Sgd::set_state(const std::map<std::string, at::Tensor>& state) {
  for (std::size_t i = 0; i < velocities_.size(); ++i)
    take_state(state, "velocity." + std::to_string(i), velocities_[i]);
}

}  // namespace wring
