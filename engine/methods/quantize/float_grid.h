// Grids of small floats: how a format scales a weight's rows, tiles or groups, and the nearest of its values.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "engine/methods/method.h"

namespace wring {

// fp8: E4M3 on a scale for each row or tile; nvfp4: E2M1, groups of 16 with E4M3 scales; mxfp4: E2M1, groups
// of 32 with powers of two.
enum class FloatFormat { kFp8, kNvfp4, kMxfp4 };

FloatFormat float_format_named(const std::string& name);  // as specs call it

struct FloatSpec {
  FloatFormat format = FloatFormat::kNvfp4;
  std::int64_t block = -1;                  // of fp8: the side of a tile; -1: whole rows; 0: the whole weight
  at::ScalarType scale_dtype = at::kFloat;  // of fp8
};

// Throws Error(kInvalidArgument, "GROUP_SIZE") naming format where its groups do not divide the layer's
// inputs.
void check_float_grid(const FloatSpec& spec, const Layer& layer, const Params& params);

// The scales of one weight, which are found beforehand and stay, and the values on them.
struct FloatGrid {
  // Of `weight` [out, in] fp32 on the CPU: the largest |w| that shares a scale lies on the largest float; of
  // mxfp4 between 4 and 8 (6 is the largest), or at half of that, whichever leaves the smaller squared error
  // of rounding to nearest.
  FloatGrid(const FloatSpec& spec, const at::Tensor& weight);

  float step(std::int64_t row, std::int64_t column) const;  // what the float 1 stands for at this place
  // The code of the value nearest to `w`, halves to the even one; and back.
  std::uint8_t code(float w, float step) const;
  float value(std::uint8_t code, float step) const;

  at::Tensor nearest(const at::Tensor& weight) const;  // codes of all of it: uint8 [out, in]

  std::shared_ptr<const WeightRep> rep(const at::Tensor& codes) const;

  FloatFormat format;
  std::int64_t block_rows, block_columns;  // that share a scale
  at::Tensor stored;                       // the scales in their own type, [tiles down, tiles across]
  double global_scale = 1;                 // of nvfp4: what they are divided by
  at::Tensor steps;                        // fp32, as `stored`: step() of each
};

}  // namespace wring
