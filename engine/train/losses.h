// What training minimises: scalars, means over all tokens, that gradients flow back from.
#pragma once

#include <ATen/ATen.h>

namespace wring {

// -log p of each token after the first. logits [n, positions, vocabulary], ids [n, positions].
at::Tensor next_token_loss(const at::Tensor& logits, const at::Tensor& ids);

// T^2 KL(softmax(teacher / T) || softmax(student / T)) (Hinton et al. 2015). [..., vocabulary]
at::Tensor distillation_loss(const at::Tensor& student, const at::Tensor& teacher, double temperature);

// The mean square of the difference, over the mean square of the teacher's. [..., hidden]
at::Tensor hidden_state_loss(const at::Tensor& student, const at::Tensor& teacher);

}  // namespace wring
