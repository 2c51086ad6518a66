// The factors ramp from 1 to `factor` with the inverse wavelength.
#include "engine/model/rope_factors.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "common/error.h"
#include "engine/model/rope.h"

namespace wring {
namespace {

// Frequencies before scaling, fp64 [count].
at::Tensor plain_frequencies(double theta, std::int64_t count) {
  return at::pow(theta, at::arange(count, at::kDouble) * (-1.0 / static_cast<double>(count)));
}

bool is_llama3(const Json& config) {
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (const auto it = config.find(key); it != config.end() && it->is_object())
      return json_or<std::string>(*it, "rope_type", json_or<std::string>(*it, "type", "", key), key) ==
             "llama3";
  return false;
}

double theta_of(const Json& config) {
  const Json rope = json_or<Json>(config, "rope_parameters", Json::object(), "config.json");
  return json_or<double>(rope, "rope_theta", json_or<double>(config, "rope_theta", 10000, "config.json"),
                         "config.json");
}

[[noreturn]] void refuse() {
  throw Error(ErrorCode::kUnimplemented, "ROPE_SCALING", "its table of rope factors is not one of Llama 3's",
              "rope_freqs.weight", "Hand in the Hugging Face folder of this model.");
}

struct Point {
  double inverse_wavelength, share;  // of the unscaled frequency
};

}  // namespace

at::Tensor rope_factors(const Json& config, std::int64_t head_dim) {
  if (!is_llama3(config)) return {};
  const RotaryEmbedding rope(config, head_dim);
  return (plain_frequencies(theta_of(config), head_dim / 2) / rope.frequencies().to(at::kDouble))
      .to(at::kFloat);
}

Json rope_scaling_of(const at::Tensor& factors, double theta) {
  constexpr double kClose = 1e-4;
  if (factors.dim() != 1 || factors.numel() < 2 || !at::isfinite(factors).all().item<bool>()) refuse();
  const at::Tensor wide = factors.to(at::kDouble).contiguous();
  const double factor = wide.max().item<double>();
  if (factor <= 1) refuse();
  const at::Tensor frequencies = plain_frequencies(theta, wide.size(0)).contiguous();
  std::optional<Point> first, last;  // of those on the ramp
  for (std::int64_t i = 0; i < wide.size(0); ++i) {
    const double value = wide[i].item<double>();
    if (value <= 1 + kClose || value >= factor * (1 - kClose)) continue;
    const Point point{frequencies[i].item<double>() / (2 * std::numbers::pi),
                      (1 / value - 1 / factor) / (1 - 1 / factor)};
    if (!first) first = point;
    last = point;
  }
  if (!first || first->inverse_wavelength <= last->inverse_wavelength) refuse();
  // share = (original / wavelength - low) / (high - low), with low = 1
  const double slope = (first->share - last->share) / (first->inverse_wavelength - last->inverse_wavelength);
  const double offset = slope * first->inverse_wavelength - first->share;
  if (slope <= 0 || offset <= 0) refuse();
  const auto rounded = [](double number) {
    const double whole = std::round(number);
    return std::abs(number - whole) < 1e-3 * std::max(1.0, std::abs(whole)) ? whole : number;
  };
  const Json scaling{{"rope_type", "llama3"},
                     {"factor", rounded(factor)},
                     {"low_freq_factor", 1.0},
                     {"high_freq_factor", rounded(1 + 1 / offset)},
                     {"original_max_position_embeddings", rounded(slope / offset)}};
  const Json config{{"rope_theta", theta}, {"rope_scaling", scaling}};
  if (!at::allclose(rope_factors(config, 2 * wide.size(0)), wide.to(at::kFloat), kClose, 0)) refuse();
  return scaling;
}

}  // namespace wring
