// Rotary position embedding: frequencies by scaling variant, and the rotation.
#include "engine/model/rope.h"

#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "common/error.h"
#include "engine/math/elementwise.h"

namespace wring {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// The fields of config.json that speak of rope, old style (rope_theta, rope_scaling) and new
// (rope_parameters).
struct RopeConfig {
  double theta = 10000;
  std::string type = "default";
  Json scaling = Json::object();
  double max_positions = 2048;  // trained length
};

RopeConfig read_config(const Json& config) {
  RopeConfig rope;
  rope.theta = json_or<double>(config, "rope_theta", 10000, "config.json");
  rope.max_positions = json_or<double>(config, "max_position_embeddings", 2048, "config.json");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.contains(key) || !config.at(key).is_object()) continue;
    rope.scaling = config.at(key);
    rope.theta = json_or<double>(rope.scaling, "rope_theta", rope.theta, key);
    rope.type = json_or<std::string>(rope.scaling, "rope_type",
                                     json_or<std::string>(rope.scaling, "type", "default", key), key);
  }
  return rope;
}

// Llama 3: long wavelengths are stretched by `factor`, short ones kept, a smooth ramp between.
double llama3_frequency(double frequency, const Json& scaling) {
  const double factor = json_at<double>(scaling, "factor", "rope_scaling");
  const double low = json_at<double>(scaling, "low_freq_factor", "rope_scaling");
  const double high = json_at<double>(scaling, "high_freq_factor", "rope_scaling");
  const double original = json_at<double>(scaling, "original_max_position_embeddings", "rope_scaling");
  const double wavelength = kTwoPi / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const double smooth = (original / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

// YaRN (arXiv 2309.00071): interpolate slow dimensions, keep fast ones, ramp between the two correction
// dimensions.
std::vector<double> yarn_frequencies(const RopeConfig& rope, std::int64_t head_dim,
                                     double& attention_factor) {
  const Json& s = rope.scaling;
  const double original =
      json_or<double>(s, "original_max_position_embeddings", rope.max_positions, "rope_scaling");
  const double factor = json_or<double>(s, "factor", rope.max_positions / original, "rope_scaling");
  const double beta_fast = json_or<double>(s, "beta_fast", 32, "rope_scaling");
  const double beta_slow = json_or<double>(s, "beta_slow", 1, "rope_scaling");
  const auto mscale = [](double scale, double m) {
    return scale <= 1 ? 1.0 : 0.1 * m * std::log(scale) + 1.0;
  };
  const double m = json_or<double>(s, "mscale", 0, "rope_scaling");
  const double m_all = json_or<double>(s, "mscale_all_dim", 0, "rope_scaling");
  const double derived = m > 0 && m_all > 0 ? mscale(factor, m) / mscale(factor, m_all) : mscale(factor, 1);
  attention_factor = json_or<double>(s, "attention_factor", derived, "rope_scaling");

  const double dim = static_cast<double>(head_dim);
  const auto correction = [&](double rotations) {
    return dim * std::log(original / (rotations * kTwoPi)) / (2 * std::log(rope.theta));
  };
  const bool truncate = json_or<bool>(s, "truncate", true, "rope_scaling");
  double low = correction(beta_fast), high = correction(beta_slow);
  if (truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < head_dim / 2; ++i) {
    const double plain = std::pow(rope.theta, -2.0 * static_cast<double>(i) / dim);
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies.push_back(plain / factor * ramp + plain * (1 - ramp));
  }
  return frequencies;
}

std::vector<double> plain_frequencies(double theta, std::int64_t head_dim) {
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < head_dim / 2; ++i)
    frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
  return frequencies;
}

}  // namespace

RotaryEmbedding::RotaryEmbedding(const Json& config, std::int64_t head_dim) {
  const RopeConfig rope = read_config(config);
  std::vector<double> frequencies;
  if (rope.type == "yarn") {
    frequencies = yarn_frequencies(rope, head_dim, attention_factor_);
  } else {
    const bool known =
        rope.type == "default" || rope.type == "linear" || rope.type == "dynamic" || rope.type == "llama3";
    if (!known)
      throw Error(ErrorCode::kUnimplemented, "ROPE_SCALING",
                  "rope scaling '" + rope.type + "' is not supported", "config.json.rope_scaling",
                  "Supported: default, linear, dynamic, llama3, yarn.");
    frequencies = plain_frequencies(rope.theta, head_dim);
    for (double& f : frequencies) {
      if (rope.type == "linear") f /= json_at<double>(rope.scaling, "factor", "rope_scaling");
      if (rope.type == "llama3") f = llama3_frequency(f, rope.scaling);
    }
    if (rope.type == "dynamic")
      dynamic_ = {rope.theta, json_at<double>(rope.scaling, "factor", "rope_scaling"), rope.max_positions,
                  head_dim};
  }
  inverse_frequency_ = at::tensor(frequencies, at::kFloat);
}

at::Tensor RotaryEmbedding::inverse_frequency(std::int64_t length) const {
  const double n = static_cast<double>(length), dim = static_cast<double>(dynamic_.head_dim);
  if (dynamic_.head_dim == 0 || n <= dynamic_.trained_length) return inverse_frequency_;
  const double stretch = dynamic_.factor * n / dynamic_.trained_length - (dynamic_.factor - 1);
  const double theta = dynamic_.theta * std::pow(stretch, dim / (dim - 2));
  return at::tensor(plain_frequencies(theta, dynamic_.head_dim), at::kFloat);
}

RotaryEmbedding::Angles RotaryEmbedding::angles(std::int64_t first, std::int64_t positions,
                                                at::Device device) const {
  const std::lock_guard lock(mutex_);
  const bool known = last_.cosine.defined() && last_.first == first && last_.cosine.size(0) == positions &&
                     last_.cosine.device() == device;
  if (known) return last_;
  const auto position =
      at::arange(first, first + positions, at::TensorOptions().dtype(at::kFloat).device(device));
  const auto angle = at::outer(position, inverse_frequency(first + positions).to(device));
  last_ = {first, angle.cos() * attention_factor_, angle.sin() * attention_factor_};
  return last_;
}

at::Tensor RotaryEmbedding::rotate(const at::Tensor& x, std::int64_t first) const {
  const Angles a = angles(first, x.size(2), x.device());
  return rotate_halves(x, a.cosine, a.sine);
}

at::Tensor RotaryEmbedding::rotate(const at::Tensor& x, std::int64_t first, const at::Tensor& pairs) const {
  const std::int64_t positions = x.size(2), kv_heads = pairs.size(0), n = pairs.size(1);
  const Angles a = angles(first, positions, x.device());
  const auto by_head = [&](const at::Tensor& all) {  // [heads, positions, n]
    return all.index_select(1, pairs.to(x.device()).reshape({-1}))
        .reshape({positions, kv_heads, n})
        .transpose(0, 1)
        .repeat_interleave(x.size(1) / kv_heads, 0)
        .to(x.scalar_type());
  };
  const at::Tensor cosine = by_head(a.cosine), sine = by_head(a.sine), low = x.narrow(3, 0, n),
                   high = x.narrow(3, n, n);
  return at::cat({low * cosine - high * sine, high * cosine + low * sine}, 3);
}

}  // namespace wring
