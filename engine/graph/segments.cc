// A segment is found from the joint's input backwards: nodes all of whose readers are in it already.
#include "engine/graph/segments.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <map>
#include <queue>
#include <set>
#include <utility>

#include "common/error.h"
#include "engine/graph/fold.h"
#include "engine/graph/normal_form.h"
#include "engine/graph/zero_values.h"

namespace wring {
namespace {

bool is_joint(const OnnxNode& node) {
  return node.domain.empty() && node.inputs.size() > 1 &&
         (node.operation == "Add" || node.operation == "Sub" || node.operation == "Sum");
}

// The node's inputs, and what graphs inside it read of this one.
std::vector<std::string> names_read(const OnnxNode& node) {
  std::vector<std::string> names = node.inputs;
  const auto captured = captured_names(node);
  names.insert(names.end(), captured.begin(), captured.end());
  std::erase(names, "");  // an input that is left out
  return names;
}

// Values that depend on the graph's inputs.
std::set<std::string> values_of_inputs(const OnnxGraph& graph, const std::vector<OnnxValue>& inputs) {
  std::set<std::string> values;
  for (const auto& input : inputs) values.insert(input.name);
  for (const auto& node : graph.nodes) {  // sorted
    const auto names = names_read(node);
    if (std::any_of(names.begin(), names.end(), [&](const auto& name) { return values.contains(name); }))
      values.insert(node.outputs.begin(), node.outputs.end());
  }
  values.erase("");
  return values;
}

class Finder {
 public:
  Finder(const Graph& graph, const NamedValues& example)
      : graph_(graph),
        nodes_(graph.nodes().nodes),
        traced_(graph.trace(example)),
        of_inputs_(values_of_inputs(graph.nodes(), graph.inputs())) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      for (const auto& name : names_read(nodes_[i])) readers_[name].push_back(i);
      for (const auto& name : nodes_[i].outputs) makers_[name] = i;
    }
    for (const auto& output : graph.outputs()) readers_[output.name].push_back(nodes_.size());
    for (const auto& tensor : graph.nodes().initializers) constants_[tensor.name] = traced_.at(tensor.name);
  }

  std::vector<GraphSegment> find() const {
    std::vector<GraphSegment> segments;
    for (std::size_t joint = 0; joint < nodes_.size(); ++joint)
      for (std::size_t input = 0; is_joint(nodes_[joint]) && input < nodes_[joint].inputs.size(); ++input)
        if (stays_whole_without(nodes_[joint], input)) {
          GraphSegment segment = before(joint, input);
          if (!segment.parameters.empty() && is_zero(segment)) segments.push_back(std::move(segment));
        }
    return segments;
  }

 private:
  bool stays_whole_without(const OnnxNode& joint, std::size_t input) const {
    for (std::size_t i = 0; i < joint.inputs.size(); ++i) {
      if (!of_inputs_.contains(joint.inputs[i])) return false;
      if (i != input && traced_.at(joint.inputs[i]).sizes != traced_.at(joint.outputs.front()).sizes)
        return false;
    }
    return true;
  }

  bool is_read_within(const std::string& name, const std::set<std::size_t>& nodes) const {
    const auto it = readers_.find(name);
    return it == readers_.end() ||
           std::all_of(it->second.begin(), it->second.end(), [&](auto i) { return nodes.contains(i); });
  }

  GraphSegment before(std::size_t joint, std::size_t input) const {
    GraphSegment segment{joint, input, {}, {}};
    const std::string& value = nodes_[joint].inputs[input];
    if (readers_.at(value).size() != 1) return segment;
    std::set<std::size_t> inside{joint};    // the joint counts as a reader that leaves, for this value alone
    std::priority_queue<std::size_t> next;  // the last first: a node's readers come before it
    const auto push_maker = [&](const std::string& name) {
      if (const auto it = makers_.find(name); it != makers_.end()) next.push(it->second);
    };
    push_maker(value);
    while (!next.empty()) {
      const std::size_t i = next.top();
      while (!next.empty() && next.top() == i) next.pop();
      const auto& outputs = nodes_[i].outputs;
      const bool leaves = std::all_of(outputs.begin(), outputs.end(), [&](const std::string& name) {
        return name.empty() || name == value || (!reads(joint, name) && is_read_within(name, inside));
      });
      if (!leaves) continue;
      inside.insert(i);
      for (const auto& name : names_read(nodes_[i])) push_maker(name);
    }
    inside.erase(joint);
    segment.nodes.assign(inside.begin(), inside.end());
    for (const auto& parameter : graph_.parameters())
      if (readers_.contains(parameter.name) && is_read_within(parameter.name, inside))
        segment.parameters.push_back(parameter.name);
    return segment;
  }

  bool reads(std::size_t node, const std::string& name) const {
    const auto& inputs = nodes_[node].inputs;
    return std::find(inputs.begin(), inputs.end(), name) != inputs.end();
  }

  bool is_zero(const GraphSegment& segment) const {
    std::set<std::string> zeros(segment.parameters.begin(), segment.parameters.end());
    for (const auto i : segment.nodes)
      if (makes_zeros(nodes_[i], zeros, constants_))
        zeros.insert(nodes_[i].outputs.begin(), nodes_[i].outputs.end());
    return zeros.contains(nodes_[segment.joint].inputs[segment.input]);
  }

  const Graph& graph_;
  const std::vector<OnnxNode>& nodes_;
  const std::map<std::string, TracedValue> traced_;
  const std::set<std::string> of_inputs_;
  std::map<std::string, TracedValue> constants_;
  std::map<std::string, std::vector<std::size_t>> readers_;
  std::map<std::string, std::size_t> makers_;
};

// What is left of joints, by node: the inputs that stay.
using Slots = std::map<std::size_t, std::set<std::size_t>>;

Slots slots_of(const std::vector<GraphSegment>& segments, const std::vector<std::size_t>& erased) {
  Slots slots;
  for (const auto number : erased) slots[segments.at(number).joint].insert(segments[number].input);
  return slots;
}

bool joints_keep_an_input(const OnnxGraph& graph, const Slots& slots) {
  return std::all_of(slots.begin(), slots.end(), [&](const auto& entry) {
    return entry.second.size() < graph.nodes.at(entry.first).inputs.size();
  });
}

// Of a joint, without inputs. Of one that keeps a single input a node that hands it on is left.
void shorten(OnnxNode& joint, const std::set<std::size_t>& gone) {
  const bool negates = joint.operation == "Sub" && gone.contains(0);
  for (auto it = gone.rbegin(); it != gone.rend(); ++it)
    joint.inputs.erase(joint.inputs.begin() + static_cast<std::ptrdiff_t>(*it));
  if (joint.inputs.size() == 1) joint.operation = negates ? "Neg" : "Identity";
}

// Takes out nodes that nobody reads.
void drop_dead_nodes(OnnxGraph& graph) {
  std::set<std::string> read;
  for (const auto& output : graph.outputs) read.insert(output.name);
  std::vector<OnnxNode> live;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    if (std::none_of(node->outputs.begin(), node->outputs.end(),
                     [&](const std::string& name) { return read.contains(name); }))
      continue;
    for (const auto& name : names_read(*node)) read.insert(name);
    live.push_back(std::move(*node));
  }
  std::reverse(live.begin(), live.end());
  graph.nodes = std::move(live);
}

// Readers of what these nodes hand on read what they are given; nodes that an output or a graph inside
// another node names stay.
void skip_identities(OnnxGraph& graph, const std::set<std::string>& skipped) {
  std::set<std::string> named;
  for (const auto& output : graph.outputs) named.insert(output.name);
  for (const auto& node : graph.nodes) named.merge(captured_names(node));
  std::map<std::string, std::string> given;
  for (auto& node : graph.nodes) {  // sorted
    for (auto& name : node.inputs)
      if (const auto it = given.find(name); it != given.end()) name = it->second;
    if (node.operation == "Identity" && skipped.contains(node.outputs.front()) &&
        !named.contains(node.outputs.front()))
      given[node.outputs.front()] = node.inputs.front();
  }
}

OnnxGraph without(OnnxGraph graph, const Slots& slots) {
  std::set<std::string> shortened;
  for (const auto& [joint, gone] : slots) {
    shorten(graph.nodes.at(joint), gone);
    shortened.insert(graph.nodes[joint].outputs.front());
  }
  skip_identities(graph, shortened);
  drop_dead_nodes(graph);
  return graph;
}

}  // namespace

std::vector<GraphSegment> find_segments(const Graph& graph, const NamedValues& example) {
  return Finder(graph, example).find();
}

bool can_erase(const Graph& graph, const std::vector<GraphSegment>& segments,
               const std::vector<std::size_t>& erased) {
  const Slots slots = slots_of(segments, erased);
  if (!joints_keep_an_input(graph.nodes(), slots)) return false;
  const auto reached = values_of_inputs(without(graph.nodes(), slots), graph.inputs());
  return std::all_of(graph.outputs().begin(), graph.outputs().end(),
                     [&](const OnnxValue& output) { return reached.contains(output.name); });
}

OnnxModel erase_segments(const Graph& graph, const std::vector<GraphSegment>& segments,
                         const std::vector<std::size_t>& erased) {
  if (!can_erase(graph, segments, erased))
    throw Error(
        ErrorCode::kInvalidArgument, "NOTHING_LEFT",
        "without these segments a sum would have nothing left to add, or an output nothing to do with "
        "the inputs",
        "segments", "Keep an input of each sum.");
  OnnxModel model = graph.to_onnx();
  model.graph = without(std::move(model.graph), slots_of(segments, erased));
  drop_unread_initializers(model.graph);
  return model;
}

void zero_segments(Graph& graph, const std::vector<GraphSegment>& segments,
                   const std::vector<std::size_t>& erased) {
  const c10::NoGradGuard no_grad;
  for (const auto number : erased)
    for (const auto& name : segments.at(number).parameters) graph.find_tensor(name)->zero_();
}

}  // namespace wring
