// ONNX: the family's graph with the model's weights in it, under the names of Hugging Face's exports.
#include "engine/export/exporter.h"
#include "engine/export/onnx_layers.h"
#include "engine/model/onnx_source.h"
#include "formats/model_kind.h"

namespace wring {
namespace {

void onnx(const ExportInput& input, Claims& claims) {
  const Model& model = input.model;
  const auto type = export_dtype(input.params.get<std::string>("dtype"));
  OnnxBuilder builder(type, claims);
  OnnxLayers layers(model, builder, claims,
                    {input.params.get<std::string>("weights") == "packed",
                     input.params.get<std::int64_t>("accuracy_level")});
  if (model.family() == "llama")
    write_llama_graph(model, layers, builder);
  else
    write_bert_graph(model, layers, builder);
  builder.write(input.folder / kOnnxModelFile, input.params.get<std::uint64_t>("inline_bytes"));
  write_config(input, type, nullptr);
  const Json marker{
      {"format_version", kOnnxExportVersion}, {"family", model.family()}, {"kind", model.kind()}};
  write_file_atomic(input.folder / kOnnxExportFile, marker.dump(1) + "\n");
}

WRING_EXPORTER("onnx", onnx);

}  // namespace
}  // namespace wring
