// A Wring folder: the model as it is stored, of weights in levels those that a size has room for.
#include <string>

#include "engine/export/exporter.h"
#include "engine/methods/quantize/level_stack.h"
#include "engine/model/load.h"
#include "engine/model/model_tensors.h"

namespace wring {
namespace {

// More than the header of a file of these tensors takes: each entry has its name, type, shape and two
// offsets.
std::uint64_t header_bytes(const Model& model) {
  std::uint64_t bytes = 256;
  const auto add = [&](std::size_t name) { bytes += 128 + name; };
  for (const Layer* layer : model.layers()) {
    for (const auto& named : layer->weight().tensors()) add(layer->name().size() + named.suffix.size());
    if (layer->bias().defined()) add(layer->name().size() + 4);
  }
  for (const auto& parameter : model.parameters()) add(parameter.name.size());
  return bytes;
}

std::unique_ptr<Model> fitted(const ExportInput& input) {
  auto model = make_model(input.model.config(), ModelTensors(input.model));
  const auto size = input.params.get<std::uint64_t>("size");
  if (size == 0) return model;
  const auto header = header_bytes(*model);
  fit_levels(*model, size > header ? size - header : 0, input.params.field("size"));
  return model;
}

void wring_folder(const ExportInput& input, Claims& claims) {
  const auto model = fitted(input);
  constexpr double kAllLost = 1;  // as many levels as there is room for: the size says what is lost
  for (const Layer* layer : input.model.layers()) {
    const WeightRep& rep = model->find_layer(layer->name())->weight();
    claims.weight(*layer, rep, "", kAllLost);
    for (const auto& named : rep.tensors()) claims.stored(layer->name() + "." + named.suffix);
    if (const at::Tensor& bias = layer->bias(); bias.defined()) {
      claims.tensor(layer->name() + ".bias", bias, bias);
      claims.stored(layer->name() + ".bias");
    }
  }
  for (const auto& parameter : input.model.parameters()) {
    claims.tensor(parameter.name, parameter.value, parameter.value);
    claims.stored(parameter.name);
  }
  Json lineage = Json::array();
  if (input.source.has("wring.json"))
    lineage = json_at<Json>(parse_json(input.source.open("wring.json").read_all().text(), "wring.json"),
                            "lineage", "wring.json");
  save_model(*model, input.source, lineage, input.folder);
}

WRING_EXPORTER("wring", wring_folder);

}  // namespace
}  // namespace wring
