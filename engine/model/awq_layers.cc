// AWQ checkpoints, GEMM version: 4 bits packed along the output, eight columns a word in an order of their
// own.
#include <string>

#include "engine/model/awq_order.h"
#include "engine/model/packed_rows.h"
#include "engine/model/quantized_layers.h"

namespace wring {
namespace {

// int32 [rows, columns / 8] -> uint8 [rows, columns].
at::Tensor unpack_awq(const at::Tensor& words) {
  const at::Tensor slots =
      unpack_words(words.contiguous(), words.size(1) * 8, 4).reshape({words.size(0), -1, 8});
  return slots.index_select(2, at::argsort(awq_order())).reshape({words.size(0), -1});
}

class Awq final : public QuantizedLayers {
 public:
  explicit Awq(const Json& config) {
    const std::string where = "config.json.quantization_config";
    if (json_at<int>(config, "bits", where) != 4) throw_quantized_input("only 4 bits are read", "bits");
    if (const auto version = json_or<std::string>(config, "version", "gemm", where);
        version != "gemm" && version != "GEMM")
      throw_quantized_input("the version '" + version + "' is not read", "version");
    group_size_ = json_or<std::int64_t>(config, "group_size", 0, where);
    symmetric_ = !json_or<bool>(config, "zero_point", true, where);
  }

  std::shared_ptr<const WeightRep> weight(const std::string& layer,
                                          const StoredTensors& stored) const override {
    if (!stored.has(layer + ".qweight")) return nullptr;
    const auto [words, zeros, scales] = grid_tensors(layer, stored);
    const std::int64_t columns = words.size(0), rows = words.size(1) * 8, groups = scales.size(0);
    check_fit(layer, columns % groups == 0 && scales.size(1) == rows && zeros.size(0) == groups &&
                         zeros.size(1) * 8 == rows);
    return grid_rep(layer,
                    {4, columns / groups, unpack_awq(words).t().contiguous(), scales.t().contiguous(),
                     unpack_awq(zeros).t().contiguous()},
                    group_size_, symmetric_);
  }

 private:
  std::int64_t group_size_ = 0;
  bool symmetric_ = false;
};

}  // namespace

std::unique_ptr<QuantizedLayers> read_awq(const Json& config) {
  return std::make_unique<Awq>(config);
}

}  // namespace wring
