// GPTQ checkpoints: weights packed along the input, zero points along the output; the first format stores a
// zero less one.
#include <string>

#include "engine/model/packed_rows.h"
#include "engine/model/quantized_layers.h"

namespace wring {
namespace {

class Gptq final : public QuantizedLayers {
 public:
  explicit Gptq(const Json& config) {
    const std::string where = "config.json.quantization_config";
    bits_ = json_at<int>(config, "bits", where);
    if (bits_ != 2 && bits_ != 3 && bits_ != 4 && bits_ != 8)
      throw_quantized_input(std::to_string(bits_) + " bits are not 2, 3, 4 or 8", "bits");
    const auto format = json_or<std::string>(config, "checkpoint_format", "gptq", where);
    if (format != "gptq" && format != "gptq_v2")
      throw_quantized_input("the checkpoint format '" + format + "' is not read", "checkpoint_format");
    zero_offset_ = format == "gptq" ? 1 : 0;
    group_size_ = json_or<std::int64_t>(config, "group_size", 0, where);
    symmetric_ = json_or<bool>(config, "sym", false, where);
  }

  std::shared_ptr<const WeightRep> weight(const std::string& layer,
                                          const StoredTensors& stored) const override {
    if (!stored.has(layer + ".qweight")) return nullptr;
    const auto [words, zeros, scales] = grid_tensors(layer, stored);
    const std::int64_t columns = words.size(0) * 32 / bits_, rows = words.size(1), groups = scales.size(0);
    check_fit(layer, words.size(0) * 32 % bits_ == 0 && columns % groups == 0 && scales.size(1) == rows &&
                         zeros.size(0) == groups && zeros.size(1) == (rows * bits_ + 31) / 32);
    const std::int64_t group_size = columns / groups;
    if (stored.has(layer + ".g_idx"))
      check_groups(layer, stored.tensor(layer + ".g_idx"), columns, group_size);
    const at::Tensor zero =
        unpack_words(zeros, rows, bits_).add_(zero_offset_).bitwise_and_((1 << bits_) - 1);
    return grid_rep(layer,
                    {bits_, group_size, unpack_words(words.t(), columns, bits_), scales.t().contiguous(),
                     zero.t().contiguous()},
                    group_size_, symmetric_);
  }

 private:
  static void check_groups(const std::string& layer, const at::Tensor& groups, std::int64_t columns,
                           std::int64_t group_size) {
    if (groups.dim() != 1 || groups.size(0) != columns)
      throw_bad_quantized_layer(layer, "its g_idx has no entry for each of the " + std::to_string(columns) +
                                           " inputs of its qweight");
    const auto expected = at::arange(columns, at::kLong).floor_divide(group_size);
    if (!groups.to(at::kLong).equal(expected))
      throw_quantized_input("groups in activation order (desc_act) are not read: " + layer, "desc_act");
  }

  int bits_ = 4, zero_offset_ = 1;
  std::int64_t group_size_ = 0;
  bool symmetric_ = false;
};

}  // namespace

std::unique_ptr<QuantizedLayers> read_gptq(const Json& config) {
  return std::make_unique<Gptq>(config);
}

}  // namespace wring
