// Layers on integer grids, as formats of packed integers want them.
#pragma once

#include <string>

#include "engine/export/exporter.h"

namespace wring {

// A packed-int weight taken apart: value = (code - zero) * scale.
struct IntegerGrid {
  int bits = 4;
  std::int64_t group_size = 64;
  bool symmetric = true;
  at::Tensor codes;   // uint8 [out, in]
  at::Tensor zeros;   // uint8 [out, groups]: 2^(bits-1) throughout where symmetric
  at::Tensor scales;  // [out, groups]
};

// A linear layer whose weight is packed-int, however its inputs are rounded. Not the head, which loaders of
// these formats want as plain values.
bool is_integer_grid(const Layer& layer);
IntegerGrid integer_grid(const Layer& layer);
IntegerGrid integer_grid(const WeightRep& rep, const std::string& layer);  // of a packed-int rep

// The same of eight-bit and four-bit floats.
bool is_float8(const Layer& layer);
bool is_float4(const Layer& layer);

// Throws Error(kInvalidArgument) naming `format`: "NOTHING_QUANTIZED" where the model has no such layer or,
// of a format that holds them too, small floats; "NOT_EXPRESSIBLE" where one has a low-rank part beside its
// integers.
// `field` is the export's.
void check_quantized(const Model& model, const char* format, const std::string& field,
                     bool with_floats = false);

// Where `name` is "auto", bfloat16 with four-bit floats, else the type of the scales of all layers (float16
// where they differ); else the type of that name.
at::ScalarType scale_dtype(const Model& model, const std::string& name);

// The weight that a reader gets: the grid with scales rounded to `dtype`, and inputs not.
std::shared_ptr<const WeightRep> with_scales(const IntegerGrid& grid, at::ScalarType dtype);

}  // namespace wring
