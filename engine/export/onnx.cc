// ONNX: the family's graph with the model's weights in it, under the names of Hugging Face's exports.
#include "common/error.h"
#include "engine/export/exporter.h"
#include "engine/export/onnx_layers.h"
#include "engine/model/onnx_source.h"
#include "formats/model_kind.h"

namespace wring {
namespace {

// transformers ties the two biases of masked words, and saves either or both.
bool is_tied_bias(const Model& model, const Parameter& parameter) {
  if (parameter.name != "cls.predictions.bias") return false;
  for (const auto& other : model.parameters())
    if (other.name == "cls.predictions.decoder.bias") return at::equal(other.value, parameter.value);
  return false;
}

void onnx(const ExportInput& input, Claims& claims) {
  const Model& model = input.model;
  const auto type = export_dtype(input.params.get<std::string>("dtype"));
  OnnxBuilder builder(type, claims);
  OnnxLayers layers(
      model, builder, claims,
      {input.params.get<std::string>("weights") == "packed", input.params.get<std::int64_t>("accuracy_level"),
       input.params.get<std::string>("products") == "fast"});
  if (model.family() == "llama")
    write_llama_graph(model, layers, builder);
  else
    write_bert_graph(model, layers, builder);
  for (const auto& parameter : model.parameters())
    if (!builder.holds(parameter.name) && !is_tied_bias(model, parameter))
      throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                  "onnx has no output for this part of the model, which would be lost", parameter.name,
                  "Export to huggingface, or take it out of the checkpoint.");
  builder.write(input.folder / kOnnxModelFile, input.params.get<std::uint64_t>("inline_bytes"));
  write_config(input, type, nullptr);
  const Json marker{
      {"format_version", kOnnxExportVersion}, {"family", model.family()}, {"kind", model.kind()}};
  write_file_atomic(input.folder / kOnnxExportFile, marker.dump(1) + "\n");
}

WRING_EXPORTER("onnx", onnx);

}  // namespace
}  // namespace wring
