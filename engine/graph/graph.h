// A network as ONNX nodes on named tensors, run by ATen with gradients: the other body of a model.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/graph/call.h"
#include "engine/graph/operator_table.h"
#include "engine/model/model.h"
#include "formats/onnx/onnx.h"

namespace wring {

// How a graph is run. In training dropout drops and batch normalisation takes its statistics from the batch,
// whose running averages it moves.
enum class GraphMode { kInference, kTraining };

// Values by name.
using NamedValues = std::map<std::string, at::Tensor>;

// A value's shape, its elements where they are few integers (a shape, axes, bounds), and the one where it is
// one.
struct TracedValue {
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> integers;
  std::optional<double> number;
};

// A node without a name goes by its first output's.
std::string name_of(const OnnxNode& node);

// What a node took in a run.
struct NodeCost {
  std::string name, operation;  // see name_of()
  double seconds = 0;
  // Of values between the nodes that lie in memory when it ends: what it read and made, and what waits for a
  // later reader. Not parameters and constants, nor what an operator works with inside.
  std::uint64_t alive_bytes = 0;
};

// Not thread-safe in training; several threads may run inference.
class Graph {
 public:
  // Brings the model to normal form. Throws Error as bring_to_normal_form() does, "UNSUPPORTED_DTYPE" for an
  // initializer that ATen has no type for, and "NOT_FINITE" for one that holds NaN.
  explicit Graph(OnnxModel model);
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  std::int64_t opset() const { return model_.opsets.at(""); }
  // In normal form; its initializers are without data, which parameters() and constants() have.
  const OnnxGraph& nodes() const { return model_.graph; }
  // Those that a run must be given: not the ones that an initializer stands in for.
  const std::vector<OnnxValue>& inputs() const { return inputs_; }
  const std::vector<OnnxValue>& outputs() const { return model_.graph.outputs; }

  // What training moves: weights, biases and gains by their place in an operator, and all other float
  // initializers of more than one element, except running statistics. In the file's order; axes have no
  // labels yet.
  const std::list<Parameter>& parameters() const { return parameters_; }
  std::list<Parameter>& parameters() { return parameters_; }
  // All other initializers.
  const NamedValues& constants() const { return constants_; }
  at::Tensor* find_tensor(const std::string& name);  // of both; null where there is none

  // Elements of parameters, and of weights that are stored as integer codes.
  std::uint64_t parameter_count() const;
  // Of each node of nodes() those that no node before it reads, graphs inside it included.
  std::vector<std::uint64_t> parameter_counts() const;

  // Moves parameters and constants; inputs of run() are moved there, outputs stay.
  void compute_on(at::Device device);
  at::Device device() const { return device_; }

  // Makes leaves of the parameters, or ends that.
  void track_gradients(bool on);

  // The graph's outputs. Throws Error(kInvalidArgument) "MISSING_INPUT", "SHAPE_MISMATCH" or "DTYPE_MISMATCH"
  // naming the input; "BAD_NODE" and the like naming the node that cannot compute, with the shapes it was
  // given.
  NamedValues run(const NamedValues& inputs, GraphMode mode = GraphMode::kInference) const;

  // What each value between the nodes comes to for these inputs, the outputs and initializers included; not
  // those of graphs inside nodes.
  std::map<std::string, TracedValue> trace(const NamedValues& inputs) const;

  // A node once it was computed, with what it read and made.
  using Observer = std::function<void(const OnnxNode&, const Tensors& inputs, const Tensors& outputs)>;
  // Runs the graph for these inputs; nodes of a graph inside a node are told of before that one.
  void observe(const NamedValues& inputs, const Observer& observer) const;

  // Runs the graph for these inputs, and tells of each node in order; a value that is a view of another one
  // takes nothing. On a device that computes beside the program a node's time is that of its launch.
  std::vector<NodeCost> measure(const NamedValues& inputs) const;

  // The graph with its tensors as they are now, to be written.
  OnnxModel to_onnx() const;

 private:
  struct Step {
    const OnnxNode* node;
    OperatorFunction compute;
    std::vector<std::string> last_read;  // values that nobody reads after this node
  };
  struct Plan {
    std::vector<Step> steps;
    NamedValues constants;  // of graphs inside nodes
  };
  class Scope;

  void add_plan(const OnnxGraph& graph);
  void take_initializers();
  void check_input(const OnnxValue& input, const at::Tensor& value) const;
  void give_inputs(const NamedValues& inputs, Scope& scope) const;
  Tensors run_graph(const OnnxGraph& graph, Scope& scope, GraphMode mode, const Observer& observer) const;
  void run_step(const Step& step, Scope& scope, GraphMode mode, const Observer& observer) const;

  OnnxModel model_;
  std::vector<OnnxValue> inputs_;
  std::list<Parameter> parameters_;
  NamedValues constants_;
  std::map<std::string, std::uint64_t> code_counts_;  // of initializers that hold a weight's integer codes
  std::map<const OnnxGraph*, Plan> plans_;
  at::Device device_ = at::kCPU;
};

}  // namespace wring
