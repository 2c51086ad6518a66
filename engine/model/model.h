// What a model is: named layers in ordered blocks, other parameters, labels on every axis, and a forward in
// pieces.
#pragma once

#include <ATen/ATen.h>

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"
#include "engine/model/kv_cache.h"
#include "engine/model/layer.h"

namespace wring {

class TensorSource;

// A parameter that is no layer's weight: a norm's gain, a positional table.
struct Parameter {
  std::string name;  // Hugging Face's tensor name
  at::Tensor value;
  std::vector<std::string> axes;  // one label an axis
};

// Slices of parameters that can only leave together: those that carry one of `axes`' labels at one group's
// indices.
struct CoupledGroups {
  enum class Kind { kHeads, kFfn, kHidden };
  struct Axis {
    std::string label;
    std::int64_t width;  // indices of a group there: group i's are i * width and the following ones
  };

  Kind kind;
  std::optional<std::size_t> block;  // none: of the whole model
  std::vector<Axis> axes;
  std::int64_t count;  // of groups: KV heads with their query heads, FFN channels, hidden channels
};

// What a block needs besides its hidden states.
struct ForwardContext {
  at::Tensor attention_mask;          // bool [batch, positions], true = a real token; undefined: all are
  KvCache* cache = nullptr;           // decoders: read and appended to; without an attention_mask
  InputObserver* observer = nullptr;  // told of every layer's input
  bool inputs_only = false;           // stop at the last layer's input: the block returns an undefined tensor
};

// A tap whose channels can be rescaled without a change of the model's function: what makes them divided, the
// columns of all that reads it multiplied. Made by a norm's gain or by a layer whose rows reach it linearly.
struct ScalableTap {
  std::string name;
  std::vector<Layer*> readers;
  Parameter* gain = nullptr;  // [channels], or
  Layer* producer = nullptr;  // this layer's rows:
  at::Tensor rows;  // int64 [channels], the row behind each channel; undefined: they are the channels
};

// A model of one component. Its forward comes in pieces so that calibration and evaluation can stream it
// block by block: head(run_block(n-1, ... run_block(0, embed(ids)))).
class Model {
 public:
  virtual ~Model() = default;

  virtual std::string_view family() const = 0;  // "llama", "bert"
  virtual std::string_view kind() const = 0;    // "decoder-lm", "encoder"

  // Hugging Face's config.json; see sizes_by_block() for blocks that differ.
  const Json& config() const { return config_; }

  // Where forwards compute; inputs and outputs are there. Stored weights stay in host memory, and layers
  // decode to the device, so that a model need not fit into it as a whole.
  at::Device device() const { return device_; }
  void compute_on(at::Device device);

  std::int64_t hidden_size() const;
  std::int64_t vocabulary_size() const;

  // Every layer in model order; names are unique.
  std::vector<Layer*> layers();
  std::vector<const Layer*> layers() const;
  Layer* find_layer(std::string_view name);  // nullptr where there is none
  const std::list<Parameter>& parameters() const { return parameters_; }
  std::list<Parameter>& parameters() { return parameters_; }
  Parameter* find_parameter(std::string_view name);  // nullptr where there is none

  virtual std::size_t block_count() const = 0;
  virtual std::vector<Layer*> block_layers(std::size_t block) = 0;
  // The layers before the blocks and after them; a tied embedding is in both.
  virtual std::vector<Layer*> embedding_layers() = 0;
  virtual std::vector<Layer*> head_layers() = 0;
  // In the block's order; none where nothing can be folded.
  virtual std::vector<ScalableTap> scalable_taps(std::size_t block);

  // ids [batch, positions] int64 -> hidden [batch, positions, hidden] in `dtype`. `first_position` of a
  // cached decode.
  virtual at::Tensor embed(const at::Tensor& ids, at::ScalarType dtype) const = 0;
  virtual at::Tensor run_block(std::size_t block, const at::Tensor& hidden,
                               const ForwardContext& context) const = 0;
  // Decoders: the final norm, then logits [..., vocabulary] fp32. Encoders: the hidden states as they are,
  // fp32.
  virtual at::Tensor final_norm(const at::Tensor& hidden) const = 0;
  virtual at::Tensor head(const at::Tensor& normed, InputObserver* observer = nullptr) const = 0;

  // The whole forward, with every layer decoded as it is met (or materialised by the caller).
  at::Tensor forward(const at::Tensor& ids, const ForwardContext& context = {}) const;

  // Reads every stored value. Throws Error(kInvalidArgument, "NOT_FINITE") naming the first tensor that holds
  // NaN or infinity.
  void check_finite() const;

  // What can be cut of this family's models, block by block: heads, then FFN channels; the hidden width last.
  virtual std::vector<CoupledGroups> coupled_groups() const = 0;

  // The weights of layers that one group takes, without biases and other parameters.
  std::int64_t weights_per_group(const CoupledGroups& groups) const;

  // The one layer that reads the groups' channels (heads: the output projection, FFN: the down projection):
  // what they feed it leaves with them. Heads and FFN only.
  Layer& reader_of(const CoupledGroups& groups);

  // Cuts every other group out of all parameters and the config: kept int64 [n], rising. With none kept the
  // layers leave the model; their reader's bias stays as a parameter. Throws Error(kInvalidArgument)
  // "NOT_SLICEABLE" naming the first layer whose rep cannot be cut, with the model as it was.
  void keep_groups(const CoupledGroups& groups, const at::Tensor& kept);

  // Removes a block; those behind it move up, with their layers' names and labels. Not the last one left.
  void drop_block(std::size_t block);

  // How its keys and values are cached where it writes text; null: all of them, as they come.
  const std::shared_ptr<const KvPolicy>& kv_policy() const { return kv_policy_; }
  void set_kv_policy(std::shared_ptr<const KvPolicy> policy) { kv_policy_ = std::move(policy); }

  std::uint64_t parameter_count() const;  // weights, biases, other parameters; tied ones once
  std::uint64_t stored_bytes() const;

 protected:
  explicit Model(Json config) : config_(std::move(config)) {}
  Layer& add_layer(Layer layer);
  Parameter& add_parameter(Parameter parameter);
  // A norm's gain, or a bias on the residual stream: [width]. Throws Error(kInvalidArgument,
  // "SHAPE_MISMATCH").
  Parameter& add_residual_vector(const std::string& name, const TensorSource& tensors, std::int64_t width);

  // After a cut: looks its layers up anew by name, takes the shapes from them, and says so in the config.
  virtual void adopt_layers() = 0;
  // What the names of the block's layers and parameters begin with: "model.layers.3.". Its labels and taps
  // begin with "L3.".
  virtual std::string block_prefix(std::size_t block) const = 0;

  Json& mutable_config() { return config_; }

 private:
  Json config_;
  at::Device device_ = at::kCPU;
  std::list<Layer> layers_;  // whose addresses stay when others leave
  std::list<Parameter> parameters_;
  std::shared_ptr<const KvPolicy> kv_policy_;
};

// Where a family's constructor finds its tensors: by Hugging Face's names, whatever the file format.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual bool has(const std::string& name) const = 0;
  // A plain tensor; throws kNotFound "NO_SUCH_TENSOR" naming it. May point into mapped memory: never written
  // to.
  virtual at::Tensor tensor(const std::string& name) const = 0;
  // The weight of the layer `layer` ("model.layers.0.mlp.up_proj"), in whatever rep the files hold.
  virtual std::shared_ptr<const WeightRep> weight(const std::string& layer) const = 0;
};

// Families register themselves: WRING_MODEL_FAMILY(Class) where Class has
//   static std::vector<std::string> model_types();  // of config.json: {"llama", "qwen2", ...}
//   Class(Json config, const TensorSource& tensors).
using FamilyFactory = std::unique_ptr<Model> (*)(Json config, const TensorSource& tensors);
bool register_family(const std::vector<std::string>& model_types, FamilyFactory factory);
std::vector<std::string> supported_model_types();
std::unique_ptr<Model> make_model(Json config,
                                  const TensorSource& tensors);  // throws kUnimplemented "UNSUPPORTED_MODEL"

#define WRING_MODEL_FAMILY(Class)                                                                         \
  [[maybe_unused]] const bool registered_##Class = ::wring::register_family(                              \
      Class::model_types(),                                                                               \
      [](::wring::Json config, const ::wring::TensorSource& tensors) -> std::unique_ptr<::wring::Model> { \
        return std::make_unique<Class>(std::move(config), tensors);                                       \
      })

}  // namespace wring
