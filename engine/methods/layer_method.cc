// A layer method as a stage: the one calibration pass.
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/compress_layer.h"
#include "engine/methods/method.h"

namespace wring {

// In the model's order, so that what is found first is the same in every run.
void LayerMethod::check_model(const Model& model, const std::set<const Layer*>& targets) const {
  for (const Layer* layer : model.layers())
    if (targets.contains(layer)) check(*layer);
}

Json LayerMethod::run(const StageInput& stage) const {
  return {{"layers", compress_layers(stage, *this)}};
}

// A reference of zeros, so that there is something to work towards: none of the stages before has run.
void LayerMethod::try_out(Layer& layer, const Statistics* x) const {
  if (!needs_reference()) {
    compress_layer(layer, *this, x, nullptr);
    return;
  }
  const auto zeros = dense_rep(at::zeros({layer.weight().rows(), layer.weight().columns()}));
  compress_layer(layer, *this, x, zeros.get());
}

}  // namespace wring
