// Which reader a quantization_config calls for.
#include "engine/model/quantized_layers.h"

#include "common/error.h"

namespace wring {

void throw_quantized_input(const std::string& what, const std::string& member) {
  throw Error(ErrorCode::kUnimplemented, "QUANTIZED_INPUT", what,
              "config.json.quantization_config" + (member.empty() ? "" : "." + member),
              "Read here: compressed-tensors (pack-, int- and float-quantized, nvfp4- and "
              "mxfp4-pack-quantized), gptq, awq (gemm), bitsandbytes (4 bits). Else hand in the model before "
              "it was quantised, or its GGUF.");
}

void throw_bad_quantized_layer(const std::string& layer, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_WEIGHT_REP", what, layer + ".weight");
}

at::Tensor packed_matrix(const std::string& layer, const char* suffix, const StoredTensors& stored) {
  const at::Tensor words = stored.tensor(layer + "." + suffix);
  if (words.dim() != 2 || words.scalar_type() != at::kInt || words.numel() == 0)
    throw_bad_quantized_layer(layer, std::string("its ") + suffix + " is no matrix of 32-bit integers");
  return words;
}

at::Tensor scale_matrix(const std::string& layer, const char* suffix, const StoredTensors& stored) {
  const at::Tensor scales = stored.tensor(layer + "." + suffix);
  if (scales.dim() != 2 || !scales.is_floating_point() || scales.numel() == 0)
    throw_bad_quantized_layer(layer,
                              std::string("its ") + suffix + " is no matrix of floating-point numbers");
  return scales;
}

GridTensors grid_tensors(const std::string& layer, const StoredTensors& stored) {
  return {packed_matrix(layer, "qweight", stored), packed_matrix(layer, "qzeros", stored),
          scale_matrix(layer, "scales", stored)};
}

void check_fit(const std::string& layer, bool fit) {
  if (!fit) throw_bad_quantized_layer(layer, "qweight, qzeros and scales do not fit together");
}

std::shared_ptr<const WeightRep> grid_rep(const std::string& layer, PackedInt parts, std::int64_t group_size,
                                          bool symmetric) {
  if (symmetric && parts.zeros.defined() && parts.zeros.eq(1 << (parts.bits - 1)).all().item<bool>())
    parts.zeros = at::Tensor();
  if (group_size != 0 && parts.group_size != (group_size < 0 ? parts.codes.size(1) : group_size))
    throw_bad_quantized_layer(layer, "its scales are for groups of " + std::to_string(parts.group_size) +
                                         " inputs, the configuration says " + std::to_string(group_size));
  try {
    return packed_int_rep(parts);
  } catch (const Error& e) {
    throw_bad_quantized_layer(layer, e.message());
  }
}

std::unique_ptr<QuantizedLayers> read_quantization(const Json& config) {
  const auto method = json_or<std::string>(config, "quant_method", "", "config.json.quantization_config");
  if (method == "compressed-tensors") return read_compressed_tensors(config);
  if (method == "gptq") return read_gptq(config);
  if (method == "awq") return read_awq(config);
  if (method == "bitsandbytes") return read_bitsandbytes(config);
  throw_quantized_input("models quantised by '" + method.substr(0, 80) + "' are not read", "quant_method");
}

}  // namespace wring
