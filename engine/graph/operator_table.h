// The operators that graphs run with: one row each, from the files of operators/.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/call.h"

namespace wring {

using OperatorFunction = Tensors (*)(const Call&);

struct OperatorRow {
  std::string_view name;  // with its domain, where that is another than ai.onnx: "com.microsoft.MatMulNBits"
  OperatorFunction compute;
};

// By kind, in the order of the documentation.
std::span<const OperatorRow> convolution_operators();
std::span<const OperatorRow> normalization_operators();
std::span<const OperatorRow> elementwise_operators();
std::span<const OperatorRow> shape_operators();
std::span<const OperatorRow> indexing_operators();
std::span<const OperatorRow> reduction_operators();
std::span<const OperatorRow> product_operators();
std::span<const OperatorRow> quantization_operators();
std::span<const OperatorRow> recurrent_operators();
std::span<const OperatorRow> resize_operators();
std::span<const OperatorRow> control_operators();

struct OperatorKind {
  std::string_view title;
  std::span<const OperatorRow> rows;
};
std::vector<OperatorKind> operator_kinds();

// Throws Error(kUnimplemented, "UNSUPPORTED_OPERATOR") that names the node, its operator and domain, and what
// is supported.
OperatorFunction find_operator(const OnnxNode& node);

}  // namespace wring
