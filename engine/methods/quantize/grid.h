// Integer grids of weight quantisers: which parameters they share, and how a group's scale and zero point are
// found.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <string>

#include "engine/kernels/column_walk.h"
#include "engine/methods/method.h"

namespace wring {

// The grid parameters of a quantiser's spec.
struct GridSpec {
  int bits = 4;
  std::int64_t group_size = 64;  // -1: a whole row
  bool symmetric = true;
  bool search = false;  // scale_search: mse
  at::ScalarType scale_dtype = at::kHalf;

  static GridSpec from(const Params& params);
  std::int64_t group_of(std::int64_t columns) const { return group_size < 0 ? columns : group_size; }
  float max_code() const { return static_cast<float>((1 << bits) - 1); }
};

// Throws Error(kInvalidArgument, "GROUP_SIZE") naming `field` where the group size does not divide the
// layer's inputs.
void check_group_size(const char* method, const GridSpec& spec, const Layer& layer, const std::string& field);

// One grid a lane. Scales are what their dtype can hold, and not zero.
struct LaneGrids {
  std::array<float, kLanes> scale, zero;
};

// The grids of one group, w [columns][kLanes]. As compressed-tensors has them: symmetric, scale = 2 max|w| /
// (2^bits - 1) about zero point 2^(bits-1); else scale = (max - min) / (2^bits - 1) with zero inside and an
// integer zero point. With spec.search the range is scaled by the factor in [0.4, 1.1] of least sum_j
// importance_j (w_j - q_j)^2. Throws Error(kInvalidArgument, "SCALE_RANGE") where a scale exceeds its dtype.
LaneGrids find_grids(const GridSpec& spec, const float* w, std::int64_t columns, const float* importance);

// Codes and grids of a whole weight as they are found, and the rep they make.
struct QuantizedWeight {
  QuantizedWeight(const GridSpec& spec, std::int64_t rows, std::int64_t columns);

  // Of `count` rows from `row`, in group `group`.
  void set_grids(std::int64_t row, std::int64_t count, std::int64_t group, const LaneGrids& grids);
  LaneGrids grids(std::int64_t row, std::int64_t count, std::int64_t group) const;
  std::shared_ptr<const WeightRep> rep() const;

  GridSpec spec;
  std::int64_t rows, columns, group_size, groups;
  at::Tensor codes;          // uint8 [rows, columns]
  at::Tensor scales, zeros;  // fp32, uint8 [rows, groups]
};

// Finds every group's grid of `weight` [out, in] fp32 as it is. `importance` [in] fp32, or undefined for all
// equal.
void find_all_grids(const at::Tensor& weight, const at::Tensor& importance, QuantizedWeight& quantized);

// Codes of `weight` [out, in] fp32: the nearest points of the grids already found.
void round_to_grids(const at::Tensor& weight, QuantizedWeight& quantized);

}  // namespace wring
