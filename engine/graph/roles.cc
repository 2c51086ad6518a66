// Places of operators' inputs that hold weights, and those that hold what no training moves.
#include "engine/graph/roles.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace wring {
namespace {

struct Places {
  std::string_view operation;
  std::vector<std::size_t> weights, fixed;
};

const std::vector<Places>& places() {
  static const std::vector<Places> rows{
      {"Conv", {1, 2}, {}},
      {"ConvTranspose", {1, 2}, {}},
      {"Gemm", {0, 1, 2}, {}},
      {"MatMul", {0, 1}, {}},
      {"MatMulInteger", {0, 1}, {2, 3}},
      {"MatMulNBits", {1}, {2, 3}},
      {"Gather", {0}, {}},
      {"BatchNormalization", {1, 2}, {3, 4}},
      {"InstanceNormalization", {1, 2}, {}},
      {"LayerNormalization", {1, 2}, {}},
      {"GroupNormalization", {1, 2}, {}},
      {"PRelu", {1}, {}},
      {"LSTM", {1, 2, 3}, {5, 6, 7}},
      {"GRU", {1, 2, 3}, {5}},
      {"RNN", {1, 2, 3}, {5}},
      {"Resize", {}, {1, 2}},
      {"Upsample", {}, {1}},
      {"Clip", {}, {1, 2}},
      {"Pad", {}, {2}},
      {"Dropout", {}, {1}},
      {"QuantizeLinear", {}, {1, 2}},
      {"DequantizeLinear", {}, {1, 2}},
      {"OneHot", {}, {2}},
      {"Range", {}, {0, 1, 2}},
  };
  return rows;
}

bool holds(const std::vector<std::size_t>& list, std::size_t i) {
  return std::find(list.begin(), list.end(), i) != list.end();
}

int codes_a_byte(const OnnxNode& node) {
  const auto* bits = node.find("bits");
  const auto* given = bits ? std::get_if<std::int64_t>(&bits->value) : nullptr;
  return given && *given > 0 && *given < 8 ? static_cast<int>(8 / *given) : given ? 1 : 2;
}

// Whether the node hands the values of its input i on, or rounds them.
bool moves_values(const OnnxNode& node, std::size_t i) {
  static const std::vector<std::string> operators{
      "Cast",    "CastLike", "Concat", "DequantizeLinear", "Expand",    "Identity", "QuantizeLinear",
      "Reshape", "Slice",    "Split",  "Squeeze",          "Transpose", "Unsqueeze"};
  return (i == 0 || node.operation == "Concat") &&
         std::find(operators.begin(), operators.end(), node.operation) != operators.end();
}

// From the last node to the first, so that a role reaches the initializer through what only moves its values.
void add_roles(const OnnxGraph& graph, std::map<std::string, InitializerRole>& roles) {
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    for (const auto& attribute : node->attributes)
      if (const auto* inner = std::get_if<std::shared_ptr<OnnxGraph>>(&attribute.value))
        add_roles(**inner, roles);
    const auto row = std::find_if(places().begin(), places().end(),
                                  [&](const Places& p) { return p.operation == node->operation; });
    InitializerRole of_outputs;
    for (const auto& output : node->outputs) {
      of_outputs.weight = of_outputs.weight || roles[output].weight;
      of_outputs.fixed = of_outputs.fixed || roles[output].fixed;
    }
    for (std::size_t i = 0; i < node->inputs.size(); ++i) {
      InitializerRole& role = roles[node->inputs[i]];
      const bool moved = moves_values(*node, i);
      if (node->operation == "MatMulNBits" && i == 1) role.codes_a_byte = codes_a_byte(*node);
      role.weight =
          role.weight || (row != places().end() && holds(row->weights, i)) || (moved && of_outputs.weight);
      role.fixed =
          role.fixed || (row != places().end() && holds(row->fixed, i)) || (moved && of_outputs.fixed);
    }
  }
}

}  // namespace

std::map<std::string, InitializerRole> initializer_roles(const OnnxGraph& graph) {
  std::map<std::string, InitializerRole> roles;
  add_roles(graph, roles);
  return roles;
}

}  // namespace wring
