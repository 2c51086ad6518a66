// A model's own tensors as a source, of which its family makes it again.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/model/model.h"

namespace wring {

class ModelTensors final : public TensorSource {
 public:
  explicit ModelTensors(const Model& model);

  bool has(const std::string& name) const override;
  at::Tensor tensor(const std::string& name) const override;
  std::shared_ptr<const WeightRep> weight(const std::string& layer) const override;

 private:
  std::map<std::string, std::shared_ptr<const WeightRep>> weights_;
  std::map<std::string, at::Tensor> tensors_;
};

// The same model, which can be cut by itself: weights are shared until then.
std::unique_ptr<Model> copy_of(const Model& model);

}  // namespace wring
