// One node under label inference, and the tables of rules.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/graph/label_scope.h"

namespace wring {

class LabelCall {
 public:
  LabelCall(LabelScope& scope, std::size_t index, const OnnxNode& node)
      : scope(scope), index(index), node(node) {}

  LabelScope& scope;
  const std::size_t index;  // of the node
  const OnnxNode& node;

  bool has(std::size_t i) const { return i < node.inputs.size() && !node.inputs[i].empty(); }
  LabelledValue& in(std::size_t i) const { return scope.values.at(node.inputs.at(i)); }
  const std::vector<std::int64_t>& sizes(std::size_t i) const {
    return scope.traced(node.inputs.at(i)).sizes;
  }
  const std::vector<std::int64_t>& out_sizes(std::size_t i = 0) const {
    return scope.traced(node.outputs.at(i)).sizes;
  }
  void set(LabelledValue value, std::size_t i = 0) const;

  std::int64_t integer(const char* name, std::int64_t fallback) const;
  std::vector<std::int64_t> integers(const char* name,
                                     std::size_t i) const;  // attribute, or input i's; else empty
  std::size_t axis(std::int64_t axis, std::int64_t rank) const {
    return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
  }

  // Bars all inputs and outputs.
  void bar_all() const;
};

using LabelRule = void (*)(const LabelCall&);
struct LabelRuleRow {
  std::string_view operation;
  LabelRule rule;
};

std::span<const LabelRuleRow> compute_label_rules();
std::span<const LabelRuleRow> elementwise_label_rules();
std::span<const LabelRuleRow> shape_label_rules();

}  // namespace wring
