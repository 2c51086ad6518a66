// An ONNX graph as it is put together: nodes, constants, and a model's tensors, which are made when they are
// written.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/export/exporter.h"
#include "formats/onnx/onnx.h"

namespace wring {

// Sizes by name ("batch_size"), or as numbers.
OnnxDimension free_size(std::string name);
OnnxDimension fixed_size(std::int64_t size);

// Values are named by strings, as in the file. Opset 17.
class OnnxBuilder {
 public:
  // `work`: what products are computed in, fp32 or fp16.
  OnnxBuilder(at::ScalarType work, Claims& claims) : work_(work), claims_(claims) {}

  at::ScalarType work() const { return work_; }

  // Of the nodes that follow: what their names begin with.
  void enter(const std::string& scope) { scope_ = scope; }

  std::string input(const std::string& name, at::ScalarType type, std::vector<OnnxDimension> shape);
  void output(const std::string& name, at::ScalarType type, std::vector<OnnxDimension> shape);

  // Adds a node; returns the name of its output: `made`, or one of its own. "com.microsoft.X" is in that
  // domain.
  std::string node(const std::string& operation, std::vector<std::string> inputs,
                   std::vector<OnnxAttribute> attributes = {}, std::string made = "");
  std::pair<std::string, std::string> halves(const std::string& x, std::int64_t axis);
  std::string cast(const std::string& x, at::ScalarType from, at::ScalarType to);
  std::string add(const std::string& a, const std::string& b) { return node("Add", {a, b}); }
  std::string multiply(const std::string& a, const std::string& b) { return node("Mul", {a, b}); }
  std::string reshape(const std::string& x, const std::vector<std::int64_t>& sizes) {
    return node("Reshape", {x, integers(sizes)});
  }
  std::string transpose(const std::string& x, std::vector<std::int64_t> order);

  // Constants, one for all that are equal.
  std::string integers(const std::vector<std::int64_t>& values);
  std::string integer(std::int64_t value);
  std::string byte(std::uint8_t value);
  std::string number(double value, at::ScalarType type = at::kFloat);

  // An initializer that `make` gives when the file is written: of this type and shape.
  std::string stored(const std::string& name, at::ScalarType type, std::vector<std::int64_t> shape,
                     std::function<at::Tensor()> make);
  std::string stored(const std::string& name, const at::Tensor& value);

  // A parameter of the model, claimed: as `type`, perhaps transposed (its name says so). Once a name.
  std::string parameter(const std::string& name, const at::Tensor& held, at::ScalarType type,
                        bool transposed = false);

  // Whether the parameter is in the graph.
  bool holds(const std::string& name) const;

  void write(const std::filesystem::path& file, std::uint64_t inline_bytes);

 private:
  std::string constant(const std::string& name, const at::Tensor& value);

  at::ScalarType work_;
  Claims& claims_;
  OnnxGraph graph_;
  std::string scope_;
  std::map<std::string, int> counts_;  // nodes of a scope and operation
  std::map<std::string, std::function<at::Tensor()>> makers_;
  bool contributed_ = false;  // whether a node is in onnxruntime's own domain
};

}  // namespace wring
