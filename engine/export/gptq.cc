// GPTQ checkpoints: qweight packed along the input, qzeros along the output, fp16 scales.
#include "common/error.h"
#include "common/files.h"
#include "engine/export/integer_grid.h"
#include "engine/model/packed_rows.h"

namespace wring {
namespace {

constexpr int kOutputsMultiple = 32;  // out * bits has to fill 32-bit words whatever the bits

void check_layer(const Layer& layer, const IntegerGrid& grid, const IntegerGrid& first) {
  const auto refuse = [&](const std::string& what, const std::string& fix) {
    throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE", "gptq " + what, layer.name(), fix);
  };
  if (grid.bits != 2 && grid.bits != 3 && grid.bits != 4 && grid.bits != 8)
    refuse("has no " + std::to_string(grid.bits) + "-bit layout",
           "Use 2, 3, 4 or 8 bits, or compressed-tensors.");
  const bool row_groups = grid.group_size == grid.codes.size(1),
             first_row_groups = first.group_size == first.codes.size(1);
  if (grid.bits != first.bits || row_groups != first_row_groups ||
      (!row_groups && grid.group_size != first.group_size) || grid.symmetric != first.symmetric)
    refuse("holds one number of bits, group size and symmetry for the whole model",
           "Use compressed-tensors.");
  if (grid.codes.size(0) % kOutputsMultiple != 0 || grid.codes.size(1) * grid.bits % 32 != 0)
    refuse("packs whole 32-bit words, which a layer of shape [" + std::to_string(grid.codes.size(0)) + ", " +
               std::to_string(grid.codes.size(1)) + "] does not fill",
           "Leave the layer out with 'ignore', or use compressed-tensors.");
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
  check_quantized(input.model, "gptq");
  const auto format = input.params.get<std::string>("checkpoint_format");
  TensorFolder tensors(claims);
  std::optional<IntegerGrid> first;
  for (const Layer* layer : input.model.layers()) {
    if (!is_integer_grid(*layer)) {
      if (layer->class_name() == "Linear" && layer->name() != "lm_head")
        throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                    "gptq quantises every linear layer but the head", layer->name(),
                    "Quantise this layer as the others, or use compressed-tensors.");
      tensors.plain(*layer, at::kHalf);
      continue;
    }
    const IntegerGrid grid = integer_grid(*layer);
    if (!first) first = grid;
    check_layer(*layer, grid, *first);
    tensors.packed(*layer, *with_scales(grid, at::kHalf), tensors_of(grid, format == "gptq" ? 1 : 0));
  }
  tensors.rest(input.model, at::kHalf);
  tensors.write(input.folder, input.params.get<std::uint64_t>("shard_bytes"));
  const bool row_groups = first->group_size == first->codes.size(1);
  const Json quantization{{"quant_method", "gptq"},
                          {"bits", first->bits},
                          {"group_size", row_groups ? -1 : first->group_size},
                          {"desc_act", false},
                          {"sym", first->symmetric},
                          {"lm_head", false},
                          {"true_sequential", true},
                          {"checkpoint_format", format},
                          {"pack_dtype", "int32"}};
  write_config(input, at::kHalf, quantization);
  write_file_atomic(input.folder / "quantize_config.json", quantization.dump(2) + "\n");
}

WRING_EXPORTER("gptq-checkpoint", gptq);

}  // namespace
}  // namespace wring
