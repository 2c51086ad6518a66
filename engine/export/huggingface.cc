// A plain Hugging Face folder: every weight as values.
#include "engine/export/exporter.h"
#include "engine/export/pad.h"

namespace wring {
namespace {

void write_folder(const ExportInput& input, Claims& claims) {
  check_architecture(input.model, "huggingface");
  const auto dtype = export_dtype(input.params.get<std::string>("dtype"));
  TensorFolder tensors(claims);
  for (const Layer* layer : input.model.layers()) tensors.plain(*layer, dtype);
  tensors.rest(input.model, dtype);
  tensors.write(input.folder, input.params.get<std::uint64_t>("shard_bytes"));
  write_config(input, dtype, nullptr);
}

void huggingface(const ExportInput& input, Claims& claims) {
  if (!input.params.get<bool>("pad")) return write_folder(input, claims);
  const auto padded = padded_model(input.model);
  write_folder({*padded, input.source, input.params, input.name, input.folder, input.field}, claims);
}

WRING_EXPORTER("huggingface", huggingface);

}  // namespace
}  // namespace wring
