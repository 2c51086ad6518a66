// Scales and zero points: from the range of a group, or searched for the least squared error.
#include "engine/methods/quantize/grid.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/error.h"
#include "common/text.h"
#include "engine/math/column_walk.h"

namespace wring {
namespace {

constexpr int kSearchUnit = 80, kSearchFirst = 88, kSearchLast = 32;  // factors 88/80 down to 32/80

// `scale` as its dtype holds it; 1 where that is zero, which only a group of zeros (or next to it) has.
float stored_scale(float scale, at::ScalarType dtype) {
  float stored = scale;
  if (dtype == at::kHalf) stored = static_cast<float>(c10::Half(scale));
  if (dtype == at::kBFloat16) stored = static_cast<float>(c10::BFloat16(scale));
  if (!std::isfinite(stored))
    throw Error(
        ErrorCode::kInvalidArgument, "SCALE_RANGE",
        "a group's scale of " + format_number(scale, 1) + " exceeds what " + at::toString(dtype) + " holds",
        "", "Set scale_dtype to bfloat16 or float32.");
  return stored == 0 ? 1.0F : stored;
}

// The grids whose range is [low, high] of each lane.
LaneGrids grids_of_range(const GridSpec& spec, const float* low, const float* high, float factor) {
  LaneGrids grids;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const float largest = std::max(-low[lane], high[lane]);
    const float range = spec.symmetric ? 2 * largest : high[lane] - low[lane];
    const float scale = stored_scale(factor * range / spec.max_code(), spec.scale_dtype);
    const float zero = spec.symmetric ? static_cast<float>(1 << (spec.bits - 1))
                                      : std::nearbyint(-factor * low[lane] / scale);
    grids.scale[lane] = scale;
    grids.zero[lane] = std::clamp(zero, 0.0F, spec.max_code());
  }
  return grids;
}

Grids view(const LaneGrids& grids, const GridSpec& spec) {
  return {grids.scale.data(), grids.zero.data(), spec.max_code()};
}

std::string allowed_groups(std::int64_t columns) {
  std::vector<std::string> divisors;
  for (std::int64_t d = 16; d < columns && divisors.size() < 12; d += 16)
    if (columns % d == 0) divisors.push_back(std::to_string(d));
  return divisors.empty() ? "" : "; here: " + join(divisors, ", ");
}

}  // namespace

GridSpec GridSpec::from(const Params& params) {
  return {params.get<int>("bits"), params.get<std::int64_t>("group_size"), params.get<bool>("symmetric"),
          params.get<std::string>("scale_search") == "mse", params.dtype("scale_dtype")};
}

void check_group_size(const char* method, const GridSpec& spec, const Layer& layer,
                      const std::string& field) {
  const std::int64_t columns = layer.weight().columns();
  const bool fits = spec.group_size == -1 || (spec.group_size > 0 && columns % spec.group_size == 0);
  if (fits) return;
  throw Error(ErrorCode::kInvalidArgument, "GROUP_SIZE",
              std::to_string(spec.group_size) + " does not divide the " + std::to_string(columns) +
                  " input features of " + layer.name(),
              field,
              std::string(method) + " accepts a divisor of every targeted layer's inputs" +
                  allowed_groups(columns) + " (or -1, one group a row)");
}

LaneGrids find_grids(const GridSpec& spec, const float* w, std::int64_t columns, const float* importance) {
  float low[kLanes], high[kLanes], error[kLanes], least[kLanes];
  lane_range(w, columns, low, high);
  LaneGrids best = grids_of_range(spec, low, high, 1);
  if (!spec.search) return best;
  grid_error(w, columns, view(best, spec), importance, least);
  for (int step = kSearchFirst; step >= kSearchLast; --step) {
    if (step == kSearchUnit) continue;
    const LaneGrids grids = grids_of_range(spec, low, high, static_cast<float>(step) / kSearchUnit);
    grid_error(w, columns, view(grids, spec), importance, error);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (error[lane] >= least[lane]) continue;
      least[lane] = error[lane];
      best.scale[lane] = grids.scale[lane];
      best.zero[lane] = grids.zero[lane];
    }
  }
  return best;
}

QuantizedWeight::QuantizedWeight(const GridSpec& spec, std::int64_t rows, std::int64_t columns)
    : spec(spec),
      rows(rows),
      columns(columns),
      group_size(spec.group_of(columns)),
      groups(columns / group_size),
      codes(at::empty({rows, columns}, at::kByte)),
      scales(at::empty({rows, groups}, at::kFloat)),
      zeros(at::empty({rows, groups}, at::kByte)) {}

void QuantizedWeight::set_grids(std::int64_t row, std::int64_t count, std::int64_t group,
                                const LaneGrids& grids) {
  auto* scale = scales.data_ptr<float>() + row * groups + group;
  auto* zero = zeros.data_ptr<std::uint8_t>() + row * groups + group;
  for (std::int64_t r = 0; r < count; ++r) {
    scale[r * groups] = grids.scale[static_cast<std::size_t>(r)];
    zero[r * groups] = static_cast<std::uint8_t>(grids.zero[static_cast<std::size_t>(r)]);
  }
}

LaneGrids QuantizedWeight::grids(std::int64_t row, std::int64_t count, std::int64_t group) const {
  LaneGrids found;
  found.scale.fill(1);
  found.zero.fill(0);
  const auto* scale = scales.const_data_ptr<float>() + row * groups + group;
  const auto* zero = zeros.const_data_ptr<std::uint8_t>() + row * groups + group;
  for (std::int64_t r = 0; r < count; ++r) {
    found.scale[static_cast<std::size_t>(r)] = scale[r * groups];
    found.zero[static_cast<std::size_t>(r)] = zero[r * groups];
  }
  return found;
}

std::shared_ptr<const WeightRep> QuantizedWeight::rep() const {
  return packed_int_rep(
      {spec.bits, group_size, codes, scales.to(spec.scale_dtype), spec.symmetric ? at::Tensor() : zeros});
}

void find_all_grids(const at::Tensor& weight, const at::Tensor& importance, QuantizedWeight& quantized) {
  const std::int64_t columns = quantized.columns, group_size = quantized.group_size;
  const at::Tensor weights = importance.defined() ? importance.contiguous() : at::ones({columns});
  const auto* values = weight.const_data_ptr<float>();
  const auto* importances = weights.const_data_ptr<float>();
  at::parallel_for(0, (quantized.rows + kLanes - 1) / kLanes, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> lanes(static_cast<std::size_t>(group_size * kLanes));
    for (std::int64_t tile = begin; tile < end; ++tile)
      for (std::int64_t group = 0; group < quantized.groups; ++group) {
        const std::int64_t row = tile * kLanes, count = std::min<std::int64_t>(kLanes, quantized.rows - row);
        const std::int64_t first = group * group_size;
        load_lanes(values + row * columns + first, columns, count, group_size, lanes.data());
        quantized.set_grids(row, count, group,
                            find_grids(quantized.spec, lanes.data(), group_size, importances + first));
      }
  });
}

void round_to_grids(const at::Tensor& weight, QuantizedWeight& quantized) {
  const std::int64_t columns = quantized.columns, group_size = quantized.group_size;
  const auto* values = weight.const_data_ptr<float>();
  auto* codes = quantized.codes.data_ptr<std::uint8_t>();
  at::parallel_for(0, (quantized.rows + kLanes - 1) / kLanes, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> w(static_cast<std::size_t>(group_size * kLanes));
    std::vector<std::uint8_t> lane_codes(w.size());
    for (std::int64_t tile = begin; tile < end; ++tile)
      for (std::int64_t group = 0; group < quantized.groups; ++group) {
        const std::int64_t row = tile * kLanes, count = std::min<std::int64_t>(kLanes, quantized.rows - row);
        const std::int64_t at = row * columns + group * group_size;
        const LaneGrids grids = quantized.grids(row, count, group);
        load_lanes(values + at, columns, count, group_size, w.data());
        round_columns(w.data(), group_size,
                      {grids.scale.data(), grids.zero.data(), quantized.spec.max_code()}, lane_codes.data());
        store_lanes(lane_codes.data(), columns, count, group_size, codes + at);
      }
  });
}

}  // namespace wring
