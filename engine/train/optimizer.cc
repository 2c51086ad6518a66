// What all optimisers do alike.
#include "engine/train/optimizer.h"

#include <cmath>

#include "common/error.h"

namespace wring {

double Optimizer::clip_gradients(double most) {
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

void Optimizer::clear_gradients() {
  for (auto& parameter : parameters_) parameter.mutable_grad() = at::Tensor();
}

void Optimizer::take_state(const std::map<std::string, at::Tensor>& state, const std::string& name,
                           at::Tensor& into) {
  const auto it = state.find(name);
  if (it == state.end() || it->second.sizes() != into.sizes())
    throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "no optimiser state " + name + " of this shape");
  into.copy_(it->second);
}

}  // namespace wring
