// GPTQ checkpoints: qweight packed along the input, qzeros along the output, fp16 scales.
#include <optional>

#include "common/error.h"
#include "common/files.h"
#include "engine/export/integer_grid.h"
#include "engine/model/packed_rows.h"

namespace wring {
namespace {

constexpr int kOutputsMultiple = 32;  // out * bits has to fill 32-bit words whatever the bits

[[noreturn]] void refuse(const Layer& layer, const std::string& what, const std::string& fix) {
  throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE", "gptq " + what, layer.name(), fix);
}

// The one scheme that a checkpoint has for all its layers, known when the last of them is added.
class Scheme {
 public:
  void add(const Layer& layer, const IntegerGrid& grid) {
    if (!first_) first_ = grid;
    whole_rows_ = whole_rows_ && grid.group_size == grid.codes.size(1);
    one_size_ = one_size_ && grid.group_size == first_->group_size;
    if (grid.bits != first_->bits || grid.symmetric != first_->symmetric || (!whole_rows_ && !one_size_))
      refuse(layer, "holds one number of bits, group size and symmetry for the whole model",
             "Use compressed-tensors.");
  }
  int bits() const { return first_->bits; }
  bool symmetric() const { return first_->symmetric; }
  std::int64_t group_size() const { return whole_rows_ ? -1 : first_->group_size; }

 private:
  std::optional<IntegerGrid> first_;
  bool whole_rows_ = true, one_size_ = true;
};

void check_layer(const Layer& layer, const IntegerGrid& grid, int zero_offset) {
  if (grid.bits != 2 && grid.bits != 3 && grid.bits != 4 && grid.bits != 8)
    refuse(layer, "has no " + std::to_string(grid.bits) + "-bit layout",
           "Use 2, 3, 4 or 8 bits, or compressed-tensors.");
  if (grid.codes.size(0) % kOutputsMultiple != 0 || grid.codes.size(1) * grid.bits % 32 != 0)
    refuse(layer,
           "packs whole 32-bit words, which a layer of shape [" + std::to_string(grid.codes.size(0)) + ", " +
               std::to_string(grid.codes.size(1)) + "] does not fill",
           "Use compressed-tensors.");
  // Some loaders add the one without wrapping, others to a whole word, where it carries into the neighbour.
  if (zero_offset > 0 && at::any(grid.zeros == 0).item<bool>())
    refuse(layer, "stores a zero point less one, and this layer has a zero point of 0",
           "Use gptq-checkpoint(checkpoint_format=gptq_v2), a symmetric grid, or compressed-tensors.");
}

// `zero_offset`: what the checkpoint format takes from a zero point (1 in the first one).
std::vector<NamedTensor> tensors_of(const IntegerGrid& grid, int zero_offset) {
  const at::Tensor zeros = grid.zeros.sub(zero_offset).bitwise_and_((1 << grid.bits) - 1);
  return {{"qweight", pack_words(grid.codes, grid.bits).t().contiguous()},
          {"qzeros", pack_words(zeros.t(), grid.bits)},
          {"scales", grid.scales.to(at::kHalf).t().contiguous()},
          {"g_idx", at::arange(grid.codes.size(1), at::kInt).floor_divide(grid.group_size).to(at::kInt)}};
}

void gptq(const ExportInput& input, Claims& claims) {
  check_architecture(input.model, "gptq-checkpoint");
  check_quantized(input.model, "gptq-checkpoint", input.field);
  const auto format = input.params.get<std::string>("checkpoint_format");
  const int zero_offset = format == "gptq" ? 1 : 0;
  TensorFolder tensors(claims);
  Scheme scheme;
  for (const Layer* layer : input.model.layers()) {
    if (!is_integer_grid(*layer)) {
      if (layer->class_name() == "Linear" && layer->name() != "lm_head")
        refuse(*layer, "quantises every linear layer but the head",
               "Quantise this layer as the others, or use compressed-tensors.");
      tensors.plain(*layer, at::kHalf);
      continue;
    }
    const IntegerGrid grid = integer_grid(*layer);
    check_layer(*layer, grid, zero_offset);
    scheme.add(*layer, grid);
    tensors.packed(*layer, *with_scales(grid, at::kHalf), tensors_of(grid, zero_offset));
  }
  tensors.rest(input.model, at::kHalf);
  tensors.write(input.folder, input.params.get<std::uint64_t>("shard_bytes"));
  const Json quantization{
      {"quant_method", "gptq"},  {"bits", scheme.bits()},       {"group_size", scheme.group_size()},
      {"desc_act", false},       {"sym", scheme.symmetric()},   {"lm_head", false},
      {"true_sequential", true}, {"checkpoint_format", format}, {"pack_dtype", "int32"}};
  write_config(input, at::kHalf, quantization);
  write_file_atomic(input.folder / "quantize_config.json", quantization.dump(2) + "\n");
}

WRING_EXPORTER("gptq-checkpoint", gptq);

}  // namespace
}  // namespace wring
