// Unpacking the reps of layers.
#include "engine/export/integer_grid.h"

#include <algorithm>
#include <optional>

#include "common/error.h"
#include "engine/model/packed_rows.h"

namespace wring {

namespace {

bool is_linear_of(const Layer& layer, const char* format) {
  return layer.class_name() == "Linear" && layer.name() != "lm_head" &&
         without_rounding(layer.weight()).format() == format;
}

}  // namespace

bool is_integer_grid(const Layer& layer) {
  return is_linear_of(layer, "packed-int");
}

bool is_float8(const Layer& layer) {
  return is_linear_of(layer, "float8");
}

IntegerGrid integer_grid(const Layer& layer) {
  return integer_grid(without_rounding(layer.weight()), layer.name());
}

IntegerGrid integer_grid(const WeightRep& rep, const std::string& layer) {
  const Json attributes = rep.attributes();
  IntegerGrid grid;
  grid.bits = json_at<int>(attributes, "bits", layer);
  grid.group_size = json_at<std::int64_t>(attributes, "group_size", layer);
  grid.symmetric = json_at<bool>(attributes, "symmetric", layer);
  const std::int64_t groups = rep.columns() / grid.group_size;
  for (const auto& named : rep.tensors()) {
    if (named.suffix == "codes") grid.codes = unpack_rows(named.tensor, rep.columns(), grid.bits);
    if (named.suffix == "scales") grid.scales = named.tensor;
    if (named.suffix == "zeros") grid.zeros = unpack_rows(named.tensor, groups, grid.bits);
  }
  if (grid.symmetric) grid.zeros = at::full({rep.rows(), groups}, 1 << (grid.bits - 1), at::kByte);
  return grid;
}

bool is_float4(const Layer& layer) {
  return is_linear_of(layer, "float4");
}

void check_quantized(const Model& model, const char* format, const std::string& field, bool with_floats) {
  const auto layers = model.layers();
  for (const Layer* layer : layers)
    if (without_rounding(layer->weight()).format() == "sum")
      throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                  std::string(format) + " holds one weight a layer, and this one is a sum of several",
                  layer->name(),
                  "Leave the compensation out, or export plain values as huggingface or gguf.");
  const auto is_held = [&](const Layer* l) {
    return is_integer_grid(*l) || (with_floats && (is_float8(*l) || is_float4(*l)));
  };
  if (std::any_of(layers.begin(), layers.end(), is_held)) return;
  throw Error(ErrorCode::kInvalidArgument, "NOTHING_QUANTIZED",
              std::string(format) + " holds quantised layers, and this model has none that it can hold",
              field, "Quantise it first, e.g. 'rtn(bits=4, group_size=64)', or export it as huggingface.");
}

at::ScalarType scale_dtype(const Model& model, const std::string& name) {
  if (name != "auto") return export_dtype(name);
  std::optional<at::ScalarType> common;
  for (const Layer* layer : model.layers()) {
    if (is_float4(*layer)) return at::kBFloat16;  // what compressed-tensors decompresses them to
    if (!is_integer_grid(*layer) && !is_float8(*layer)) continue;
    for (const auto& named : layer->weight().tensors()) {
      if (named.suffix != "scales") continue;
      if (common && *common != named.tensor.scalar_type()) return at::kHalf;
      common = named.tensor.scalar_type();
    }
  }
  return common.value_or(at::kHalf);
}

std::shared_ptr<const WeightRep> with_scales(const IntegerGrid& grid, at::ScalarType dtype) {
  return packed_int_rep({grid.bits, grid.group_size, grid.codes, grid.scales.to(dtype),
                         grid.symmetric ? at::Tensor() : grid.zeros});
}

}  // namespace wring
