// Dense products: oneDNN through ATen's dispatcher where it is the faster one, ATen's own choice elsewhere.
#include "engine/math/matmul.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/GradMode.h>

#include <optional>

#include "engine/math/linear_gradient.h"

namespace wring {
namespace {

// Below this many rows packing the weight costs more than the faster product saves.
constexpr std::int64_t kFewRows = 16;

using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                   std::string_view, c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

// The operator that fuses a linear layer with what follows it; nullopt in a libtorch built without oneDNN.
const std::optional<c10::TypedOperatorHandle<LinearPointwise>>& linear_pointwise() {
  static const auto handle = []() -> std::optional<c10::TypedOperatorHandle<LinearPointwise>> {
    const auto schema = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!schema || !schema->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
    return schema->typed<LinearPointwise>();
  }();
  return handle;
}

// oneDNN refuses bfloat16 on other processors, where ATen has products of its own.
bool onednn_has_bf16() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

bool suits_onednn(const at::Tensor& x, const at::Tensor& weight) {
  const auto dtype = x.scalar_type();
  static const bool has_bf16 = onednn_has_bf16();
  return x.is_cpu() && (dtype == at::kFloat || (dtype == at::kBFloat16 && has_bf16)) && weight.numel() > 0 &&
         x.numel() >= kFewRows * x.size(-1) && linear_pointwise().has_value();
}

bool needs_gradient(const at::Tensor& t) {
  return t.defined() && t.requires_grad() && c10::GradMode::is_enabled();
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!suits_onednn(x, weight)) return at::linear(x, weight, bias);
  if (needs_gradient(x) || needs_gradient(weight) || needs_gradient(bias))
    return linear_with_gradient(x, weight, bias);
  const auto optional_bias = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  return linear_pointwise()->call(x, weight, optional_bias, "none", c10::List<std::optional<at::Scalar>>(),
                                  "");
}

bool prefers_bf16(at::Device device) {
  if (device.is_cuda()) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") && linear_pointwise();
#else
  return false;
#endif
}

at::ScalarType product_dtype(const std::string& wanted, at::Device device) {
  const bool narrow = wanted == "bfloat16" || (wanted != "float32" && prefers_bf16(device));
  return narrow ? at::kBFloat16 : at::kFloat;
}

at::Tensor matmul(const at::Tensor& a, const at::Tensor& b) {
  if (!suits_onednn(a, b)) return at::mm(a, b);
  return wring::linear(a.contiguous(), b.t().contiguous());
}

}  // namespace wring
