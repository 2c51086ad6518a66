// All operators by name, and the refusal of one that is not there.
#include "engine/graph/operator_table.h"

#include <algorithm>
#include <map>

#include "common/error.h"
#include "common/text.h"

namespace wring {
namespace {

using Table = std::map<std::string_view, OperatorFunction>;

const Table& operator_table() {
  static const Table table = [] {
    Table made;
    for (const auto& kind : operator_kinds())
      for (const auto& row : kind.rows) made.emplace(row.name, row.compute);
    return made;
  }();
  return table;
}

std::vector<std::string> names() {
  std::vector<std::string> made;
  for (const auto& [name, compute] : operator_table()) made.emplace_back(name);
  return made;
}

}  // namespace

std::vector<OperatorKind> operator_kinds() {
  return {{"Convolution and pooling", convolution_operators()},
          {"Normalisation", normalization_operators()},
          {"Products", product_operators()},
          {"Elementwise", elementwise_operators()},
          {"Reductions and softmax", reduction_operators()},
          {"Shapes", shape_operators()},
          {"Indexing", indexing_operators()},
          {"Resizing", resize_operators()},
          {"Quantisation", quantization_operators()},
          {"Recurrent", recurrent_operators()},
          {"Control", control_operators()}};
}

OperatorFunction find_operator(const OnnxNode& node) {
  const auto& table = operator_table();
  if (const auto it = table.find(describe(node)); it != table.end()) return it->second;
  const std::string domain = node.domain.empty() ? "ai.onnx" : node.domain;
  const auto known = names();
  std::string hint = "Supported: " + join(known, ", ") + ".";
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_OPERATOR",
              "the operator " + node.operation + " of the domain " + domain + " is not supported", node.name,
              std::move(hint));
}

}  // namespace wring
