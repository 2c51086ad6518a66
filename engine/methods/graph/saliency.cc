// The five criteria of the card.
#include "engine/methods/graph/saliency.h"

#include <c10/core/GradMode.h>

namespace wring {
namespace {

constexpr double kLeastNorm = 1e-8;

at::Tensor over_norm(const at::Tensor& criterion) {
  return criterion / (criterion.norm() + kLeastNorm);
}

}  // namespace

SaliencyOptions SaliencyOptions::from(const Params& params) {
  return {params.get<std::string>("cosine") == "released", params.get<std::string>("optimizer") == "adamw"};
}

at::Tensor saliency(const UnitValues& values, const GraphWeights& weights, const Optimizer& optimizer,
                    const SaliencyOptions& options) {
  const c10::NoGradGuard unrecorded;
  const auto& x = weights.leaves();
  std::vector<at::Tensor> d;
  for (std::size_t i = 0; i < x.size(); ++i) d.push_back(optimizer.direction(i));
  const auto product_with = [&](const std::function<at::Tensor(std::size_t)>& other) {
    return values.sum([&](std::size_t i) {
      const at::Tensor by = other(i);
      return by.defined() ? x[i] * by : by;
    });
  };
  const at::Tensor size = values.squares().sqrt();
  const at::Tensor inner = product_with([&](std::size_t i) { return d[i]; });
  const at::Tensor speed =
      values.sum([&](std::size_t i) { return d[i].defined() ? d[i].square() : d[i]; }).sqrt();
  const at::Tensor cosine = inner / (size * speed + kLeastNorm);
  const at::Tensor change =
      options.taylor_by_gradient ? product_with([&](std::size_t i) { return x[i].grad(); }) : inner;
  const at::Tensor sum = over_norm(size) + over_norm(size / values.lengths()) +
                         over_norm(options.released_cosine ? 1 + cosine : 1 - cosine) +
                         over_norm(change.abs()) + over_norm(0.5 * change.square());
  return sum / 5;
}

}  // namespace wring
