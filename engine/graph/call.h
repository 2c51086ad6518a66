// What an operator sees of the node that it computes: inputs, attributes, and how to refuse them by name.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "formats/onnx/onnx.h"

namespace wring {

using Tensors = std::vector<at::Tensor>;

// Lives for one evaluation of one node. All throws are Error(kInvalidArgument or kUnimplemented) that name
// the node and its operator.
class Call {
 public:
  using Branch =
      std::function<Tensors(const OnnxGraph&)>;  // runs a graph of an attribute, in the node's scope

  Call(const OnnxNode& node, std::int64_t opset, bool training, const Tensors& inputs, const Branch& branch)
      : node_(node), opset_(opset), training_(training), inputs_(inputs), branch_(branch) {}

  std::int64_t opset() const { return opset_; }  // of the model, in the node's domain
  bool training() const { return training_; }
  std::size_t input_count() const { return inputs_.size(); }
  std::size_t output_count() const { return node_.outputs.size(); }
  bool has_input(std::size_t i) const { return i < inputs_.size() && inputs_[i].defined(); }
  const Tensors& inputs() const { return inputs_; }
  at::Tensor input(std::size_t i) const;           // throws "MISSING_INPUT" where it is left out
  at::Tensor optional_input(std::size_t i) const;  // undefined where it is left out
  std::optional<std::vector<std::int64_t>> integers_of(std::size_t i) const;  // of an input; none: left out
  at::Scalar scalar_of(std::size_t i) const;                                  // the one element of an input
  double number_of(std::size_t i) const { return scalar_of(i).toDouble(); }

  std::int64_t integer(const char* name) const;  // throws "BAD_ATTRIBUTE" where it is absent
  std::int64_t integer(const char* name, std::int64_t fallback) const;
  bool flag(const char* name) const { return integer(name, 0) != 0; }
  double number(const char* name, double fallback) const;
  std::string text(const char* name, const char* fallback) const;
  std::optional<std::vector<std::int64_t>> integers(const char* name) const;
  std::vector<std::string> texts(const char* name) const;  // empty where it is absent
  const OnnxTensor* tensor(const char* name) const;        // null where it is absent

  // What older opsets have as an attribute and newer ones as input `i`: whichever is there.
  std::optional<std::vector<std::int64_t>> integers(const char* name, std::size_t i) const;

  // `axis`, counted from the end where it is negative, as 0 to rank - 1.
  std::int64_t axis(std::int64_t axis, std::int64_t rank) const;

  Tensors branch(const char* name) const;

  // Refuses what is wrong with the node, or what is not supported of its operator.
  [[noreturn]] void refuse(const std::string& why) const;
  [[noreturn]] void unsupported(const std::string& what) const;

 private:
  template <typename T>
  const T* find(const char* name) const;

  const OnnxNode& node_;
  std::int64_t opset_;
  bool training_;
  const Tensors& inputs_;
  const Branch& branch_;
};

std::string describe(const OnnxNode& node);  // "Conv", "com.microsoft.MatMulNBits"

// The elements of an integer or bool tensor of any device.
std::vector<std::int64_t> to_integers(const at::Tensor& tensor);

}  // namespace wring
