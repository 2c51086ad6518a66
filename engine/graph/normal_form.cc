// Lifts constants, checks who makes which value, and sorts nodes (Kahn 1962) without moving what stands
// right.
#include "engine/graph/normal_form.h"

#include <algorithm>
#include <functional>
#include <map>
#include <queue>
#include <utility>
#include <vector>

#include "common/error.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/graph/operator_table.h"
#include "engine/graph/own_initializer.h"
#include "engine/graph/sequences.h"
#include "engine/graph/small_nodes.h"

namespace wring {
namespace {

using Names = std::set<std::string>;
using NamedIntegers = std::map<std::string, at::Tensor>;

constexpr std::int64_t kFoldedElements = 256;

[[noreturn]] void bad_graph(const std::string& field, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_GRAPH", why, field);
}

void add_free_names(const OnnxGraph& graph, Names& names) {
  Names own;
  for (const auto& tensor : graph.initializers) own.insert(tensor.name);
  for (const auto& input : graph.inputs) own.insert(input.name);
  for (const auto& node : graph.nodes) own.insert(node.outputs.begin(), node.outputs.end());
  const auto add = [&](const std::string& name) {
    if (!name.empty() && !own.contains(name)) names.insert(name);
  };
  for (const auto& node : graph.nodes) {
    std::for_each(node.inputs.begin(), node.inputs.end(), add);
    const Names captured = captured_names(node);
    std::for_each(captured.begin(), captured.end(), add);
  }
  for (const auto& output : graph.outputs) add(output.name);
}

OnnxTensor constant_of(const OnnxNode& node) {
  const auto made = [&](const at::Tensor& tensor) { return to_onnx(node.outputs.front(), tensor); };
  if (const auto* value = node.find("value"); value && std::holds_alternative<OnnxTensor>(value->value)) {
    OnnxTensor tensor = std::get<OnnxTensor>(value->value);
    tensor.name = node.outputs.front();
    return tensor;
  }
  for (const auto& attribute : node.attributes) {
    if (const auto* integer = std::get_if<std::int64_t>(&attribute.value))
      return made(at::scalar_tensor(*integer, at::kLong));
    if (const auto* number = std::get_if<float>(&attribute.value))
      return made(at::scalar_tensor(*number, at::kFloat));
    if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&attribute.value))
      return made(at::tensor(at::ArrayRef<std::int64_t>(*integers), at::kLong));
    if (const auto* numbers = std::get_if<std::vector<float>>(&attribute.value))
      return made(at::tensor(at::ArrayRef<float>(*numbers), at::kFloat));
  }
  bad_graph(node.name, "Constant: no value that is a number or a tensor");
}

void lift_constants(OnnxGraph& graph) {
  std::vector<OnnxNode> rest;
  for (auto& node : graph.nodes) {
    if (node.operation == "Constant" && node.domain.empty() && node.outputs.size() == 1)
      graph.initializers.push_back(constant_of(node));
    else
      rest.push_back(std::move(node));
  }
  graph.nodes = std::move(rest);
}

bool are_read(const OnnxGraph& graph, const std::vector<std::string>& names, std::size_t from) {
  return std::any_of(names.begin() + static_cast<std::ptrdiff_t>(std::min(from, names.size())), names.end(),
                     [&](const std::string& name) { return !name.empty() && readers_of(graph, name) > 0; });
}

// Exports of a network in training say so in its nodes: onnxruntime would take the batch's statistics, and
// drop values, for whoever uses them. What is trained here is trained whatever they say.
void leave_training(OnnxGraph& graph) {
  for (auto& node : graph.nodes) {
    if (!node.domain.empty()) continue;
    if (node.operation == "BatchNormalization" && !are_read(graph, node.outputs, 1)) {
      for (auto& attribute : node.attributes)
        if (attribute.name == "training_mode") attribute.value = std::int64_t{0};
      node.outputs.resize(1);
    }
    if (node.operation == "Dropout" && node.inputs.size() > 2) node.inputs.resize(2);
  }
}

// Before IR version 4 every initializer was listed among the inputs, too, as one that a caller may replace.
void forget_given_inputs(OnnxGraph& graph) {
  Names given;
  for (const auto& tensor : graph.initializers) given.insert(tensor.name);
  std::erase_if(graph.inputs, [&](const OnnxValue& input) { return given.contains(input.name); });
}

// Who makes each value: the index of its node. Initializers and inputs go to `given`.
std::map<std::string, std::size_t> find_makers(const OnnxGraph& graph, Names& given) {
  Names initializers;
  for (const auto& tensor : graph.initializers)
    if (!initializers.insert(tensor.name).second) bad_graph(tensor.name, "two initializers of this name");
  given.insert(initializers.begin(), initializers.end());
  for (const auto& input : graph.inputs) given.insert(input.name);
  std::map<std::string, std::size_t> makers;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    for (const auto& output : graph.nodes[i].outputs) {
      if (output.empty()) continue;
      if (given.contains(output) || !makers.emplace(output, i).second)
        bad_graph(graph.nodes[i].name, "makes " + output + ", which is made already");
    }
  return makers;
}

Names names_read(const OnnxNode& node) {
  Names names = captured_names(node);
  for (const auto& input : node.inputs)
    if (!input.empty()) names.insert(input);
  return names;
}

// For each node the nodes whose values it reads.
std::vector<std::set<std::size_t>> find_sources(const OnnxGraph& graph, const Names& given,
                                                const std::map<std::string, std::size_t>& makers) {
  std::vector<std::set<std::size_t>> sources(graph.nodes.size());
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    for (const auto& name : names_read(graph.nodes[i])) {
      if (const auto it = makers.find(name); it != makers.end())
        sources[i].insert(it->second);
      else if (!given.contains(name))
        bad_graph(graph.nodes[i].name, describe(graph.nodes[i]) + ": reads " + name + ", which nobody makes");
    }
  for (const auto& output : graph.outputs)
    if (!makers.contains(output.name) && !given.contains(output.name))
      bad_graph(output.name, "an output that nobody makes");
  return sources;
}

// Follows sources that are not `done` until a node comes again.
[[noreturn]] void refuse_cycle(const OnnxGraph& graph, const std::vector<std::set<std::size_t>>& sources,
                               const std::vector<bool>& done) {
  std::vector<std::size_t> path;
  auto at = static_cast<std::size_t>(std::find(done.begin(), done.end(), false) - done.begin());
  while (std::find(path.begin(), path.end(), at) == path.end()) {
    path.push_back(at);
    at = *std::find_if(sources[at].begin(), sources[at].end(), [&](std::size_t i) { return !done[i]; });
  }
  std::string text = graph.nodes[at].name;
  for (auto it = path.rbegin(); it != path.rend() && *it != at; ++it) text += " -> " + graph.nodes[*it].name;
  bad_graph(graph.nodes[at].name, "a cycle of nodes: " + text + " -> " + graph.nodes[at].name);
}

void sort_nodes(OnnxGraph& graph, const std::vector<std::set<std::size_t>>& sources) {
  std::vector<std::vector<std::size_t>> readers(graph.nodes.size());
  std::vector<std::size_t> waiting(graph.nodes.size());
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    waiting[i] = sources[i].size();
    if (waiting[i] == 0) ready.push(i);
    for (const auto source : sources[i]) readers[source].push_back(i);
  }
  std::vector<OnnxNode> sorted;
  std::vector<bool> done(graph.nodes.size());
  while (!ready.empty()) {
    const auto i = ready.top();
    ready.pop();
    done[i] = true;
    for (const auto reader : readers[i])
      if (--waiting[reader] == 0) ready.push(reader);
    sorted.push_back(graph.nodes[i]);
  }
  if (sorted.size() < graph.nodes.size()) refuse_cycle(graph, sources, done);
  graph.nodes = std::move(sorted);
}

// Empty where the node cannot compute: the run will say why.
Tensors compute(const OnnxNode& node, std::int64_t opset, const Tensors& inputs) try {
  const Call::Branch no_branch;
  return find_operator(node)(Call(node, opset, false, inputs, no_branch));
} catch (const Error&) {
  return {};
} catch (const std::exception&) {  // of ATen, or for want of memory
  return {};
}

// Also of sizes whose product would overflow, or is 0 by one of them.
bool is_few(at::IntArrayRef sizes) {
  std::int64_t count = 1;
  return std::all_of(sizes.begin(), sizes.end(), [&](std::int64_t size) {
    count *= size;
    return size <= kFoldedElements && count <= kFoldedElements;
  });
}

// Shapes, axes and bounds: integers, and few of them.
bool is_small_integer(const at::Tensor& tensor) {
  return at::isIntegralType(tensor.scalar_type(), true) && is_few(tensor.sizes());
}

// The node's outputs where all that it reads is known and they are small integers; else none.
Tensors folded(const OnnxNode& node, std::int64_t opset, const NamedIntegers& known) {
  Tensors inputs;
  const auto& made = node.outputs;
  if (node.inputs.empty() || node.operation == "If" || std::count(made.begin(), made.end(), "") > 0)
    return {};
  for (const auto& name : node.inputs) {
    if (!name.empty() && !known.contains(name)) return {};
    inputs.push_back(name.empty() ? at::Tensor() : known.at(name));
  }
  if (!takes_little(node, inputs)) return {};
  Tensors outputs = compute(node, opset, inputs);
  const bool whole =
      outputs.size() == node.outputs.size() && std::all_of(outputs.begin(), outputs.end(), is_small_integer);
  return whole ? outputs : Tensors();
}

// Computes nodes of integer initializers alone, which exporters write for shapes and pads, so that whoever
// changes the graph finds the numbers. The nodes are sorted.
void fold_integers(OnnxGraph& graph, std::int64_t opset) {
  NamedIntegers known;
  for (const auto& file : graph.initializers) {
    if (!is_few(file.shape)) continue;
    if (const at::Tensor tensor = to_tensor(file, file.name); is_small_integer(tensor))
      known[file.name] = tensor;
  }
  std::vector<OnnxNode> rest;
  for (auto& node : graph.nodes) {
    const Tensors outputs = folded(node, opset, known);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      known[node.outputs[i]] = outputs[i].contiguous();
      graph.initializers.push_back(to_onnx(node.outputs[i], known[node.outputs[i]]));
    }
    if (outputs.empty()) rest.push_back(std::move(node));
  }
  graph.nodes = std::move(rest);
}

// `given`: names of the scopes around.
void bring_to_normal_form(OnnxGraph& graph, std::int64_t opset, Names given) {
  forget_given_inputs(graph);
  lift_constants(graph);
  replace_sequences(graph);
  leave_training(graph);
  for (const auto& node : graph.nodes) (void)find_operator(node);
  const auto makers = find_makers(graph, given);
  sort_nodes(graph, find_sources(graph, given, makers));
  fold_integers(graph, opset);
  for (const auto& [name, node] : makers) given.insert(name);
  for (auto& node : graph.nodes)
    for (auto& attribute : node.attributes)
      if (auto* inner = std::get_if<std::shared_ptr<OnnxGraph>>(&attribute.value))
        bring_to_normal_form(**inner, opset, given);
}

}  // namespace

std::set<std::string> captured_names(const OnnxNode& node) {
  Names names;
  for (const auto& attribute : node.attributes)
    if (const auto* graph = std::get_if<std::shared_ptr<OnnxGraph>>(&attribute.value))
      add_free_names(**graph, names);
  return names;
}

void bring_to_normal_form(OnnxGraph& graph, std::int64_t opset) {
  bring_to_normal_form(graph, opset, {});
}

}  // namespace wring
