// A model's weights as leaves that gradients reach, for the time of a training run.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/methods/method.h"
#include "engine/model/model.h"
#include "engine/train/training_loop.h"

namespace wring {

// What is trained of each target.
struct TrainedParts {
  std::int64_t rank = 0;  // of the product added to the frozen weight (Hu et al. 2022); 0: the weight itself
  double alpha = 0;       // the product counts alpha / rank
  bool vectors = false;   // norms' gains and all biases too
  at::ScalarType dtype = at::kFloat;  // of values stored at the end, where `source` is false
  bool source = true;                 // as each layer holds them now; fp16 where that is quantised

  // The layer's weight as it is stored in the end: dense, or with a mask `keep` bool [out, in] masked.
  void store(Layer& layer, const at::Tensor& weight, const at::Tensor& keep) const;

  static TrainedParts from(const Params& params);  // rank and alpha where there are any, vectors, value_dtype
};

// What a layer's weight is multiplied by: [out], its bias too, and [in]. Undefined: by nothing.
struct WeightFactors {
  at::Tensor rows, columns;
};

// Throws Error(kInvalidArgument, "NOT_TRAINABLE") naming the layer whose storage has no room for other
// values.
void check_trainable(const std::set<const Layer*>& targets);

// Holds all of the model decoded, where it computes and in what its products are computed (the stage's
// calibration.forward); leaves, their gradients and all between the products are fp32. What masked reps leave
// out stays zero.
class TrainedWeights final : public Trainable {
 public:
  TrainedWeights(const StageInput& stage, const TrainedParts& parts);
  ~TrainedWeights() override;
  TrainedWeights(const TrainedWeights&) = delete;
  TrainedWeights& operator=(const TrainedWeights&) = delete;

  const std::vector<at::Tensor>& leaves() const override { return leaves_; }
  std::size_t layer_count() const { return layers_.size(); }
  const Layer& layer(std::size_t i) const { return *layers_[i].layer; }

  // The layers' weights are made of the leaves anew.
  void refresh() override;

  // From the next refresh() on these layers of the model, trained or not, are multiplied by what `factors`
  // says then, which may carry gradients; in the end they are stored so. Once, and not with `vectors`.
  void multiply(const std::vector<Layer*>& layers, std::function<WeightFactors(const Layer&)> factors);

  // What counts of a layer's weight from the next refresh() on: bool [out, in], less what was masked when the
  // training began.
  void set_mask(std::size_t i, const at::Tensor& keep);
  // Momentum and decay move what is left out too: it gets back the value that it had when it was left out.
  void hold() override;
  // [out, in] fp32, before the mask and the factors.
  at::Tensor value(std::size_t i) const;
  // What was not masked when the training began, bool [out, in]; undefined: all.
  const at::Tensor& given_mask(std::size_t i) const { return layers_[i].given; }

  // The leaves as the model's own weights; the training is over. Returns one line a layer: {"layer", "shape",
  // "change": of the weight, relative to what it was, "sparsity", "bits"}.
  std::vector<Json> store();

  // Leaves and masks.
  std::vector<NamedTensor> state() const override;
  void set_state(const std::map<std::string, at::Tensor>& state) override;

 private:
  struct Trained {
    Layer* layer;
    at::Tensor first;  // the weight at the start: frozen where there is an adapter
    at::Tensor leaf;   // [out, in]; undefined with an adapter, and where nothing is trained
    at::Tensor a, b;   // [rank, in], [out, rank]; undefined without
    at::Tensor mask;   // fp32 0 or 1 [out, in]; undefined: all counts
    at::Tensor held;   // the leaf when the mask was set
    bool multiplied = false;
    at::Tensor bias;   // of what is multiplied, as it is without; or undefined
    at::Tensor given;  // see given_mask()
  };

  at::Tensor combined(const Trained& trained) const;
  WeightFactors factors_of(const Trained& trained) const;
  at::Tensor add_leaf(const at::Tensor& value);
  void add_vectors();
  void take_given_mask();  // of the last of layers_

  Model& model_;
  at::ScalarType products_;
  TrainedParts parts_;
  DecodedLayers decoded_;
  std::vector<Trained> layers_;  // the targets, then those that are only multiplied
  std::function<WeightFactors(const Layer&)> factors_;
  std::vector<at::Tensor> leaves_;
  std::vector<std::pair<Parameter*, at::ScalarType>> gains_;  // with the type they are stored in
  std::vector<std::pair<Layer*, at::ScalarType>> biases_;
};

}  // namespace wring
