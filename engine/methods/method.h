// What a compression method is: a transformation of a model's targeted layers, most often arithmetic on one
// layer and the statistics of its input. Life cycle lives elsewhere.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/calibrate/statistics.h"
#include "engine/model/layer.h"
#include "recipe/recipe.h"

namespace wring {

// A stage's parameters; recipe/ has validated them and filled in the defaults.
class Params {
 public:
  Params(Json values, std::string field) : values_(std::move(values)), field_(std::move(field)) {}
  template <typename T>
  T get(const char* name) const {
    return json_at<T>(values_, name, field_);
  }
  bool has(const char* name) const { return values_.contains(name); }
  const Json& values() const { return values_; }
  SparsityPattern sparsity(const char* name) const {
    return SparsityPattern::parse(values_.at(name), field(name));
  }
  at::ScalarType dtype(const char* name) const;  // "float16", "bfloat16", "float32"
  std::string field(const char* name) const { return field_ + "." + name; }  // "stages[1].params.group_size"

 private:
  Json values_;
  std::string field_;
};

class Model;
struct Calibration;
class Progress;
class Snapshot;

// How much a method trains.
struct TrainingSize {
  std::int64_t steps = 0, batch = 0;  // sequences a step
  std::int64_t rank = 0;              // of adapters; 0: whole weights
};

// What a stage works on.
struct StageInput {
  Model& model;
  const std::set<const Layer*>& targets;
  const Calibration& calibration;  // its tokens are undefined for data-free methods
  Progress& progress;
  Snapshot& snapshot;
  Model* reference = nullptr;  // what the stage works towards; null for methods that do not need it
  std::uint64_t seed = 0;      // the job's
};

// Transforms a model in place. Immutable. A method that goes layer by layer is a LayerMethod; one that
// changes what several layers and parameters carry together (scales, channels, blocks) derives from this and
// goes through the model with a BlockStream.
class Method {
 public:
  virtual ~Method() = default;

  // What it must know of layers' inputs; nothing for data-free methods.
  virtual std::set<Statistic> needs() const { return {}; }

  // Whether it looks at the reference model: the job's, or what was handed in before the first stage.
  virtual bool needs_reference() const { return false; }

  // Whether it compares its layers with the reference model's, one by one, and not only what they all give.
  virtual bool compares_layers() const { return needs_reference(); }

  // Of methods that go over the calibration set step by step with gradients, and not once block by block.
  virtual std::optional<TrainingSize> training() const { return std::nullopt; }

  // Whether a layer of the same name still stands for the layer that it was: false where scales are moved
  // between layers, or channels and blocks leave.
  virtual bool keeps_layers() const { return false; }

  // Whether it needs the calibration set.
  virtual bool reads_data() const { return !needs().empty(); }

  // Throws Error(kInvalidArgument) naming the parameter's field where the model cannot be transformed so.
  // Called before anything runs, on the job's input, and again on what the earlier stages made of it.
  virtual void check_model(const Model& model, const std::set<const Layer*>& targets) const = 0;

  // The report: {"layers": [one a layer or group, in model order], ...}.
  virtual Json run(const StageInput& stage) const = 0;

  // For the forecast: does with one layer what run() does with each, to see what it takes. `x` as in
  // LayerInput.
  virtual void try_out(Layer& layer, const Statistics* x) const {
    (void)layer;
    (void)x;
  }
};

// What a layer method sees.
struct LayerInput {
  const Layer& layer;
  const Statistics* x = nullptr;         // of the layer's input; null for data-free methods
  const WeightRep* reference = nullptr;  // the layer's weight in the reference model, of the same shape; null
                                         // for methods that do not need it
};

// Compresses one layer at a time; layers may be compressed in parallel.
class LayerMethod : public Method {
 public:
  // Throws Error(kInvalidArgument) naming the parameter's field where this layer cannot be compressed so (a
  // group size that does not divide). Called for every targeted layer before anything runs.
  virtual void check(const Layer& layer) const { (void)layer; }

  // The layer's new weight. `report` takes what a person should know of this layer (damping used, dead
  // columns); the pass itself adds error, sparsity and bits.
  virtual std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json& report) const = 0;

  bool keeps_layers() const final { return true; }
  void check_model(const Model& model, const std::set<const Layer*>& targets) const final;
  Json run(const StageInput& stage) const final;
  void try_out(Layer& layer, const Statistics* x) const final;
};

using MethodFactory = std::unique_ptr<Method> (*)(const Params& params);
bool register_method(const char* name, MethodFactory factory);
std::vector<std::string> registered_methods();
std::unique_ptr<Method> make_method(const std::string& name, const Params& params);

// Registers Class under the name of its spec.
#define WRING_METHOD(name, Class)                                                                            \
  [[maybe_unused]] const bool registered_##Class =                                                           \
      ::wring::register_method(name, [](const ::wring::Params& params) -> std::unique_ptr<::wring::Method> { \
        return std::make_unique<Class>(params);                                                              \
      })

}  // namespace wring
