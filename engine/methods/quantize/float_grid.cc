// Scales of E4M3 and E2M1 (arXiv 2209.05433; tiles as in DeepSeek-V3, arXiv 2412.19437, section 3.3; NVFP4;
// OCP Microscaling Formats 1.0) and rounding to the nearest float.
#include "engine/methods/quantize/float_grid.h"

#include <ATen/Parallel.h>
#include <c10/util/Float8_e4m3fn.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "common/error.h"

namespace wring {
namespace {

constexpr float kLargestE4M3 = 448, kLargestE2M1 = 6;

// What scales are at least divided by, so that zeros stay zeros on a scale of zero.
constexpr float kLeastFp8Step = 1e-30F, kLeastFp4Step = 1e-38F;

std::int64_t group_of(FloatFormat format) {
  return format == FloatFormat::kNvfp4 ? 16 : 32;
}

// The largest |w| of each tile of `weight`: [ceil(out / rows), ceil(in / columns)].
at::Tensor largest_of_tiles(const at::Tensor& weight, std::int64_t rows, std::int64_t columns) {
  const auto padding = [](std::int64_t size, std::int64_t block) { return (block - size % block) % block; };
  const at::Tensor padded = at::constant_pad_nd(
      weight.abs(), {0, padding(weight.size(1), columns), 0, padding(weight.size(0), rows)});
  return padded.unflatten(1, {-1, columns}).unflatten(0, {-1, rows}).amax({1, 3});
}

std::uint8_t e4m3_code(float x) {
  return c10::Float8_e4m3fn(std::clamp(x, -kLargestE4M3, kLargestE4M3)).x;
}

std::uint8_t e2m1_code(float x) {
  const float size = std::abs(x);
  const int code = (size > 0.25F) + (size >= 0.75F) + (size > 1.25F) + (size >= 1.75F) + (size > 2.5F) +
                   (size >= 3.5F) + (size > 5);
  return static_cast<std::uint8_t>(code + (x < 0 ? 8 : 0));
}

float e2m1_value(std::uint8_t code) {
  constexpr std::array<float, 8> kValues{0, .5F, 1, 1.5F, 2, 3, 4, 6};
  const float size = kValues[code & 7];
  return (code & 8) != 0 ? -size : size;
}

at::Tensor packed(const at::Tensor& codes) {
  const at::Tensor pairs = codes.reshape({codes.size(0), -1, 2});
  return pairs.select(-1, 0).bitwise_or(pairs.select(-1, 1).bitwise_left_shift(4)).contiguous();
}

// Siblings whose loaders fuse them (q, k and v; gate and up) must share the divisor of their scales, so all
// have the same one, a power of two that leaves scales of weights from 4e-4 to 10 their three bits of
// mantissa; a smaller one where a weight is larger.
double global_scale_of(const at::Tensor& largest) {
  constexpr double kMost = kLargestE2M1 * kLargestE4M3;
  const double most = largest.max().item<double>();
  if (most <= kMost / 256) return 256;
  return std::exp2(std::floor(std::log2(kMost / most)));
}

void set_fp8_scales(const FloatSpec& spec, const at::Tensor& weight, FloatGrid& grid) {
  grid.stored = (largest_of_tiles(weight, grid.block_rows, grid.block_columns) / double{kLargestE4M3})
                    .to(spec.scale_dtype);
  grid.steps = grid.stored.to(at::kFloat).contiguous();
}

void set_nvfp4_scales(const at::Tensor& weight, FloatGrid& grid) {
  const at::Tensor largest = weight.unflatten(1, {-1, grid.block_columns}).abs().amax(-1);
  grid.global_scale = global_scale_of(largest);
  grid.stored = (largest * (grid.global_scale / double{kLargestE2M1}))
                    .clamp(0, double{kLargestE4M3})
                    .to(at::kFloat8_e4m3fn);
  grid.steps = (grid.stored.to(at::kFloat) / grid.global_scale).contiguous();
}

void set_powers(const at::Tensor& exponents, FloatGrid& grid) {
  grid.stored = (exponents + 127).to(at::kByte);
  grid.steps = at::exp2(exponents).contiguous();
}

// 2^(floor(log2 of the largest) - 2), or twice that.
void set_mxfp4_scales(const at::Tensor& weight, FloatGrid& grid) {
  const at::Tensor groups = weight.unflatten(1, {-1, grid.block_columns});
  const at::Tensor low = at::log2(groups.abs().amax(-1).clamp_min(1e-38)).floor().sub(2).clamp(-126, 126);
  const auto error = [&](const at::Tensor& exponents) {
    set_powers(exponents, grid);
    const at::Tensor rounded = grid.rep(grid.nearest(weight))->decode(at::kFloat);
    return (rounded.reshape(groups.sizes()) - groups).square().sum(-1);
  };
  const at::Tensor of_low = error(low), of_high = error(low + 1);
  set_powers(low + of_high.lt(of_low), grid);
}

}  // namespace

FloatFormat float_format_named(const std::string& name) {
  if (name == "fp8") return FloatFormat::kFp8;
  return name == "nvfp4" ? FloatFormat::kNvfp4 : FloatFormat::kMxfp4;
}

void check_float_grid(const FloatSpec& spec, const Layer& layer, const Params& params) {
  if (spec.format == FloatFormat::kFp8) return;
  const std::int64_t in = layer.weight().columns(), size = group_of(spec.format);
  if (in % size == 0) return;
  throw Error(ErrorCode::kInvalidArgument, "GROUP_SIZE",
              "groups of " + std::to_string(size) + " do not divide the " + std::to_string(in) +
                  " input features of " + layer.name(),
              params.field("format"), in % 16 == 0 ? "nvfp4 has groups of 16." : "Take rtn or fp8.");
}

FloatGrid::FloatGrid(const FloatSpec& spec, const at::Tensor& weight) : format(spec.format) {
  const std::int64_t out = weight.size(0), in = weight.size(1);
  if (format == FloatFormat::kFp8) {
    block_rows = spec.block < 0 ? 1 : spec.block == 0 ? out : std::min(spec.block, out);
    block_columns = spec.block <= 0 ? in : std::min(spec.block, in);
    set_fp8_scales(spec, weight, *this);
    return;
  }
  block_rows = 1;
  block_columns = group_of(format);
  if (format == FloatFormat::kNvfp4)
    set_nvfp4_scales(weight, *this);
  else
    set_mxfp4_scales(weight, *this);
}

float FloatGrid::step(std::int64_t row, std::int64_t column) const {
  return steps.const_data_ptr<float>()[row / block_rows * steps.size(1) + column / block_columns];
}

std::uint8_t FloatGrid::code(float w, float step) const {
  return format == FloatFormat::kFp8 ? e4m3_code(w / std::max(step, kLeastFp8Step))
                                     : e2m1_code(w / std::max(step, kLeastFp4Step));
}

float FloatGrid::value(std::uint8_t code, float step) const {
  if (format != FloatFormat::kFp8) return e2m1_value(code) * step;
  return static_cast<float>(c10::Float8_e4m3fn(code, c10::Float8_e4m3fn::from_bits())) * step;
}

at::Tensor FloatGrid::nearest(const at::Tensor& weight) const {
  const at::Tensor w = weight.contiguous();
  at::Tensor codes = at::empty(w.sizes(), at::kByte);
  const auto* from = w.const_data_ptr<float>();
  auto* to = codes.mutable_data_ptr<std::uint8_t>();
  const std::int64_t columns = w.size(1);
  at::parallel_for(0, w.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      for (std::int64_t first = 0; first < columns; first += block_columns) {
        const float here = step(row, first);
        for (std::int64_t j = first; j < std::min(first + block_columns, columns); ++j)
          to[row * columns + j] = code(from[row * columns + j], here);
      }
  });
  return codes;
}

std::shared_ptr<const WeightRep> FloatGrid::rep(const at::Tensor& codes) const {
  if (format != FloatFormat::kFp8) return float4_rep({packed(codes), stored, global_scale});
  Float8 parts;
  parts.values = codes.view(at::kFloat8_e4m3fn);
  parts.scales = stored;
  parts.block_rows = block_rows;
  parts.block_columns = block_columns;
  return float8_rep(parts);
}

}  // namespace wring
