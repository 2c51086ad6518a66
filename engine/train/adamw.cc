// The fused kernels take lists; what they update besides the parameters lies here.
#include "engine/train/adamw.h"

#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

namespace wring {

AdamW::AdamW(std::vector<at::Tensor> parameters, const AdamWOptions& options)
    : Optimizer(std::move(parameters)), options_(options) {
  for (const auto& parameter : parameters_) {
    first_.push_back(at::zeros_like(parameter, at::TensorOptions().requires_grad(false)));
    second_.push_back(at::zeros_like(first_.back()));
    steps_.push_back(at::zeros({}, first_.back().options()));
  }
}

at::Tensor AdamW::direction(std::size_t i) const {
  const c10::NoGradGuard unrecorded;
  if (!parameters_[i].grad().defined()) return {};
  // As the kernel does: where it ascends, the moments are those of what it descends.
  const at::Tensor gradient = options_.ascend ? parameters_[i].grad().neg() : parameters_[i].grad();
  const double step = steps_[i].item<double>() + 1;
  const at::Tensor first = first_[i].lerp(gradient, 1 - options_.beta1),
                   second = second_[i].mul(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
  const at::Tensor size = second.div_(1 - std::pow(options_.beta2, step)).sqrt_().add_(options_.epsilon);
  return first.div(size).div_(1 - std::pow(options_.beta1, step));
}

void AdamW::step(double learning_rate) {
  const c10::NoGradGuard unrecorded;
  std::vector<at::Tensor> parameters, gradients, first, second, steps;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].grad().defined()) continue;
    parameters.push_back(parameters_[i]);
    gradients.push_back(parameters_[i].grad());
    first.push_back(first_[i]);
    second.push_back(second_[i]);
    steps.push_back(steps_[i].add_(1));
  }
  if (parameters.empty()) return;
  at::_fused_adamw_(parameters, gradients, first, second, {}, steps, learning_rate, options_.beta1,
                    options_.beta2, options_.weight_decay, options_.epsilon, false, options_.ascend);
}

std::vector<NamedTensor> AdamW::state() const {
  std::vector<NamedTensor> state;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto number = std::to_string(i);
    state.push_back({"first." + number, first_[i].cpu()});
    state.push_back({"second." + number, second_[i].cpu()});
    state.push_back({"steps." + number, steps_[i].cpu()});
  }
  return state;
}

void AdamW::set_state(const std::map<std::string, at::Tensor>& state) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto number = std::to_string(i);
    take_state(state, "first." + number, first_[i]);
    take_state(state, "second." + number, second_[i]);
    take_state(state, "steps." + number, steps_[i]);
  }
}

}  // namespace wring
