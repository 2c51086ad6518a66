// An autograd node around linear(): dx = dy W, dW = dy^T x.
#include "engine/math/linear_gradient.h"

#include <torch/csrc/autograd/custom_function.h>

#include "engine/math/matmul.h"

namespace wring {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight) {
    context->save_for_backward({x, weight});
    return wring::linear(x, weight);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor dy = gradients[0].reshape({-1, weight.size(0)}).contiguous();
    at::Tensor dx, dw;
    if (context->needs_input_grad(0)) dx = wring::matmul(dy, weight).reshape(x.sizes());
    if (context->needs_input_grad(1)) dw = wring::matmul(dy.t(), x.reshape({-1, weight.size(1)}));
    return {dx, dw};
  }
};

}  // namespace

at::Tensor linear_with_gradient(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor y = Linear::apply(x, weight);
  return bias.defined() ? y + bias : y;
}

}  // namespace wring
