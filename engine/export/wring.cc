// A Wring folder: the model as it is stored, of weights in levels those that a size has room for.
#include <map>
#include <string>

#include "common/error.h"
#include "engine/export/exporter.h"
#include "engine/methods/quantize/level_stack.h"
#include "engine/model/load.h"

namespace wring {
namespace {

// A model's own tensors, so that its family makes it again.
class ModelTensors final : public TensorSource {
 public:
  explicit ModelTensors(const Model& model) {
    for (const Layer* layer : model.layers()) {
      weights_[layer->name()] = layer->shared_weight();
      if (layer->bias().defined()) tensors_[layer->name() + ".bias"] = layer->bias();
    }
    for (const auto& parameter : model.parameters()) tensors_[parameter.name] = parameter.value;
  }

  bool has(const std::string& name) const override {
    const auto dot = name.rfind('.');
    return tensors_.contains(name) || (name.ends_with(".weight") && weights_.contains(name.substr(0, dot)));
  }
  at::Tensor tensor(const std::string& name) const override {
    if (const auto it = tensors_.find(name); it != tensors_.end()) return it->second;
    throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "the model has no such tensor", name);
  }
  std::shared_ptr<const WeightRep> weight(const std::string& layer) const override {
    if (const auto it = weights_.find(layer); it != weights_.end()) return it->second;
    throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "the model has no such layer", layer);
  }

 private:
  std::map<std::string, std::shared_ptr<const WeightRep>> weights_;
  std::map<std::string, at::Tensor> tensors_;
};

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
    for (const auto& named : rep.tensors())
      claims.stored(layer->name() + "." + named.suffix, named.tensor.nbytes());
    if (const at::Tensor& bias = layer->bias(); bias.defined()) {
      claims.tensor(layer->name() + ".bias", bias, bias);
      claims.stored(layer->name() + ".bias", bias.nbytes());
    }
  }
  for (const auto& parameter : input.model.parameters()) {
    claims.tensor(parameter.name, parameter.value, parameter.value);
    claims.stored(parameter.name, parameter.value.nbytes());
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
