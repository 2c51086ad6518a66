// Weights that another tool has quantised, as the quantization_config of config.json describes them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/json.h"
#include "engine/model/weight_rep.h"

namespace wring {

// Where a quantised layer's tensors are found: by their whole names. May be asked for one that is not there.
struct StoredTensors {
  std::function<bool(const std::string& name)> has;
  std::function<at::Tensor(const std::string& name)> tensor;
};

class QuantizedLayers {
 public:
  virtual ~QuantizedLayers() = default;

  // The weight of `layer`; nullptr where that layer is stored plainly. Throws Error(kInvalidArgument,
  // "BAD_WEIGHT_REP") naming the layer.
  virtual std::shared_ptr<const WeightRep> weight(const std::string& layer,
                                                  const StoredTensors& stored) const = 0;
};

// Reads compressed-tensors, GPTQ (both checkpoint formats), AWQ (GEMM) and bitsandbytes (4 bits). Throws
// Error(kUnimplemented, "QUANTIZED_INPUT") naming the member for what is not read.
std::unique_ptr<QuantizedLayers> read_quantization(const Json& config);

// One a file.
std::unique_ptr<QuantizedLayers> read_compressed_tensors(const Json& config);
std::unique_ptr<QuantizedLayers> read_gptq(const Json& config);
std::unique_ptr<QuantizedLayers> read_awq(const Json& config);
std::unique_ptr<QuantizedLayers> read_bitsandbytes(const Json& config);

// What the readers share. A matrix of 32-bit words, and one of scales: of at least one element each.
at::Tensor packed_matrix(const std::string& layer, const char* suffix, const StoredTensors& stored);
at::Tensor scale_matrix(const std::string& layer, const char* suffix, const StoredTensors& stored);

// What GPTQ and AWQ store of a layer, and the error of one whose shapes do not `fit`.
struct GridTensors {
  at::Tensor words, zeros, scales;
};
GridTensors grid_tensors(const std::string& layer, const StoredTensors& stored);
void check_fit(const std::string& layer, bool fit);

// The rep of `parts`; `group_size` is what the configuration says: 0 where it says nothing, -1 for whole
// rows. `symmetric`: it says that there are no zero points, so that those stored, if they are all in the
// middle, go.
std::shared_ptr<const WeightRep> grid_rep(const std::string& layer, PackedInt parts, std::int64_t group_size,
                                          bool symmetric = false);

[[noreturn]] void throw_quantized_input(const std::string& what, const std::string& member);
[[noreturn]] void throw_bad_quantized_layer(const std::string& layer, const std::string& what);

}  // namespace wring
