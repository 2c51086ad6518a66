// The parts of a model that all families share, and the table of families.
#include "engine/model/model.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/text.h"

namespace wring {
namespace {

void check_finite_tensor(const at::Tensor& values, const std::string& name) {
  if (!values.defined() || !values.is_floating_point()) return;
  if (!at::isfinite(values.sum(at::kDouble)).item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the tensor holds NaN or infinity", name,
                "The model's file is damaged, or its training diverged.");
}

// In pieces, so that a head is never decoded as a whole.
void check_finite_weight(const WeightRep& weight, const std::string& name) {
  constexpr std::int64_t kRowsAtOnce = 16384;
  if (weight.rows() <= kRowsAtOnce) return check_finite_tensor(weight.decode(at::kFloat), name);
  for (std::int64_t first = 0; first < weight.rows(); first += kRowsAtOnce) {
    const auto rows = at::arange(first, std::min(first + kRowsAtOnce, weight.rows()), at::kLong);
    check_finite_tensor(weight.decode_rows(rows, at::kFloat), name);
  }
}

}  // namespace

std::int64_t Model::hidden_size() const {
  return json_at<std::int64_t>(config_, "hidden_size", "config.json");
}
std::int64_t Model::vocabulary_size() const {
  return json_at<std::int64_t>(config_, "vocab_size", "config.json");
}

void Model::compute_on(at::Device device) {
  device_ = device;
  for (auto& layer : layers_) layer.compute_on(device);
  for (auto& parameter : parameters_) parameter.value = parameter.value.to(device);
}

std::vector<Layer*> Model::layers() {
  std::vector<Layer*> all;
  for (auto& layer : layers_) all.push_back(&layer);
  return all;
}

std::vector<const Layer*> Model::layers() const {
  std::vector<const Layer*> all;
  for (const auto& layer : layers_) all.push_back(&layer);
  return all;
}

Layer* Model::find_layer(std::string_view name) {
  const auto it =
      std::find_if(layers_.begin(), layers_.end(), [&](const Layer& l) { return l.name() == name; });
  return it == layers_.end() ? nullptr : &*it;
}

Parameter* Model::find_parameter(std::string_view name) {
  const auto it = std::find_if(parameters_.begin(), parameters_.end(),
                               [&](const Parameter& p) { return p.name == name; });
  return it == parameters_.end() ? nullptr : &*it;
}

std::vector<ScalableTap> Model::scalable_taps(std::size_t) {
  return {};
}

at::Tensor Model::forward(const at::Tensor& ids, const ForwardContext& context) const {
  at::Tensor hidden = embed(ids, at::kFloat);
  for (std::size_t block = 0; block < block_count(); ++block) hidden = run_block(block, hidden, context);
  return head(final_norm(hidden), context.observer);
}

void Model::check_finite() const {
  for (const auto& parameter : parameters_) check_finite_tensor(parameter.value, parameter.name);
  for (const auto& layer : layers_) {
    check_finite_weight(layer.weight(), layer.name() + ".weight");
    check_finite_tensor(layer.bias(), layer.name() + ".bias");
  }
}

std::uint64_t Model::parameter_count() const {
  std::uint64_t count = 0;
  for (const auto& layer : layers_) {
    count += static_cast<std::uint64_t>(layer.weight().parameters());
    if (layer.bias().defined()) count += static_cast<std::uint64_t>(layer.bias().numel());
  }
  for (const auto& parameter : parameters_) count += static_cast<std::uint64_t>(parameter.value.numel());
  return count;
}

std::uint64_t Model::stored_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& layer : layers_) {
    bytes += layer.weight().stored_bytes();
    if (layer.bias().defined()) bytes += layer.bias().nbytes();
  }
  for (const auto& parameter : parameters_) bytes += parameter.value.nbytes();
  return bytes;
}

Layer& Model::add_layer(Layer layer) {
  return layers_.emplace_back(std::move(layer));
}
Parameter& Model::add_parameter(Parameter parameter) {
  return parameters_.emplace_back(std::move(parameter));
}

Parameter& Model::add_residual_vector(const std::string& name, const TensorSource& tensors,
                                      std::int64_t width) {
  at::Tensor value = tensors.tensor(name);
  if (value.dim() != 1 || value.size(0) != width)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "is not [" + std::to_string(width) + "]", name,
                "hidden_size of config.json says how many.");
  return add_parameter({name, std::move(value), {"residual"}});
}

namespace {

std::map<std::string, FamilyFactory>& families() {
  static std::map<std::string, FamilyFactory> table;
  return table;
}

}  // namespace

bool register_family(const std::vector<std::string>& model_types, FamilyFactory factory) {
  for (const auto& type : model_types) families().emplace(type, factory);
  return true;
}

std::vector<std::string> supported_model_types() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : families()) names.push_back(name);
  return names;
}

std::unique_ptr<Model> make_model(Json config, const TensorSource& tensors) {
  const auto type = json_at<std::string>(config, "model_type", "config.json");
  const auto it = families().find(type);
  if (it == families().end()) {
    const auto names = supported_model_types();
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
                "model family '" + type.substr(0, 80) + "' is not supported", "config.json.model_type",
                "Supported: " + join(names, ", ") + ".");
  }
  return it->second(std::move(config), tensors);
}

}  // namespace wring
