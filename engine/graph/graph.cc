// Runs a graph node by node, lets values go after their last reader, and says which node could not compute.
#include "engine/graph/graph.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>
#include <new>
#include <set>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "engine/graph/normal_form.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/graph/own_initializer.h"
#include "engine/graph/roles.h"

namespace wring {

// Values that nodes of one graph have made, and the scope of the node that holds the graph.
class Graph::Scope {
 public:
  explicit Scope(const Scope* outer) : outer_(outer) {}

  void set(const std::string& name, at::Tensor value) { values_[name] = std::move(value); }
  void drop(const std::string& name) { values_.erase(name); }
  const at::Tensor& at(const std::string& name) const {
    const auto it = values_.find(name);
    if (it != values_.end()) return it->second;
    if (!outer_) throw Error(ErrorCode::kInternal, "INTERNAL", "a value that the graph's order missed", name);
    return outer_->at(name);
  }

 private:
  const Scope* outer_;
  std::unordered_map<std::string, at::Tensor> values_;
};

namespace {

constexpr std::int64_t kFewIntegers = 256;

std::string describe_shape(const at::Tensor& tensor) {
  std::ostringstream text;
  text << at::toString(tensor.scalar_type()) << tensor.sizes();
  return text.str();
}

std::string describe_inputs(const Tensors& inputs) {
  std::string text;
  for (const auto& input : inputs)
    text += (text.empty() ? "" : ", ") + (input.defined() ? describe_shape(input) : std::string("-"));
  return text;
}

std::string first_line(const char* text) {
  const std::string_view whole = text;
  return std::string(whole.substr(0, whole.find('\n')));
}

std::string describe_shape(const OnnxValue& value) {
  std::string text;
  for (const auto& dimension : *value.shape)
    text += (text.empty() ? "" : ", ") + (dimension.size             ? std::to_string(*dimension.size)
                                          : dimension.symbol.empty() ? "?"
                                                                     : dimension.symbol);
  return "[" + text + "]";
}

constexpr std::int64_t kInitializersAlone = 4;  // the IR version from which they need not be inputs, too

void check_numbers(const OnnxTensor& file, const at::Tensor& tensor) {
  if (at::isFloatingType(tensor.scalar_type()) && at::isnan(tensor.to(at::kFloat)).any().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the tensor holds NaN", file.name);
}

// The names each node is the last to read, its own outputs that nobody reads included.
std::vector<std::vector<std::string>> last_reads(const OnnxGraph& graph) {
  std::map<std::string, std::size_t> last;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const auto& name : graph.nodes[i].outputs) last[name] = i;
    for (const auto& name : graph.nodes[i].inputs) last[name] = i;
    for (const auto& name : captured_names(graph.nodes[i])) last[name] = i;
  }
  for (const auto& output : graph.outputs) last.erase(output.name);
  std::vector<std::vector<std::string>> names(graph.nodes.size());
  for (const auto& [name, node] : last) names[node].push_back(name);
  return names;
}

// The storages of values that have a name, each counted once; those that were there before are not.
class AliveBytes {
 public:
  void ignore(const at::Tensor& value) { ignored_.insert(storage_of(value)); }
  void add(const std::string& name, const at::Tensor& value) {
    drop(name);
    const void* storage = storage_of(value);
    if (!storage || ignored_.contains(storage)) return;
    named_[name] = storage;
    Use& use = uses_[storage];
    if (use.names++ == 0) bytes_ += use.bytes = value.storage().nbytes();
  }
  void drop(const std::string& name) {
    const auto it = named_.find(name);
    if (it == named_.end()) return;
    const auto use = uses_.find(it->second);
    if (--use->second.names == 0) {
      bytes_ -= use->second.bytes;
      uses_.erase(use);
    }
    named_.erase(it);
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Use {
    int names = 0;
    std::uint64_t bytes = 0;
  };
  static const void* storage_of(const at::Tensor& value) {
    return value.defined() && value.has_storage() ? value.storage().unsafeGetStorageImpl() : nullptr;
  }

  std::set<const void*> ignored_;
  std::unordered_map<std::string, const void*> named_;
  std::unordered_map<const void*, Use> uses_;
  std::uint64_t bytes_ = 0;
};

// Graphs inside nodes are shared by copies of a model, and bring_to_normal_form() changes them.
void own_inner_graphs(OnnxGraph& graph) {
  for (auto& node : graph.nodes)
    for (auto& attribute : node.attributes)
      if (auto* inner = std::get_if<std::shared_ptr<OnnxGraph>>(&attribute.value)) {
        *inner = std::make_shared<OnnxGraph>(**inner);
        own_inner_graphs(**inner);
      }
}

}  // namespace

std::string name_of(const OnnxNode& node) {
  return node.name.empty() ? node.outputs.front() : node.name;
}

Graph::Graph(OnnxModel model) : model_(std::move(model)) {
  own_inner_graphs(model_.graph);
  bring_to_normal_form(model_.graph, opset());
  model_.ir_version = std::max(model_.ir_version, kInitializersAlone);
  own_running_statistics(model_.graph);
  inputs_ = model_.graph.inputs;
  take_initializers();
  add_plan(model_.graph);
}

void Graph::take_initializers() {
  const auto roles = initializer_roles(model_.graph);
  for (auto& file : model_.graph.initializers) {
    at::Tensor tensor = to_tensor(file, file.name);
    check_numbers(file, tensor);
    file.data = {};
    const auto it = roles.find(file.name);
    const InitializerRole role = it == roles.end() ? InitializerRole{} : it->second;
    const bool trained = at::isFloatingType(tensor.scalar_type()) && !role.fixed && tensor.dim() > 0 &&
                         (role.weight || tensor.numel() > 1);
    if (trained)
      parameters_.push_back({file.name, tensor, std::vector<std::string>(file.shape.size())});
    else
      constants_[file.name] = tensor;
    if (role.weight && !role.fixed && at::isIntegralType(tensor.scalar_type(), false))
      code_counts_[file.name] = static_cast<std::uint64_t>(tensor.numel() * role.codes_a_byte);
  }
}

void Graph::add_plan(const OnnxGraph& graph) {
  Plan& plan = plans_[&graph];
  auto reads = last_reads(graph);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    plan.steps.push_back({&graph.nodes[i], find_operator(graph.nodes[i]), std::move(reads[i])});
  if (&graph != &model_.graph)
    for (const auto& tensor : graph.initializers) {
      at::Tensor value = to_tensor(tensor, tensor.name);
      check_numbers(tensor, value);
      plan.constants[tensor.name] = std::move(value);
    }
  for (const auto& node : graph.nodes)
    for (const auto& attribute : node.attributes)
      if (const auto* inner = std::get_if<std::shared_ptr<OnnxGraph>>(&attribute.value)) add_plan(**inner);
}

at::Tensor* Graph::find_tensor(const std::string& name) {
  for (auto& parameter : parameters_)
    if (parameter.name == name) return &parameter.value;
  const auto it = constants_.find(name);
  return it == constants_.end() ? nullptr : &it->second;
}

std::uint64_t Graph::parameter_count() const {
  std::uint64_t count = 0;
  for (const auto& [name, codes] : code_counts_) count += codes;
  for (const auto& parameter : parameters_) count += static_cast<std::uint64_t>(parameter.value.numel());
  return count;
}

std::vector<std::uint64_t> Graph::parameter_counts() const {
  auto unread = code_counts_;
  for (const auto& parameter : parameters_)
    unread[parameter.name] = static_cast<std::uint64_t>(parameter.value.numel());
  std::vector<std::uint64_t> counts;
  for (const auto& node : nodes().nodes) {
    counts.push_back(0);
    const auto read = [&](const std::string& name) {
      if (const auto it = unread.find(name); it != unread.end())
        counts.back() += std::exchange(it->second, 0);
    };
    for (const auto& name : node.inputs) read(name);
    for (const auto& name : captured_names(node)) read(name);
  }
  return counts;
}

void Graph::compute_on(at::Device device) {
  device_ = device;
  for (auto& parameter : parameters_) parameter.value = parameter.value.to(device);
  for (auto& [name, value] : constants_) value = value.to(device);
  for (auto& [graph, plan] : plans_)
    for (auto& [name, value] : plan.constants) value = value.to(device);
}

void Graph::track_gradients(bool on) {
  for (auto& parameter : parameters_) parameter.value = parameter.value.detach().set_requires_grad(on);
}

void Graph::check_input(const OnnxValue& input, const at::Tensor& value) const {
  const auto type = scalar_type(*input.type, input.name);
  if (value.scalar_type() != type)
    throw Error(ErrorCode::kInvalidArgument, "DTYPE_MISMATCH",
                "the graph's input is " + std::string(onnx_type_name(*input.type)) + ", and was given " +
                    describe_shape(value),
                input.name);
  if (!input.shape) return;
  bool fits = input.shape->size() == static_cast<std::size_t>(value.dim());
  for (std::size_t i = 0; fits && i < input.shape->size(); ++i)
    fits = (*input.shape)[i].size.value_or(value.size(static_cast<std::int64_t>(i))) ==
           value.size(static_cast<std::int64_t>(i));
  if (!fits)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH",
                "the graph's input is " + describe_shape(input) + ", and was given " + describe_shape(value),
                input.name);
}

void Graph::give_inputs(const NamedValues& inputs, Scope& scope) const {
  for (const auto& [name, value] : constants_) scope.set(name, value);
  for (const auto& parameter : parameters_) scope.set(parameter.name, parameter.value);
  for (const auto& input : inputs_) {
    const auto it = inputs.find(input.name);
    if (it == inputs.end())
      throw Error(ErrorCode::kInvalidArgument, "MISSING_INPUT", "the graph's input was not given",
                  input.name);
    check_input(input, it->second);
    scope.set(input.name, it->second.to(device_));
  }
}

NamedValues Graph::run(const NamedValues& inputs, GraphMode mode) const {
  Scope scope(nullptr);
  give_inputs(inputs, scope);
  const Tensors values = run_graph(model_.graph, scope, mode, {});
  NamedValues made;
  for (std::size_t i = 0; i < values.size(); ++i) made[outputs()[i].name] = values[i];
  return made;
}

void Graph::observe(const NamedValues& inputs, const Observer& observer) const {
  const c10::NoGradGuard no_grad;
  Scope scope(nullptr);
  give_inputs(inputs, scope);
  run_graph(model_.graph, scope, GraphMode::kInference, observer);
}

std::map<std::string, TracedValue> Graph::trace(const NamedValues& inputs) const {
  const c10::NoGradGuard no_grad;
  Scope scope(nullptr);
  give_inputs(inputs, scope);
  std::map<std::string, TracedValue> traced;
  const auto note = [&](const std::string& name) {
    if (name.empty()) return;
    const at::Tensor& value = scope.at(name);
    TracedValue& entry = traced[name];
    entry.sizes = value.sizes().vec();
    if (value.numel() <= kFewIntegers && at::isIntegralType(value.scalar_type(), true))
      entry.integers = to_integers(value);
    if (value.numel() == 1) entry.number = value.to(at::kCPU, at::kDouble).item<double>();
  };
  for (const auto& tensor : model_.graph.initializers) note(tensor.name);
  for (const auto& input : inputs_) note(input.name);
  for (const auto& step : plans_.at(&model_.graph).steps) {
    run_step(step, scope, GraphMode::kInference, {});
    for (const auto& name : step.node->outputs) note(name);
    for (const auto& name : step.last_read) scope.drop(name);
  }
  return traced;
}

std::vector<NodeCost> Graph::measure(const NamedValues& inputs) const {
  const c10::NoGradGuard no_grad;
  Scope scope(nullptr);
  give_inputs(inputs, scope);
  AliveBytes alive;
  for (const auto& [name, value] : constants_) alive.ignore(value);
  for (const auto& parameter : parameters_) alive.ignore(parameter.value);
  for (const auto& input : inputs_) alive.add(input.name, scope.at(input.name));
  std::vector<NodeCost> costs;
  for (const auto& step : plans_.at(&model_.graph).steps) {
    const Stopwatch watch;
    run_step(step, scope, GraphMode::kInference, {});
    const double seconds = watch.seconds();
    const OnnxNode& node = *step.node;
    for (const auto& name : node.outputs)
      if (!name.empty()) alive.add(name, scope.at(name));
    costs.push_back({name_of(node), node.operation, seconds, alive.bytes()});
    for (const auto& name : step.last_read) {
      scope.drop(name);
      alive.drop(name);
    }
  }
  return costs;
}

Tensors Graph::run_graph(const OnnxGraph& graph, Scope& scope, GraphMode mode,
                         const Observer& observer) const {
  const Plan& plan = plans_.at(&graph);
  for (const auto& [name, value] : plan.constants) scope.set(name, value);
  for (const auto& step : plan.steps) {
    run_step(step, scope, mode, observer);
    for (const auto& name : step.last_read) scope.drop(name);
  }
  Tensors outputs;
  for (const auto& output : graph.outputs) outputs.push_back(scope.at(output.name));
  return outputs;
}

void Graph::run_step(const Step& step, Scope& scope, GraphMode mode, const Observer& observer) const {
  const OnnxNode& node = *step.node;
  Tensors inputs;
  for (const auto& name : node.inputs) inputs.push_back(name.empty() ? at::Tensor() : scope.at(name));
  const Call::Branch branch = [&](const OnnxGraph& graph) {
    Scope inner(&scope);
    return run_graph(graph, inner, mode, observer);
  };
  Tensors outputs;
  try {
    outputs = step.compute(Call(node, opset(), mode == GraphMode::kTraining, inputs, branch));
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kResourceExhausted, "OUT_OF_MEMORY",
                describe(node) + " of " + describe_inputs(inputs) + ": no memory for its values", node.name);
  } catch (const c10::Error& error) {
    throw Error(
        ErrorCode::kInvalidArgument, "BAD_NODE",
        describe(node) + " of " + describe_inputs(inputs) + ": " + first_line(error.what_without_backtrace()),
        node.name);
  }
  if (outputs.size() < node.outputs.size())
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_NODE",
                describe(node) + ": its output " + std::to_string(outputs.size()) + " is not supported",
                node.name);
  if (observer) observer(node, inputs, outputs);
  for (std::size_t i = 0; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty()) scope.set(node.outputs[i], std::move(outputs[i]));
}

OnnxModel Graph::to_onnx() const {
  OnnxModel model = model_;
  NamedValues tensors = constants_;
  for (const auto& parameter : parameters_) tensors[parameter.name] = parameter.value;
  for (auto& tensor : model.graph.initializers) tensor = wring::to_onnx(tensor.name, tensors.at(tensor.name));
  return model;
}

}  // namespace wring
