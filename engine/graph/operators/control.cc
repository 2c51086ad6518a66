// Operators that run a graph of their own.
#include <ATen/ATen.h>

#include <array>

#include "engine/graph/operator_table.h"

namespace wring {
namespace {

Tensors if_else(const Call& call) {
  return call.branch(call.number_of(0) != 0 ? "then_branch" : "else_branch");
}

constexpr std::array kRows{OperatorRow{"If", if_else}};

}  // namespace

std::span<const OperatorRow> control_operators() {
  return kRows;
}

}  // namespace wring
