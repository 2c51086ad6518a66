// compressed-tensors, format pack-quantized: what llm-compressor writes and vLLM, SGLang and transformers
// read.
#include <map>
#include <tuple>

#include "engine/export/integer_grid.h"
#include "engine/model/packed_rows.h"

namespace wring {
namespace {

using Scheme = std::tuple<int, std::int64_t, bool>;  // bits, group size (-1: one group a row), symmetric

Scheme scheme_of(const IntegerGrid& grid) {
  return {grid.bits, grid.group_size == grid.codes.size(1) ? -1 : grid.group_size, grid.symmetric};
}

std::vector<NamedTensor> tensors_of(const IntegerGrid& grid, at::ScalarType dtype) {
  std::vector<NamedTensor> tensors{
      {"weight_packed", pack_words(grid.codes, grid.bits)},
      {"weight_scale", grid.scales.to(dtype)},
      {"weight_shape", at::tensor({grid.codes.size(0), grid.codes.size(1)}, at::kLong)}};
  if (!grid.symmetric)
    tensors.push_back({"weight_zero_point", pack_words(grid.zeros.t(), grid.bits).t().contiguous()});
  return tensors;
}

Json group(const Scheme& scheme, const std::vector<std::string>& targets) {
  const auto [bits, group_size, symmetric] = scheme;
  Json weights{{"num_bits", bits},
               {"type", "int"},
               {"symmetric", symmetric},
               {"strategy", group_size < 0 ? "channel" : "group"},
               {"dynamic", false}};
  if (group_size > 0) weights["group_size"] = group_size;
  return {{"targets", targets},
          {"weights", weights},
          {"input_activations", nullptr},
          {"output_activations", nullptr},
          {"format", "pack-quantized"}};
}

// One scheme: all linear layers but the ignored ones. Several, or an encoder, which may have modules that the
// engine does not know (a pooler): by name.
Json quantization_config(const Model& model, const std::map<Scheme, std::vector<std::string>>& layers,
                         std::vector<std::string> ignored) {
  const bool all = layers.size() == 1 && model.kind() == "decoder-lm";
  Json groups = Json::object();
  for (const auto& [scheme, names] : layers)
    groups["group_" + std::to_string(groups.size())] =
        group(scheme, all ? std::vector<std::string>{"Linear"} : names);
  ignored.push_back("lm_head");  // also where it is the embedding: transformers makes a module of it
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},
          {"ignore", ignored},
          {"config_groups", groups}};
}

void compressed_tensors(const ExportInput& input, Claims& claims) {
  check_architecture(input.model, "compressed-tensors");
  check_quantized(input.model, "compressed-tensors");
  const auto dtype = scale_dtype(input.model, input.params.get<std::string>("dtype"));
  TensorFolder tensors(claims);
  std::map<Scheme, std::vector<std::string>> quantized;
  std::vector<std::string> ignored;
  for (const Layer* layer : input.model.layers()) {
    if (!is_integer_grid(*layer)) {
      if (layer->class_name() == "Linear" && layer->name() != "lm_head") ignored.push_back(layer->name());
      tensors.plain(*layer, dtype);
      continue;
    }
    const IntegerGrid grid = integer_grid(*layer);
    quantized[scheme_of(grid)].push_back(layer->name());
    tensors.packed(*layer, *with_scales(grid, dtype), tensors_of(grid, dtype));
  }
  tensors.rest(input.model, dtype);
  tensors.write(input.folder, input.params.get<std::uint64_t>("shard_bytes"));
  write_config(input, dtype, quantization_config(input.model, quantized, std::move(ignored)));
}

WRING_EXPORTER("compressed-tensors", compressed_tensors);

}  // namespace
}  // namespace wring
