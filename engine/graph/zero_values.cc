// One rule for each operator that zeros come out of.
#include "engine/graph/zero_values.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace wring {
namespace {

// f(0) = 0, and what moves, picks or averages values of its first input.
constexpr std::array<std::string_view, 59> kOfFirst{"Abs",          "AveragePool",
                                                    "Asin",         "Asinh",
                                                    "Atan",         "Atanh",
                                                    "Cast",         "CastLike",
                                                    "Ceil",         "Celu",
                                                    "CumSum",       "DepthToSpace",
                                                    "Dropout",      "Elu",
                                                    "Erf",          "Expand",
                                                    "Flatten",      "Floor",
                                                    "Gather",       "GatherElements",
                                                    "GatherND",     "Gelu",
                                                    "HardSwish",    "Identity",
                                                    "LeakyRelu",    "MaxPool",
                                                    "Mish",         "Neg",
                                                    "PRelu",        "ReduceL1",
                                                    "ReduceL2",     "ReduceMax",
                                                    "ReduceMean",   "ReduceMin",
                                                    "ReduceSum",    "ReduceSumSquare",
                                                    "Relu",         "Reshape",
                                                    "Resize",       "Round",
                                                    "Selu",         "Sign",
                                                    "Sin",          "Sinh",
                                                    "Slice",        "Softsign",
                                                    "Split",        "SpaceToDepth",
                                                    "Sqrt",         "Squeeze",
                                                    "Tan",          "Tanh",
                                                    "Tile",         "Transpose",
                                                    "Trilu",        "Unsqueeze",
                                                    "Upsample",     "GlobalAveragePool",
                                                    "GlobalMaxPool"};
constexpr std::array<std::string_view, 7> kOfAll{"Add", "Concat", "Max", "Mean", "Min", "Sub", "Sum"};
constexpr std::array<std::string_view, 2> kOfAny{"Einsum", "Mul"};
constexpr std::array<std::string_view, 4> kProducts{"Conv", "ConvTranspose", "Gemm", "MatMul"};
constexpr std::array<std::string_view, 4> kNorms{"BatchNormalization", "GroupNormalization",
                                                 "InstanceNormalization", "LayerNormalization"};

template <std::size_t n>
bool holds(const std::array<std::string_view, n>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class Inputs {
 public:
  Inputs(const OnnxNode& node, const std::set<std::string>& zeros,
         const std::map<std::string, TracedValue>& constants)
      : node_(node), zeros_(zeros), constants_(constants) {}

  bool given(std::size_t i) const { return i < node_.inputs.size() && !node_.inputs[i].empty(); }
  bool zero(std::size_t i) const { return given(i) && zeros_.contains(node_.inputs[i]); }
  bool zero_or_absent(std::size_t i) const { return !given(i) || zero(i); }
  bool all(std::size_t first) const {
    for (std::size_t i = first; i < node_.inputs.size(); ++i)
      if (!zero(i)) return false;
    return first < node_.inputs.size();
  }
  bool any() const {
    for (std::size_t i = 0; i < node_.inputs.size(); ++i)
      if (zero(i)) return true;
    return false;
  }
  // A number that the node has as a constant input or as an attribute; `absent` where it has none, nothing
  // where it is computed.
  std::optional<double> number(std::size_t i, const char* attribute, double absent) const {
    if (const auto* found = node_.find(attribute))
      if (const auto* value = std::get_if<float>(&found->value)) return *value;
    if (!given(i)) return absent;
    const auto it = constants_.find(node_.inputs[i]);
    return it == constants_.end() ? std::nullopt : it->second.number;
  }

 private:
  const OnnxNode& node_;
  const std::set<std::string>& zeros_;
  const std::map<std::string, TracedValue>& constants_;
};

bool pads_with_zeros(const OnnxNode& node, const Inputs& inputs) {
  const auto* mode = node.find("mode");
  const bool constant = !mode || std::get<std::string>(mode->value) == "constant";
  return !constant || inputs.number(2, "value", 0) == 0.0;
}

}  // namespace

bool makes_zeros(const OnnxNode& node, const std::set<std::string>& zeros,
                 const std::map<std::string, TracedValue>& constants) {
  const Inputs inputs(node, zeros, constants);
  const std::string& operation = node.operation;
  if (!node.domain.empty()) return false;
  if (holds(kOfFirst, operation)) return inputs.zero(0);
  if (holds(kOfAll, operation)) return inputs.all(0);
  if (holds(kOfAny, operation)) return inputs.any();
  if (holds(kProducts, operation)) return (inputs.zero(0) || inputs.zero(1)) && inputs.zero_or_absent(2);
  if (holds(kNorms, operation)) return inputs.zero(1) && inputs.zero_or_absent(2);
  if (operation == "Where") return inputs.all(1);
  if (operation == "Div") return inputs.zero(0) && !inputs.zero(1);
  if (operation == "Pad") return inputs.zero(0) && pads_with_zeros(node, inputs);
  if (operation == "Clip")
    return inputs.zero(0) && inputs.number(1, "min", 0).value_or(1) <= 0 &&
           inputs.number(2, "max", 0).value_or(-1) >= 0;
  return false;
}

}  // namespace wring
