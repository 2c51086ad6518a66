// Tensors by the names that the family looks for.
#include "engine/model/model_tensors.h"

#include "common/error.h"

namespace wring {

ModelTensors::ModelTensors(const Model& model) {
  for (const Layer* layer : model.layers()) {
    weights_[layer->name()] = layer->shared_weight();
    if (layer->bias().defined()) tensors_[layer->name() + ".bias"] = layer->bias();
  }
  for (const auto& parameter : model.parameters()) tensors_[parameter.name] = parameter.value;
}

bool ModelTensors::has(const std::string& name) const {
  const auto dot = name.rfind('.');
  return tensors_.contains(name) || (name.ends_with(".weight") && weights_.contains(name.substr(0, dot)));
}

at::Tensor ModelTensors::tensor(const std::string& name) const {
  if (const auto it = tensors_.find(name); it != tensors_.end()) return it->second;
  throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "the model has no such tensor", name);
}

std::shared_ptr<const WeightRep> ModelTensors::weight(const std::string& layer) const {
  if (const auto it = weights_.find(layer); it != weights_.end()) return it->second;
  throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "the model has no such layer", layer);
}

std::unique_ptr<Model> copy_of(const Model& model) {
  auto copy = make_model(model.config(), ModelTensors(model));
  copy->compute_on(model.device());
  return copy;
}

}  // namespace wring
