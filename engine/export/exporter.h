// Exports: a model written in the format of another tool, and what a reader of those files must find.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"
#include "engine/methods/method.h"
#include "engine/model/model.h"
#include "formats/file_tree.h"
#include "formats/safetensors.h"

namespace wring {

// What an export means to hold: the digest of each weight's and parameter's fp32 values, how layers round
// their inputs, the names of all tensors and a GGUF's keys. What is meant is compared with the model too:
// rounding and encoding may cost a layer's precision, not the layer.
class Claims {
 public:
  // Both throw Error(kInvalidArgument, "NOT_EXPRESSIBLE") where what is meant is not finite, or is another
  // thing than what the model holds: half of its energy lost, inputs rounded otherwise.
  // `name`: what a reader of the files calls the layer, where that is not its name; `most_lost`: the share of
  // its energy that rounding may cost.
  void weight(const Layer& layer, const WeightRep& meant, const std::string& name = "",
              double most_lost = 0.5);
  void tensor(const std::string& name, const at::Tensor& held, const at::Tensor& meant);
  // A tensor by its name in the files.
  void stored(const std::string& name) { stored_.push_back(name); }
  // A GGUF's key, its value as it lies in the file.
  void key(const std::string& name, std::string_view value);
  // A parameter that the format has no place for, and that its readers do without.
  void leave_out(const std::string& name) { left_out_.push_back(name); }

  // {"weights": {layer: digest}, "inputs": {layer: how they are rounded}, "tensors": {name: digest},
  // "stored": [name], "keys": {name: SHA-256}, "left_out": [name]}
  Json to_json() const;

 private:
  Json weights_ = Json::object(), inputs_ = Json::object(), tensors_ = Json::object(), keys_ = Json::object(),
       stored_ = Json::array(), left_out_ = Json::array();
};

// The rows of a weight in turn, [n, columns] fp32 from row `first` on, contiguous, on the CPU: a head is not
// decoded as a whole.
void for_each_part(const WeightRep& weight,
                   const std::function<void(std::int64_t first, const at::Tensor& rows)>& take);

// Of the values in fp32: SHA-256 of the SHA-256s of pieces of as many rows as 65,536 values have room for
// (one at least; rows are a tensor's first axis), which all threads make.
std::string digest_of(const WeightRep& weight);
std::string digest_of(const at::Tensor& tensor);

// "int8, a scale for each token"; empty where inputs are not rounded.
std::string describe_inputs(const WeightRep& weight);

struct ExportInput {
  const Model& model;
  const FileTree& source;  // the files that the model was loaded from: tokenizer, licence, model card
  const Params& params;
  std::string name;              // of the model, for names of files
  std::filesystem::path folder;  // exists, and holds nothing
  std::string field;             // of the format, for messages: "to", "exports[0]"
};

// Exporters register themselves under the name of their spec. Throws Error naming parameter or layer where
// the format cannot express the model.
using Exporter = void (*)(const ExportInput& input, Claims& claims);
// What can be said before the model is compressed, of its architecture, its tokenizer and the parameters;
// `folder` is empty then. Throws as the exporter does.
using ExportCheck = void (*)(const ExportInput& input);
bool register_exporter(const char* name, Exporter exporter, ExportCheck check = nullptr);
Exporter find_exporter(const std::string& name);         // throws kUnimplemented "UNKNOWN_FORMAT"
ExportCheck find_export_check(const std::string& name);  // nullptr where there is none

#define WRING_EXPORTER(name, function, ...)           \
  [[maybe_unused]] const bool registered_##function = \
      ::wring::register_exporter(name, function __VA_OPT__(, ) __VA_ARGS__)

// What exporters of safetensors folders share.

// Throws Error(kInvalidArgument, "NOT_EXPRESSIBLE") where transformers' class of the model's type cannot hold
// its shapes or biases; `format` is for the message. The first thing that such an exporter does.
void check_architecture(const Model& model, const std::string& format);

// The tensors of such a folder in order, each claimed as it is added.
class TensorFolder {
 public:
  explicit TensorFolder(Claims& claims) : claims_(claims) {}

  // A layer's weight as plain values of `dtype`, decoded when its turn comes.
  void plain(const Layer& layer, at::ScalarType dtype);
  // A layer's weight in tensors of the format's own, which stand for `meant`.
  void packed(const Layer& layer, const WeightRep& meant, const std::vector<NamedTensor>& tensors);
  // Biases of all layers and all other parameters, in `dtype`; zeros where transformers' class has a bias
  // that the model lacks.
  void rest(const Model& model, at::ScalarType dtype);

  void write(const std::filesystem::path& folder, std::uint64_t shard_bytes) const;

 private:
  void add(TensorToWrite tensor);
  Claims& claims_;
  std::vector<TensorToWrite> tensors_;
};

at::ScalarType export_dtype(const std::string& name);  // "float32", "bfloat16", "float16"
std::string dtype_name(at::ScalarType dtype);

// config.json, with `dtype`, which biases there are and, where there is one, the quantization_config; and
// what travels with a model.
void write_config(const ExportInput& input, at::ScalarType dtype, const Json& quantization);

}  // namespace wring
