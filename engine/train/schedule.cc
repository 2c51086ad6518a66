// Schedules: closed forms.
#include "engine/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/error.h"

namespace wring {
namespace {

constexpr double kFloor = 0.1;  // of the peak, at the last step

}  // namespace

double LearningRate::at(std::int64_t step) const {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup + 1);
  const auto decaying = static_cast<double>(std::max<std::int64_t>(1, steps - 1 - warmup));
  const double t = std::min(1.0, static_cast<double>(step - warmup) / decaying);
  if (decay == Decay::kConstant) return peak;
  const double left = decay == Decay::kLinear ? 1 - t : 0.5 * (1 + std::cos(std::numbers::pi * t));
  return peak * (kFloor + (1 - kFloor) * left);
}

LearningRate::Decay parse_decay(const std::string& name) {
  if (name == "constant") return LearningRate::Decay::kConstant;
  if (name == "linear") return LearningRate::Decay::kLinear;
  if (name == "cosine") return LearningRate::Decay::kCosine;
  throw Error(ErrorCode::kInternal, "UNKNOWN_CHOICE", "no learning rate decay '" + name + "'");
}

bool SparsityRamp::changes_at(std::int64_t step) const {
  return step == end || (step >= begin && step < end && (step - begin) % interval == 0);
}

double SparsityRamp::at(std::int64_t step) const {
  if (step < begin) return 0;
  if (step >= end) return last;
  const double t = static_cast<double>(step - begin) / static_cast<double>(end - begin);
  return last * (1 - std::pow(1 - t, exponent));
}

}  // namespace wring
