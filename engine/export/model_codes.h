// The codes that a model's layers round their inputs to, given to an exported graph in place of its own: so
// nothing hangs on which way a value falls that lies between two codes.
#pragma once

#include <map>
#include <set>
#include <string>

#include "engine/graph/graph.h"
#include "engine/model/model.h"

namespace wring {

class ModelCodes final : public InputObserver {
 public:
  // Throws Error(kUnimplemented, "FORMAT_VERSION") where a layer rounds its inputs, and the graph has no name
  // for their codes.
  ModelCodes(const OnnxModel& onnx, const Model& model);

  // Has the graph read codes that are given. Its own, and the values that it makes them of, become outputs.
  void replace_in(OnnxGraph& graph);
  bool added(const std::string& output) const { return outputs_.contains(output); }

  // Notes what the model rounds, of two sequences.
  void on_input(const Layer& layer, const at::Tensor& x) override;

  // Of `count` positions from the `first`.
  void give(NamedValues& inputs, std::int64_t first, std::int64_t count) const;

  // Holds what the graph rounds to the model's inputs, within `most` of their root mean square, and its codes
  // to those of what it rounds, where `mask` has a token. Throws Error(kInternal, "EXPORT_DIFFERS").
  void compare(const NamedValues& found, const at::Tensor& mask, std::int64_t first, std::int64_t count,
               double most) const;

 private:
  struct Input {
    std::string layer;  // that rounds it, the first
    InputRounding rounding;
    std::string rounded;  // the graph's value
    at::Tensor x;         // the model's: [rows, in] fp32
  };

  std::map<const Layer*, std::string> names_;
  std::map<std::string, Input> inputs_;  // by the codes' names
  std::set<std::string> outputs_;
};

[[noreturn]] void throw_export_differs(const std::string& name, const std::string& what);

}  // namespace wring
