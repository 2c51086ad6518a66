// Which reader a quantization_config calls for.
#include "engine/model/quantized_layers.h"

#include "common/error.h"

namespace wring {

void throw_quantized_input(const std::string& what, const std::string& member) {
  throw Error(ErrorCode::kUnimplemented, "QUANTIZED_INPUT", what,
              "config.json.quantization_config" + (member.empty() ? "" : "." + member),
              "Read here: compressed-tensors (pack-quantized), gptq, awq (gemm). Else hand in the model "
              "before it was "
              "quantised, or its GGUF.");
}

void throw_bad_quantized_layer(const std::string& layer, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_WEIGHT_REP", what, layer + ".weight");
}

std::unique_ptr<QuantizedLayers> read_quantization(const Json& config) {
  const auto method = json_or<std::string>(config, "quant_method", "", "config.json.quantization_config");
  if (method == "compressed-tensors") return read_compressed_tensors(config);
  if (method == "gptq") return read_gptq(config);
  if (method == "awq") return read_awq(config);
  throw_quantized_input("models quantised by '" + method.substr(0, 80) + "' are not read", "quant_method");
}

}  // namespace wring
