// Bounds of element counts, multiplied up until they are too many.
#include "engine/graph/small_nodes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

namespace wring {
namespace {

constexpr double kLargest = 1 << 20;

// The input whose values are sizes of the output, or how often it repeats.
struct SizesInput {
  std::string_view operation;
  std::size_t input;
};
constexpr std::array kSizesInputs{
    SizesInput{"ConstantOfShape", 0}, SizesInput{"Expand", 1}, SizesInput{"OneHot", 1}, SizesInput{"Pad", 1},
    SizesInput{"Resize", 3},          SizesInput{"Tile", 1},
};
constexpr std::array<std::string_view, 6> kSizesAttributes{"dilations",    "kernel_shape", "output_padding",
                                                           "output_shape", "pads",         "strides"};

double product(const std::vector<std::int64_t>& values) {
  double all = 1;
  for (const auto value : values) all *= 1 + std::abs(static_cast<double>(value));
  return all;
}

double range_length(const Tensors& inputs) {
  std::vector<double> numbers;
  for (const auto& input : inputs)
    if (input.defined() && input.numel() == 1) numbers.push_back(input.to(at::kDouble).item<double>());
  if (numbers.size() != 3 || numbers[2] == 0) return 0;  // is refused
  return std::abs((numbers[1] - numbers[0]) / numbers[2]) + 1;
}

}  // namespace

bool takes_little(const OnnxNode& node, const Tensors& inputs) {
  double count = node.operation == "Range" ? range_length(inputs) : 1;
  for (const auto& input : inputs)  // broadcasts, products and gathers of all of them
    if (input.defined()) count *= static_cast<double>(std::max<std::int64_t>(input.numel(), 1));
  for (const auto& row : kSizesInputs)
    if (row.operation == node.operation && row.input < inputs.size() && inputs[row.input].defined())
      count *= product(to_integers(inputs[row.input]));
  for (const auto& attribute : node.attributes)
    if (const auto* list = std::get_if<std::vector<std::int64_t>>(&attribute.value))
      if (std::find(kSizesAttributes.begin(), kSizesAttributes.end(), attribute.name) !=
          kSizesAttributes.end())
        count *= product(*list);
  return count <= kLargest;
}

}  // namespace wring
