// AWQ checkpoints, GEMM version: 4 bits, packed along the output in an order of their own.
#include "common/error.h"
#include "engine/export/integer_grid.h"
#include "engine/model/awq_order.h"
#include "engine/model/packed_rows.h"

namespace wring {
namespace {

// uint8 [rows, columns] -> int32 [rows, columns / 8].
at::Tensor pack_awq(const at::Tensor& codes) {
  const at::Tensor words = codes.reshape({codes.size(0), -1, 8}).index_select(2, awq_order());
  return pack_words(words.reshape(codes.sizes()), 4);
}

void check_layer(const Layer& layer, const IntegerGrid& grid, const IntegerGrid& first) {
  const auto refuse = [&](const std::string& what, const std::string& fix) {
    throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE", "awq " + what, layer.name(), fix);
  };
  if (grid.bits != 4)
    refuse("has 4 bits, this layer " + std::to_string(grid.bits), "Use 4 bits, or compressed-tensors.");
  if (grid.group_size != first.group_size)
    refuse("holds one group size for the whole model",
           "Use one that divides every layer's inputs, or compressed-tensors.");
  if (grid.codes.size(0) % 8 != 0)
    refuse("packs eight outputs a word, this layer has " + std::to_string(grid.codes.size(0)),
           "Leave it out with 'ignore'.");
}

void awq(const ExportInput& input, Claims& claims) {
  check_architecture(input.model, "awq-checkpoint");
  check_quantized(input.model, "awq-checkpoint", input.field);
  TensorFolder tensors(claims);
  std::optional<IntegerGrid> first;
  std::vector<std::string> plain;
  for (const Layer* layer : input.model.layers()) {
    if (!is_integer_grid(*layer)) {
      if (layer->class_name() == "Linear") plain.push_back(layer->name());
      tensors.plain(*layer, at::kHalf);
      continue;
    }
    const IntegerGrid grid = integer_grid(*layer);
    if (!first) first = grid;
    check_layer(*layer, grid, *first);
    tensors.packed(*layer, *with_scales(grid, at::kHalf),
                   {{"qweight", pack_awq(grid.codes.t().contiguous())},
                    {"qzeros", pack_awq(grid.zeros.t().contiguous())},
                    {"scales", grid.scales.to(at::kHalf).t().contiguous()}});
  }
  tensors.rest(input.model, at::kHalf);
  tensors.write(input.folder, input.params.get<std::uint64_t>("shard_bytes"));
  write_config(input, at::kHalf,
               {{"quant_method", "awq"},
                {"bits", 4},
                {"group_size", first->group_size},
                {"zero_point", true},
                {"version", "gemm"},
                {"modules_to_not_convert", plain.empty() ? Json(nullptr) : Json(plain)}});
}

WRING_EXPORTER("awq-checkpoint", awq);

}  // namespace
}  // namespace wring
