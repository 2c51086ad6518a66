// Looking up inputs and attributes of a node; what is missing or of the wrong kind is named.
#include "engine/graph/call.h"

#include <algorithm>

#include "common/error.h"

namespace wring {

std::string describe(const OnnxNode& node) {
  return (node.domain.empty() ? "" : node.domain + ".") + node.operation;
}

std::vector<std::int64_t> to_integers(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.to(at::kCPU, at::kLong).contiguous();
  const auto* data = plain.const_data_ptr<std::int64_t>();
  return {data, data + plain.numel()};
}

void Call::refuse(const std::string& why) const {
  throw Error(ErrorCode::kInvalidArgument, "BAD_NODE", describe(node_) + ": " + why, node_.name);
}

void Call::unsupported(const std::string& what) const {
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_NODE",
              describe(node_) + ": " + what + " is not supported", node_.name);
}

at::Tensor Call::input(std::size_t i) const {
  if (has_input(i)) return inputs_[i];
  throw Error(ErrorCode::kInvalidArgument, "MISSING_INPUT",
              describe(node_) + ": its input " + std::to_string(i) + " is left out", node_.name);
}

at::Tensor Call::optional_input(std::size_t i) const {
  return has_input(i) ? inputs_[i] : at::Tensor();
}

std::optional<std::vector<std::int64_t>> Call::integers_of(std::size_t i) const {
  if (!has_input(i)) return std::nullopt;
  if (at::isFloatingType(inputs_[i].scalar_type()))
    refuse("its input " + std::to_string(i) + " must be integers");
  return to_integers(inputs_[i]);
}

at::Scalar Call::scalar_of(std::size_t i) const {
  const at::Tensor value = input(i);
  if (value.numel() != 1) refuse("its input " + std::to_string(i) + " must be one number");
  return value.item();
}

template <typename T>
const T* Call::find(const char* name) const {
  const auto* attribute = node_.find(name);
  if (!attribute) return nullptr;
  if (const auto* value = std::get_if<T>(&attribute->value)) return value;
  throw Error(ErrorCode::kInvalidArgument, "BAD_ATTRIBUTE",
              describe(node_) + ": its attribute " + name + " is of another type", node_.name);
}

std::int64_t Call::integer(const char* name) const {
  if (const auto* value = find<std::int64_t>(name)) return *value;
  throw Error(ErrorCode::kInvalidArgument, "BAD_ATTRIBUTE",
              describe(node_) + ": its attribute " + name + " is missing", node_.name);
}

std::int64_t Call::integer(const char* name, std::int64_t fallback) const {
  const auto* value = find<std::int64_t>(name);
  return value ? *value : fallback;
}

double Call::number(const char* name, double fallback) const {
  const auto* value = find<float>(name);
  return value ? *value : fallback;
}

std::string Call::text(const char* name, const char* fallback) const {
  const auto* value = find<std::string>(name);
  return value ? *value : fallback;
}

std::optional<std::vector<std::int64_t>> Call::integers(const char* name) const {
  const auto* value = find<std::vector<std::int64_t>>(name);
  return value ? std::optional(*value) : std::nullopt;
}

std::vector<std::string> Call::texts(const char* name) const {
  const auto* value = find<std::vector<std::string>>(name);
  return value ? *value : std::vector<std::string>();
}

const OnnxTensor* Call::tensor(const char* name) const {
  return find<OnnxTensor>(name);
}

std::optional<std::vector<std::int64_t>> Call::integers(const char* name, std::size_t i) const {
  const auto given = integers(name);
  return given ? given : integers_of(i);
}

std::int64_t Call::axis(std::int64_t axis, std::int64_t rank) const {
  if (axis < -rank || axis >= std::max<std::int64_t>(rank, 1))
    refuse("axis " + std::to_string(axis) + " of a tensor of " + std::to_string(rank) + " dimensions");
  return axis < 0 ? axis + rank : axis;
}

Tensors Call::branch(const char* name) const {
  const auto* graph = find<std::shared_ptr<OnnxGraph>>(name);
  if (!graph) refuse(std::string("its graph ") + name + " is missing");
  return branch_(**graph);
}

}  // namespace wring
