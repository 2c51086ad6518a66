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

// The method's result; its error names the layer where the method did not.
std::shared_ptr<const WeightRep> compressed(const LayerMethod& method, const LayerInput& input,
                                            Json& report) {
  try {
    return method.compress(input, report);
  } catch (const Error& error) {
    if (!error.field().empty()) throw;
    throw Error(error.code(), error.reason(), error.message(), input.layer.name(), error.hint());
  }
}

// fp32, where the statistics are. Throws where a value is not finite.
at::Tensor values(const WeightRep& weight, const Statistics* x, const std::string& name) {
  at::Tensor decoded = weight.decode(at::kFloat);
  if (x) decoded = decoded.to(x->device());
  if (!at::isfinite(decoded.sum(at::kDouble)).item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the weight holds NaN or infinity", name);
  return decoded;
}

}  // namespace

Json layer_report(const Layer& layer, double error, Json extra) {
  const at::Tensor held = layer.weight().decode(at::kFloat);
  const auto weights = static_cast<double>(held.numel());
  Json report = std::move(extra);
  report["layer"] = layer.name();
  report["shape"] = {held.size(0), held.size(1)};
  report["error"] = error;
  report["sparsity"] = 1.0 - static_cast<double>(at::count_nonzero(held).item<std::int64_t>()) / weights;
  report["bits"] = 8.0 * static_cast<double>(layer.weight().stored_bytes()) / weights;
  return report;
}

double relative_error(const at::Tensor& meant, const at::Tensor& held, const Statistics* x,
                      bool with_hessian) {
  constexpr std::int64_t kRowsAtOnce = 4096;  // a head's would be memory's peak
  double whole = 0, lost = 0;
  for (std::int64_t first = 0; first < meant.size(0); first += kRowsAtOnce) {
    const auto count = std::min(kRowsAtOnce, meant.size(0) - first);
    const at::Tensor rows = meant.narrow(0, first, count);
    whole += energy(rows, x, with_hessian);
    lost += energy(rows - held.narrow(0, first, count), x, with_hessian);
  }
  return whole > 0 ? lost / whole : 0.0;
}

Json compress_layer(Layer& layer, const LayerMethod& method, const Statistics* x,
                    const WeightRep* reference) {
  const auto needs = method.needs();
  const bool with_hessian = needs.contains(Statistic::kHessian);
  if (!needs.empty() && !x)
    throw Error(ErrorCode::kInvalidArgument, "NO_STATISTICS", "no calibration input reaches this layer",
                layer.name(), "Leave it out with 'ignore', or use a data-free method such as rtn.");
  Json extra = Json::object();
  at::Tensor meant = values(layer.weight(), x, layer.name() + ".weight");
  if (reference) {
    const at::Tensor before =
        std::exchange(meant, values(*reference, x, "reference." + layer.name() + ".weight"));
    extra["error_before"] = relative_error(meant, before, x, with_hessian);
  }
  const Layer plain = layer.without_rounding();  // methods see the weight alone
  layer.set_weight(compressed(method, {plain, x, reference}, extra));
  const double error =
      relative_error(meant, layer.weight().decode(at::kFloat).to(meant.device()), x, with_hessian);
  return layer_report(layer, error, std::move(extra));
}

}  // namespace wring
