// Swapping the weight, and the report: the error by the measure that the method minimises.
#include "engine/calibrate/compress_layer.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "engine/math/matmul.h"

namespace wring {
namespace {

// tr(D H D^T), with H the Hessian where there is one, else the identity.
double energy(const at::Tensor& d, const Statistics* x, bool with_hessian) {
  if (with_hessian) return (wring::matmul(d, x->hessian()) * d).sum(at::kDouble).item<double>();
  if (x) return (d * x->input_norm()).square().sum(at::kDouble).item<double>();
  return d.square().sum(at::kDouble).item<double>();
}

Json layer_report(const Layer& layer, const at::Tensor& before, const Statistics* x, bool with_hessian,
                  Json extra) {
  constexpr std::int64_t kRowsAtOnce = 4096;  // a head's would be memory's peak
  const at::Tensor after = layer.weight().decode(at::kFloat).to(before.device());
  double whole = 0, lost = 0;
  std::int64_t nonzero = 0;
  for (std::int64_t first = 0; first < before.size(0); first += kRowsAtOnce) {
    const auto count = std::min(kRowsAtOnce, before.size(0) - first);
    const at::Tensor old_rows = before.narrow(0, first, count), rows = after.narrow(0, first, count);
    whole += energy(old_rows, x, with_hessian);
    lost += energy(old_rows - rows, x, with_hessian);
    nonzero += at::count_nonzero(rows).item<std::int64_t>();
  }
  const auto weights = static_cast<double>(before.numel());
  Json report = std::move(extra);
  report["layer"] = layer.name();
  report["shape"] = {before.size(0), before.size(1)};
  report["error"] = whole > 0 ? lost / whole : 0.0;
  report["sparsity"] = 1.0 - static_cast<double>(nonzero) / weights;
  report["bits"] = 8.0 * static_cast<double>(layer.weight().stored_bytes()) / weights;
  return report;
}

// The method's result; its error names the layer where the method did not.
std::shared_ptr<const WeightRep> compressed(const Layer& layer, const LayerMethod& method,
                                            const Statistics* x, Json& report) {
  try {
    return method.compress(layer, x, report);
  } catch (const Error& error) {
    if (!error.field().empty()) throw;
    throw Error(error.code(), error.reason(), error.message(), layer.name(), error.hint());
  }
}

}  // namespace

Json compress_layer(Layer& layer, const LayerMethod& method, const Statistics* x) {
  const auto needs = method.needs();
  if (!needs.empty() && !x)
    throw Error(ErrorCode::kInvalidArgument, "NO_STATISTICS", "no calibration input reaches this layer",
                layer.name(), "Leave it out with 'ignore', or use a data-free method such as rtn.");
  Json extra = Json::object();
  at::Tensor before = layer.weight().decode(at::kFloat);
  if (x) before = before.to(x->device());
  if (!at::isfinite(before.sum(at::kDouble)).item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the weight holds NaN or infinity",
                layer.name() + ".weight");
  layer.set_weight(compressed(layer, method, x, extra));
  return layer_report(layer, before, x, needs.contains(Statistic::kHessian), std::move(extra));
}

}  // namespace wring
