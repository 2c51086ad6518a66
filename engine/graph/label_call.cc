// Finding a node's rule, and the barrier where there is none.
#include "engine/graph/label_call.h"

#include <algorithm>
#include <map>
#include <utility>

#include "engine/graph/normal_form.h"

namespace wring {
namespace {

LabelRule find_rule(const std::string& operation) {
  static const std::map<std::string_view, LabelRule> rules = [] {
    std::map<std::string_view, LabelRule> made;
    for (const auto rows : {compute_label_rules(), elementwise_label_rules(), shape_label_rules()})
      for (const auto& row : rows) made.emplace(row.operation, row.rule);
    return made;
  }();
  const auto it = rules.find(operation);
  return it == rules.end() ? nullptr : it->second;
}

}  // namespace

void LabelCall::set(LabelledValue value, std::size_t i) const {
  value.initializer_axes.resize(value.axes.size(), -1);
  scope.values[node.outputs.at(i)] = std::move(value);
}

std::int64_t LabelCall::integer(const char* name, std::int64_t fallback) const {
  const auto* attribute = node.find(name);
  const auto* value = attribute ? std::get_if<std::int64_t>(&attribute->value) : nullptr;
  return value ? *value : fallback;
}

std::vector<std::int64_t> LabelCall::integers(const char* name, std::size_t i) const {
  if (const auto* attribute = node.find(name))
    if (const auto* value = std::get_if<std::vector<std::int64_t>>(&attribute->value)) return *value;
  return has(i) ? scope.traced(node.inputs[i]).integers : std::vector<std::int64_t>();
}

void LabelCall::bar_all() const {
  for (std::size_t i = 0; i < node.inputs.size(); ++i)
    if (has(i)) scope.bar(in(i));
  for (const auto& name : captured_names(node)) scope.bar(scope.values.at(name));
  for (std::size_t i = 0; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty()) set(scope.barred_value(node.outputs[i]), i);
}

void label_node(LabelScope& scope, std::size_t node_index, const OnnxNode& node) {
  const LabelCall call(scope, node_index, node);
  const LabelRule rule = find_rule(node.operation);
  if (!rule) return call.bar_all();
  rule(call);
  for (std::size_t i = 0; i < node.outputs.size(); ++i)  // outputs beside the first
    if (!node.outputs[i].empty() && !scope.values.contains(node.outputs[i]))
      call.set(scope.barred_value(node.outputs[i]), i);
}

}  // namespace wring
