// Factors (D - t - 1) / (D - t) for t = 0 to D - 1: their product falls along a line.
#include "engine/methods/graph/hybrid.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace wring {
namespace {

constexpr double kMostRemoved = 0.999;
enum : std::int64_t { kKept = 0, kShrinking = 1, kGone = 2 };

}  // namespace

HybridSchedule HybridSchedule::from(const Params& params, const LoopOptions& loop, std::int64_t periods) {
  const auto steps = static_cast<double>(loop.rate.steps);
  const auto begin = static_cast<std::int64_t>(params.get<double>("start_pruning") * steps);
  const std::int64_t length = static_cast<std::int64_t>(params.get<double>("pruning") * steps) / periods;
  if (length < 1 || begin + periods * length > loop.rate.steps)
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                std::to_string(periods) +
                    " periods do not fit between the start of pruning and the last of " +
                    std::to_string(loop.rate.steps) + " steps",
                params.field("pruning"),
                "A period takes one step at least; start_pruning and pruning come to 1 at most.");
  return {begin, periods, length};
}

std::size_t units_to_remove(const GraphLabels& labels, double share) {
  return static_cast<std::size_t>(
      std::floor(static_cast<double>(labels.units.size()) * std::min(share, kMostRemoved)));
}

Hybrid::Hybrid(const GraphLabels& labels, const UnitValues& values, const HybridSchedule& schedule)
    : labels_(labels),
      values_(values),
      schedule_(schedule),
      state_(at::zeros({static_cast<std::int64_t>(labels.units.size())}, at::kLong)) {}

void Hybrid::choose(const std::vector<std::size_t>& units) {
  for (const auto unit : units) state_[static_cast<std::int64_t>(unit)] = kShrinking;
}

std::vector<std::size_t> Hybrid::removed() const {
  std::vector<std::size_t> units;
  for (std::size_t i = 0; i < labels_.units.size(); ++i)
    if (state_[static_cast<std::int64_t>(i)].item<std::int64_t>() != kKept) units.push_back(i);
  return units;
}

std::vector<bool> Hybrid::chosen() const {
  std::vector<bool> flags(labels_.units.size());
  for (const auto unit : removed()) flags[unit] = true;
  return flags;
}

void Hybrid::shrink(std::int64_t step) {
  const double left = schedule_.prunes(step) ? static_cast<double>(schedule_.length - schedule_.at(step)) : 1;
  at::Tensor factors = at::ones(state_.sizes(), at::kFloat);
  factors.masked_fill_(state_ == kShrinking, (left - 1) / left);
  factors.masked_fill_(state_ == kGone, 0);
  values_.scale(factors);
  if (left == 1) state_.masked_fill_(state_ == kShrinking, kGone);
}

}  // namespace wring
