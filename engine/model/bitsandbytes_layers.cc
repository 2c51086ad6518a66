// bitsandbytes in 4 bits (QLoRA, Dettmers et al., NeurIPS 2023): each code is a place in a table of 16
// values, scaled by the largest magnitude of its block, which may be stored in 8 bits itself (double
// quantisation).
#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "engine/model/quantized_layers.h"

namespace wring {
namespace {

constexpr std::int64_t kLargestBlock = 1 << 16, kPiece = 1 << 22;  // values looked up at once

struct State {
  std::int64_t rows = 0, columns = 0, block = 0, nested_block = 0;
  double offset = 0;
  at::ScalarType dtype = at::kFloat;
};

class BitsAndBytes final : public QuantizedLayers {
 public:
  explicit BitsAndBytes(const Json& config) {
    if (!json_or<bool>(config, "load_in_4bit", false, "config.json.quantization_config"))
      throw_quantized_input("of bitsandbytes only 4 bits (nf4, fp4) are read", "load_in_4bit");
  }

  // As the values, in the type that bitsandbytes gives them in.
  std::shared_ptr<const WeightRep> weight(const std::string& layer,
                                          const StoredTensors& stored) const override {
    const auto state = read_state(layer, stored);
    if (!state) return nullptr;
    const std::int64_t count = state->rows * state->columns;
    const at::Tensor codes = vector(layer, "", at::kByte, (count + 1) / 2, stored),
                     table = vector(layer, ".quant_map", at::kFloat, 16, stored),
                     scales = block_scales(layer, *state, (count + state->block - 1) / state->block, stored);
    at::Tensor values = at::empty({count}, state->dtype);
    const std::int64_t piece = kPiece / (2 * state->block) * 2 * state->block;
    for (std::int64_t first = 0; first < count; first += piece) {
      const std::int64_t n = std::min(piece, count - first);
      const at::Tensor bytes = codes.narrow(0, first / 2, (n + 1) / 2);
      const at::Tensor places = at::stack({bytes.bitwise_right_shift(4), bytes.bitwise_and(15)}, 1).flatten();
      const at::Tensor scale = scales.narrow(0, first / state->block, (n + state->block - 1) / state->block)
                                   .repeat_interleave(state->block)
                                   .narrow(0, 0, n);
      values.narrow(0, first, n).copy_(table.index_select(0, places.narrow(0, 0, n).to(at::kInt)) * scale);
    }
    return dense_rep(values.reshape({state->rows, state->columns}));
  }

 private:
  static std::optional<State> read_state(const std::string& layer, const StoredTensors& stored) {
    for (const char* type : {"nf4", "fp4"}) {
      const std::string name = layer + ".weight.quant_state.bitsandbytes__" + type;
      if (!stored.has(name)) continue;
      const at::Tensor bytes = stored.tensor(name).contiguous();
      if (bytes.scalar_type() != at::kByte) throw_bad_quantized_layer(layer, "its quant_state is no text");
      const std::string text(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes());
      return parse_state(layer, parse_json(text, name));
    }
    return std::nullopt;
  }

  static State parse_state(const std::string& layer, const Json& json) {
    const std::string where = layer + ".weight.quant_state";
    const auto shape = json_at<std::vector<std::int64_t>>(json, "shape", where);
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > kMost || shape[1] > kMost)
      throw_bad_quantized_layer(layer, "its quant_state's shape is that of no matrix");
    State state{shape[0],
                shape[1],
                json_at<std::int64_t>(json, "blocksize", where),
                json_or<std::int64_t>(json, "nested_blocksize", 0, where),
                json_or<double>(json, "nested_offset", 0, where),
                at::kFloat};
    if (state.block < 2 || state.block > kLargestBlock || state.block % 2 != 0 || state.nested_block < 0 ||
        state.nested_block > kLargestBlock)
      throw_bad_quantized_layer(layer, "its quant_state's blocksize is out of range");
    const auto dtype = json_at<std::string>(json, "dtype", where);
    if (dtype == "float16") state.dtype = at::kHalf;
    if (dtype == "bfloat16") state.dtype = at::kBFloat16;
    if (dtype != "float16" && dtype != "bfloat16" && dtype != "float32")
      throw_bad_quantized_layer(layer, "its quant_state's dtype is none of float16, bfloat16 and float32");
    return state;
  }

  // `count` values of this type, whatever their shape: layer + ".weight" + suffix.
  static at::Tensor vector(const std::string& layer, const char* suffix, at::ScalarType type,
                           std::int64_t count, const StoredTensors& stored) {
    const at::Tensor found = stored.tensor(layer + ".weight" + suffix);
    if (found.scalar_type() != type || found.numel() != count)
      throw_bad_quantized_layer(layer, std::string("its weight") + suffix + " is not " +
                                           std::to_string(count) + " values of the type that 4 bits want");
    return found.flatten();
  }

  static at::Tensor block_scales(const std::string& layer, const State& state, std::int64_t blocks,
                                 const StoredTensors& stored) {
    if (state.nested_block == 0) return vector(layer, ".absmax", at::kFloat, blocks, stored);
    const std::int64_t outer = (blocks + state.nested_block - 1) / state.nested_block;
    const at::Tensor table = vector(layer, ".nested_quant_map", at::kFloat, 256, stored),
                     places = vector(layer, ".absmax", at::kByte, blocks, stored),
                     scale = vector(layer, ".nested_absmax", at::kFloat, outer, stored);
    return table.index_select(0, places.to(at::kInt)) *
               scale.repeat_interleave(state.nested_block).narrow(0, 0, blocks) +
           state.offset;
  }
};

}  // namespace

std::unique_ptr<QuantizedLayers> read_bitsandbytes(const Json& config) {
  return std::make_unique<BitsAndBytes>(config);
}

}  // namespace wring
