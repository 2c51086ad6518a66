// Names, types and domains.
#include "engine/export/onnx_builder.h"

#include <memory>
#include <utility>

#include "common/json.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/model/onnx_source.h"

namespace wring {
namespace {

constexpr std::int64_t kOpset = 17, kIrVersion = 8;
constexpr char kContributed[] = "com.microsoft";

}  // namespace

OnnxDimension free_size(std::string name) {
  return {std::nullopt, std::move(name)};
}

OnnxDimension fixed_size(std::int64_t size) {
  return {size, ""};
}

std::string OnnxBuilder::input(const std::string& name, at::ScalarType type,
                               std::vector<OnnxDimension> shape) {
  graph_.inputs.push_back({name, onnx_type(type), std::move(shape)});
  return name;
}

void OnnxBuilder::output(const std::string& name, at::ScalarType type, std::vector<OnnxDimension> shape) {
  graph_.outputs.push_back({name, onnx_type(type), std::move(shape)});
}

std::string OnnxBuilder::node(const std::string& operation, std::vector<std::string> inputs,
                              std::vector<OnnxAttribute> attributes, std::string made) {
  OnnxNode node;
  node.operation = operation.substr(operation.rfind('.') + 1);
  if (node.operation != operation) node.domain = operation.substr(0, operation.rfind('.'));
  contributed_ = contributed_ || node.domain == kContributed;
  node.name = scope_ + "/" + node.operation;
  if (const int count = counts_[node.name]++; count > 0) node.name += "_" + std::to_string(count);
  node.inputs = std::move(inputs);
  node.outputs = {made.empty() ? node.name + "_output" : std::move(made)};
  node.attributes = std::move(attributes);
  graph_.nodes.push_back(std::move(node));
  return graph_.nodes.back().outputs.front();
}

std::pair<std::string, std::string> OnnxBuilder::halves(const std::string& x, std::int64_t axis) {
  const std::string low = node("Split", {x}, {{"axis", axis}}), high = low + "_1";
  graph_.nodes.back().outputs.push_back(high);
  return {low, high};
}

std::string OnnxBuilder::cast(const std::string& x, at::ScalarType from, at::ScalarType to) {
  return from == to ? x : node("Cast", {x}, {{"to", static_cast<std::int64_t>(onnx_type(to))}});
}

std::string OnnxBuilder::transpose(const std::string& x, std::vector<std::int64_t> order) {
  return node("Transpose", {x}, {{"perm", std::move(order)}});
}

std::string OnnxBuilder::constant(const std::string& name, const at::Tensor& value) {
  return makers_.contains(name) ? name : stored(name, value);
}

std::string OnnxBuilder::integers(const std::vector<std::int64_t>& values) {
  std::string name = "integers";
  for (const auto value : values) name += "_" + std::to_string(value);
  return constant(name, at::tensor(at::ArrayRef<std::int64_t>(values), at::kLong));
}

std::string OnnxBuilder::integer(std::int64_t value) {
  return constant("integer_" + std::to_string(value), at::scalar_tensor(value, at::kLong));
}

std::string OnnxBuilder::byte(std::uint8_t value) {
  return constant("byte_" + std::to_string(value), at::scalar_tensor(value, at::kByte));
}

std::string OnnxBuilder::number(double value, at::ScalarType type) {
  return constant(dtype_name(type) + "_" + Json(value).dump(), at::scalar_tensor(value, type));
}

std::string OnnxBuilder::stored(const std::string& name, at::ScalarType type, std::vector<std::int64_t> shape,
                                std::function<at::Tensor()> make) {
  OnnxTensor tensor{name, onnx_type(type), std::move(shape), {}};
  claims_.stored(name);
  graph_.initializers.push_back(std::move(tensor));
  makers_[name] = std::move(make);
  return name;
}

std::string OnnxBuilder::stored(const std::string& name, const at::Tensor& value) {
  return stored(name, value.scalar_type(), value.sizes().vec(), [value] { return value; });
}

std::string OnnxBuilder::parameter(const std::string& name, const at::Tensor& held, at::ScalarType type,
                                   bool transposed) {
  const std::string stored_name = name + (transposed ? kTransposed : "");
  if (makers_.contains(stored_name)) return stored_name;
  const at::Tensor meant = held.to(at::kCPU, type);
  claims_.tensor(name, held, meant);
  return stored(stored_name, transposed ? meant.t().contiguous() : meant);
}

bool OnnxBuilder::holds(const std::string& name) const {
  return makers_.contains(name) || makers_.contains(name + kTransposed);
}

void OnnxBuilder::write(const std::filesystem::path& file, std::uint64_t inline_bytes) {
  OnnxModel model;
  model.ir_version = kIrVersion;
  model.producer = "wring";
  model.opsets[""] = kOpset;
  if (contributed_) model.opsets[kContributed] = 1;
  graph_.name = "model";
  model.graph = graph_;
  write_onnx(file, model, inline_bytes, Durability::kMachine,
             [&](const OnnxTensor& tensor) { return to_onnx(tensor.name, makers_.at(tensor.name)()).data; });
}

}  // namespace wring
