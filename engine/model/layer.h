// A named layer: one operator, a weight in some storage, a bias; and the kernels' choice for applying it.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/weight_rep.h"

namespace wring {

class Layer;

// Told of each input a layer sees, x [rows, in]. Taps are named: layers with one `input_tap` see the same
// input.
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  virtual void on_input(const Layer& layer, const at::Tensor& x) = 0;
};

// One operator of a model with its weight. Not thread-safe while a weight is being swapped.
class Layer {
 public:
  enum class Operator { kLinear, kEmbedding };

  Layer(std::string name, Operator op, std::shared_ptr<const WeightRep> weight, at::Tensor bias,
        std::vector<std::string> axes, std::string input_tap);

  const std::string& name() const { return name_; }               // the module's name in Hugging Face's model
  std::string class_name() const;                                 // "Linear" or "Embedding"
  const std::vector<std::string>& axes() const { return axes_; }  // labels of the weight's axes: {out, in}
  const std::string& input_tap() const { return input_tap_; }

  const WeightRep& weight() const { return *weight_; }
  std::shared_ptr<const WeightRep> shared_weight() const { return weight_; }
  // Of the same shape, or Error kInternal. A layer that rounds its inputs goes on to, where `weight` does not
  // say how.
  void set_weight(std::shared_ptr<const WeightRep> weight);
  Layer without_rounding() const;                   // the same layer as if it rounded nothing
  const at::Tensor& bias() const { return bias_; }  // [out], or undefined
  void set_bias(at::Tensor bias);                   // [out], or Error kInternal

  // What cutting a model changes (Model::keep_groups, Model::drop_block), which keeps its layers in step:
  // some rows or columns of the weight, with their biases; the layer's place.
  void keep(std::size_t axis, const at::Tensor& indices);  // indices int64 of axis 0 (out) or 1 (in)
  bool can_be_cut() const;
  void rename(std::string name, std::vector<std::string> axes, std::string input_tap);

  // Where apply() computes: the bias goes there, and decoded weights will. The stored weight stays in host
  // memory.
  void compute_on(at::Device device);

  // Decoded weight held until release(); apply() uses it.
  void materialize(at::ScalarType dtype);
  void release() { dense_ = at::Tensor(); }
  // As if `weight` [out, in] had been decoded: what a trainer makes it of. Until release().
  void stand_in(at::Tensor weight);
  bool is_materialized() const { return dense_.defined(); }
  // In what apply() multiplies: the decoded weight's dtype, fp32 where there is none.
  at::ScalarType compute_dtype() const { return dense_.defined() ? dense_.scalar_type() : at::kFloat; }

  // Linear: x [..., in] -> [..., out] in x's dtype. Uses the materialised weight (and multiplies in its
  // dtype), else the rep's own kernel, else decodes.
  at::Tensor apply(const at::Tensor& x, InputObserver* observer = nullptr) const;

  // Linear: tells the observer, if there is one, of x [..., in]; apply() does so too.
  void observe(const at::Tensor& x, InputObserver* observer) const;

  // Embedding: ids [...] int64 -> [..., features].
  at::Tensor look_up(const at::Tensor& ids, at::ScalarType dtype) const;

 private:
  std::string name_;
  Operator op_;
  std::shared_ptr<const WeightRep> weight_;
  at::Tensor bias_;
  std::vector<std::string> axes_;
  std::string input_tap_;
  at::Device device_ = at::kCPU;
  at::Tensor dense_;
};

// Holds the decoded weights of some layers for its lifetime.
class DecodedLayers {
 public:
  DecodedLayers(std::vector<Layer*> layers, at::ScalarType dtype);
  ~DecodedLayers();
  DecodedLayers(const DecodedLayers&) = delete;
  DecodedLayers& operator=(const DecodedLayers&) = delete;

 private:
  std::vector<Layer*> layers_;
};

}  // namespace wring
