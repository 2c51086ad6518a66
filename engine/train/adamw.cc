// The fused kernels take lists; what they update besides the parameters lies here.
#include "engine/train/adamw.h"

#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "common/error.h"

namespace wring {

AdamW::AdamW(std::vector<at::Tensor> parameters, const AdamWOptions& options)
    : options_(options), parameters_(std::move(parameters)) {
  for (const auto& parameter : parameters_) {
    first_.push_back(at::zeros_like(parameter, at::TensorOptions().requires_grad(false)));
    second_.push_back(at::zeros_like(first_.back()));
    steps_.push_back(at::zeros({}, first_.back().options()));
  }
}

double AdamW::clip_gradients(double most) {
  double squares = 0;
  for (const auto& parameter : parameters_)
    if (const auto& gradient = parameter.grad(); gradient.defined())
      squares += gradient.square().sum(at::kDouble).item<double>();
  const double norm = std::sqrt(squares);
  if (most > 0 && norm > most)
    for (const auto& parameter : parameters_)
      if (parameter.grad().defined()) parameter.mutable_grad().mul_(most / norm);
  return norm;
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

void AdamW::clear_gradients() {
  for (auto& parameter : parameters_) parameter.mutable_grad() = at::Tensor();
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
  const auto take = [&](const std::string& name, at::Tensor& into) {
    const auto it = state.find(name);
    if (it == state.end() || it->second.sizes() != into.sizes())
      throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "no optimiser state " + name + " of this shape");
    into.copy_(it->second);
  };
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto number = std::to_string(i);
    take("first." + number, first_[i]);
    take("second." + number, second_[i]);
    take("steps." + number, steps_[i]);
  }
}

}  // namespace wring
