// compressed-tensors: what llm-compressor writes and vLLM, SGLang and transformers read. Integers packed into
// words, or with rounded inputs as bytes (int-quantized); eight-bit floats (float-quantized).
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "common/error.h"
#include "engine/export/integer_grid.h"
#include "engine/model/packed_rows.h"

namespace wring {
namespace {

// A layer as the format stores it. `scheme`: its group of the configuration, but for the targets.
struct Stored {
  Json scheme;
  std::shared_ptr<const WeightRep> meant;
  std::vector<NamedTensor> tensors;
};

Json arguments(const char* type, int bits, bool symmetric, const char* strategy) {
  return {{"num_bits", bits},
          {"type", type},
          {"symmetric", symmetric},
          {"strategy", strategy},
          {"dynamic", false}};
}

Json input_activations(const WeightRep& rep) {
  const auto rounding = input_rounding(rep);
  if (!rounding) return nullptr;
  Json json = arguments(rounding->type == InputType::kInt8 ? "int" : "float", 8, true,
                        rounding->is_static()      ? "tensor"
                        : rounding->group_size < 0 ? "token"
                                                   : "group");
  if (rounding->group_size > 0) json["group_size"] = rounding->group_size;
  json["dynamic"] = !rounding->is_static();
  return json;
}

bool has_zero_points_of_inputs(const Model& model) {
  const auto layers = model.layers();
  return std::any_of(layers.begin(), layers.end(), [](const Layer* layer) {
    const auto rounding = input_rounding(layer->weight());
    return rounding && rounding->zero != 0;
  });
}

// The scale of a static rounding, and a zero point: of all layers, where some need one.
void add_input_grid(const Layer& layer, const InputRounding& rounding, at::ScalarType dtype, bool zero_points,
                    Stored& stored) {
  const at::Tensor scale = at::full({1}, rounding.scale, dtype);
  if (scale.to(at::kDouble).item<double>() != rounding.scale)
    throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                "its input's scale " + Json(rounding.scale).dump() + " is no " + dtype_name(dtype) +
                    ", which the scales of weights are",
                layer.name(),
                "Use static-inputs(scale_dtype=" + dtype_name(dtype) + "), or a dtype that holds it.");
  stored.tensors.push_back({"input_scale", scale});
  if (!zero_points || rounding.type != InputType::kInt8) return;
  stored.tensors.push_back({"input_zero_point", at::full({1}, rounding.zero, at::kChar)});
  stored.scheme["input_activations"]["symmetric"] = false;
}

Json scheme(const char* format, const Json& weights, const Layer& layer) {
  return {{"weights", weights},
          {"input_activations", input_activations(layer.weight())},
          {"output_activations", nullptr},
          {"format", format}};
}

Stored stored_integers(const Layer& layer, at::ScalarType dtype) {
  const IntegerGrid grid = integer_grid(layer);
  const bool whole_rows = grid.group_size == grid.codes.size(1);
  const at::Tensor scales = grid.scales.to(dtype);
  Json weights = arguments("int", grid.bits, grid.symmetric, whole_rows ? "channel" : "group");
  if (!whole_rows) weights["group_size"] = grid.group_size;
  if (grid.bits == 8 && grid.symmetric && whole_rows && input_rounding(layer.weight()))
    return {scheme("int-quantized", weights, layer),
            with_scales(grid, dtype),
            {{"weight", grid.codes.to(at::kShort).sub_(128).to(at::kChar)}, {"weight_scale", scales}}};
  std::vector<NamedTensor> tensors{
      {"weight_packed", pack_words(grid.codes, grid.bits)},
      {"weight_scale", scales},
      {"weight_shape", at::tensor({grid.codes.size(0), grid.codes.size(1)}, at::kLong)}};
  if (!grid.symmetric)
    tensors.push_back({"weight_zero_point", pack_words(grid.zeros.t(), grid.bits).t().contiguous()});
  return {scheme("pack-quantized", weights, layer), with_scales(grid, dtype), std::move(tensors)};
}

// A tile that takes all of a narrow layer's rows or columns is one of the model's size, cut off.
std::pair<std::int64_t, std::int64_t> whole_tile(const Float8& parts, const Model& model) {
  std::pair tile(parts.block_rows, parts.block_columns);
  for (const Layer* layer : model.layers()) {
    if (!is_float8(*layer)) continue;
    const Json other = without_rounding(layer->weight()).attributes();
    const auto rows = other.at("block_rows").get<std::int64_t>(),
               columns = other.at("block_columns").get<std::int64_t>();
    if (rows == 1) continue;  // no tiles
    if (parts.block_rows == parts.values.size(0)) tile.first = std::max(tile.first, rows);
    if (parts.block_columns == parts.values.size(1)) tile.second = std::max(tile.second, columns);
  }
  return tile;
}

// Of the layers in eight-bit floats: a tile each, in rows or not.
bool have_one_scale_each(const Model& model) {
  const auto layers = model.layers();
  return std::all_of(layers.begin(), layers.end(), [](const Layer* layer) {
    if (!is_float8(*layer)) return true;
    const WeightRep& rep = without_rounding(layer->weight());
    return rep.attributes().at("block_rows") == rep.rows() &&
           rep.attributes().at("block_columns") == rep.columns();
  });
}

Stored stored_floats(const Layer& layer, const Model& model, at::ScalarType dtype) {
  const WeightRep& rep = without_rounding(layer.weight());
  const Json attributes = rep.attributes();
  Float8 parts;
  parts.block_rows = attributes.at("block_rows").get<std::int64_t>();
  parts.block_columns = attributes.at("block_columns").get<std::int64_t>();
  for (const auto& named : rep.tensors())
    (named.suffix == "values" ? parts.values : parts.scales) = named.tensor;
  parts.scales = parts.scales.to(dtype);
  const bool whole_rows = parts.block_rows == 1 && parts.block_columns == rep.columns();
  if (!whole_rows && have_one_scale_each(model))
    return {scheme("float-quantized", arguments("float", 8, true, "tensor"), layer),
            float8_rep(parts),
            {{"weight", parts.values}, {"weight_scale", parts.scales.reshape({1})}}};
  Json weights = arguments("float", 8, true, whole_rows ? "channel" : "block");
  if (!whole_rows) {
    const auto [rows, columns] = whole_tile(parts, model);
    weights["block_structure"] = {rows, columns};
  }
  return {scheme("float-quantized", weights, layer),
          float8_rep(parts),
          {{"weight", parts.values}, {"weight_scale", parts.scales}}};
}

bool has_divisor(const Layer& layer) {  // NVFP4, not MXFP4
  if (!is_float4(layer) || input_rounding(layer.weight())) return false;
  const auto tensors = layer.weight().tensors();
  return std::any_of(tensors.begin(), tensors.end(), [](const NamedTensor& named) {
    return named.suffix == "scales" && named.tensor.scalar_type() != at::kByte;
  });
}

// Loaders fuse such layers, and want one divisor of the scales for all of them: the least.
double fused_divisor(const Layer& layer, const Model& model) {
  static const std::vector<std::vector<std::string>> kFused{
      {"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}, {"query", "key", "value"}};
  const auto divisor = [](const Layer& l) {
    return l.weight().attributes().at("global_scale").get<double>();
  };
  const auto dot = layer.name().rfind('.') + 1;
  const std::string module = layer.name().substr(dot);
  double least = divisor(layer);
  for (const auto& fused : kFused) {
    if (std::find(fused.begin(), fused.end(), module) == fused.end()) continue;
    for (const Layer* other : model.layers())
      for (const auto& name : fused)
        if (other->name() == layer.name().substr(0, dot) + name && has_divisor(*other))
          least = std::min(least, divisor(*other));
  }
  return least;
}

Stored stored_nibbles(const Layer& layer, const Model& model) {
  const WeightRep& rep = layer.weight();
  if (input_rounding(rep))
    throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                "no loader is known that rounds inputs of four-bit floats to eight bits", layer.name(),
                "Leave round-inputs out there.");
  Float4 parts;
  parts.global_scale = rep.attributes().at("global_scale").get<double>();
  for (const auto& named : rep.tensors())
    (named.suffix == "codes" ? parts.codes : parts.scales) = named.tensor;
  const bool exponents = parts.scales.scalar_type() == at::kByte;
  if (const double divisor = exponents ? 1 : fused_divisor(layer, model); divisor != parts.global_scale) {
    parts.scales = (parts.scales.to(at::kFloat) * (divisor / parts.global_scale)).to(at::kFloat8_e4m3fn);
    parts.global_scale = divisor;
  }
  Json weights = arguments("float", 4, true, exponents ? "group" : "tensor_group");
  weights["group_size"] = rep.columns() / parts.scales.size(1);
  weights["scale_dtype"] = weights["zp_dtype"] = exponents ? "torch.uint8" : "torch.float8_e4m3fn";
  std::vector<NamedTensor> tensors{{"weight_packed", parts.codes}, {"weight_scale", parts.scales}};
  if (!exponents) tensors.push_back({"weight_global_scale", at::full({1}, parts.global_scale, at::kFloat)});
  return {scheme(exponents ? "mxfp4-pack-quantized" : "nvfp4-pack-quantized", weights, layer),
          float4_rep(parts), std::move(tensors)};
}

bool is_packed(const Layer& layer) {
  return is_integer_grid(layer) || is_float8(layer) || is_float4(layer);
}

Stored stored_form(const Layer& layer, const Model& model, at::ScalarType dtype) {
  if (is_float4(layer)) return stored_nibbles(layer, model);
  return is_float8(layer) ? stored_floats(layer, model, dtype) : stored_integers(layer, dtype);
}

// One scheme: all linear layers but the ignored ones. Several, or an encoder, which may have modules that the
// engine does not know (a pooler): by name.
Json quantization_config(const Model& model, const std::map<Json, std::vector<std::string>>& layers,
                         std::vector<std::string> ignored) {
  const bool all = layers.size() == 1 && model.kind() == "decoder-lm";
  Json groups = Json::object();
  std::set<std::string> formats;
  for (const auto& [scheme, names] : layers) {
    Json& group = groups["group_" + std::to_string(groups.size())] = scheme;
    group["targets"] = all ? std::vector<std::string>{"Linear"} : names;
    formats.insert(scheme.at("format").get<std::string>());
  }
  ignored.push_back("lm_head");  // also where it is the embedding: transformers makes a module of it
  return {{"quant_method", "compressed-tensors"},
          {"format", formats.size() == 1 ? *formats.begin() : "mixed-precision"},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},
          {"ignore", ignored},
          {"config_groups", groups}};
}

void compressed_tensors(const ExportInput& input, Claims& claims) {
  check_architecture(input.model, "compressed-tensors");
  check_quantized(input.model, "compressed-tensors", input.field, true);
  const auto dtype = scale_dtype(input.model, input.params.get<std::string>("dtype"));
  TensorFolder tensors(claims);
  std::map<Json, std::vector<std::string>> quantized;
  std::vector<std::string> ignored;
  const bool zero_points = has_zero_points_of_inputs(input.model);
  for (const Layer* layer : input.model.layers()) {
    if (!is_packed(*layer)) {
      if (layer->class_name() == "Linear" && layer->name() != "lm_head") ignored.push_back(layer->name());
      tensors.plain(*layer, dtype);
      continue;
    }
    Stored stored = stored_form(*layer, input.model, dtype);
    if (const auto rounding = input_rounding(layer->weight())) {
      if (rounding->is_static()) add_input_grid(*layer, *rounding, dtype, zero_points, stored);
      stored.meant = rounded_input_rep(stored.meant, *rounding);
    }
    quantized[stored.scheme].push_back(layer->name());
    tensors.packed(*layer, *stored.meant, stored.tensors);
  }
  tensors.rest(input.model, dtype);
  tensors.write(input.folder, input.params.get<std::uint64_t>("shard_bytes"));
  write_config(input, dtype, quantization_config(input.model, quantized, std::move(ignored)));
}

WRING_EXPORTER("compressed-tensors", compressed_tensors);

}  // namespace
}  // namespace wring
