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
      {"OneHot", {}, {2}},
      {"Range", {}, {0, 1, 2}},
  };
  return rows;
}

bool holds(const std::vector<std::size_t>& list, std::size_t i) {
  return std::find(list.begin(), list.end(), i) != list.end();
}

void add_roles(const OnnxGraph& graph, std::map<std::string, InitializerRole>& roles) {
  for (const auto& node : graph.nodes) {
    const auto row = std::find_if(places().begin(), places().end(),
                                  [&](const Places& p) { return p.operation == node.operation; });
    for (std::size_t i = 0; row != places().end() && i < node.inputs.size(); ++i) {
      if (holds(row->weights, i)) roles[node.inputs[i]].weight = true;
      if (holds(row->fixed, i)) roles[node.inputs[i]].fixed = true;
    }
    for (const auto& attribute : node.attributes)
      if (const auto* inner = std::get_if<std::shared_ptr<OnnxGraph>>(&attribute.value))
        add_roles(**inner, roles);
  }
}

}  // namespace

std::map<std::string, InitializerRole> initializer_roles(const OnnxGraph& graph) {
  std::map<std::string, InitializerRole> roles;
  add_roles(graph, roles);
  return roles;
}

}  // namespace wring
