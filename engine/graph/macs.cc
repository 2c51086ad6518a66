// From one run: a product of sizes for each operator.
#include "engine/graph/macs.h"

#include <algorithm>
#include <map>
#include <set>

#include "engine/graph/graph_file.h"

namespace wring {
namespace {

std::uint64_t product(at::IntArrayRef sizes, std::size_t first = 0) {
  std::uint64_t count = 1;
  for (std::size_t i = first; i < sizes.size(); ++i) count *= static_cast<std::uint64_t>(sizes[i]);
  return count;
}

template <typename T>
T attribute(const OnnxNode& node, const char* name, T fallback) {
  const auto* found = node.find(name);
  return found ? std::get<T>(found->value) : std::move(fallback);
}

// Each factor's sizes by its letters; the axes of an ellipsis are counted from its end.
std::uint64_t einsum(const std::string& equation, const Tensors& factors) {
  std::map<std::string, std::int64_t> sizes;
  std::size_t place = 0;
  for (const at::Tensor& factor : factors) {
    std::vector<std::string> axes;
    const std::size_t end = std::min(equation.find_first_of(",-", place), equation.size());
    std::string letters = equation.substr(place, end - place);
    std::erase(letters, ' ');
    place = end + 1;
    const std::size_t rank = static_cast<std::size_t>(factor.dim());
    for (std::size_t i = 0; i < letters.size(); ++i) {
      if (letters[i] != '.') {
        axes.emplace_back(1, letters[i]);
        continue;
      }
      for (std::size_t left = rank + 3 - letters.size(); left > 0; --left)
        axes.push_back("..." + std::to_string(left));
      i += 2;
    }
    for (std::size_t i = 0; i < axes.size() && i < rank; ++i)
      sizes[axes[i]] = std::max(sizes[axes[i]], factor.size(static_cast<std::int64_t>(i)));
  }
  std::uint64_t count = factors.size() - 1;
  for (const auto& [axis, size] : sizes) count *= static_cast<std::uint64_t>(size);
  return count;
}

std::uint64_t macs(const OnnxNode& node, const Tensors& read, const Tensors& made) {
  const std::string& operation = node.operation;
  if (operation == "Conv") return product(made[0].sizes()) * product(read[1].sizes(), 1);
  // Each input value meets one filter: [in, out / groups, kernel].
  if (operation == "ConvTranspose") return product(read[0].sizes()) * product(read[1].sizes(), 1);
  if (operation == "Gemm") {
    const bool turned = attribute(node, "transA", std::int64_t{0}) != 0;
    return product(made[0].sizes()) * static_cast<std::uint64_t>(read[0].size(turned ? 0 : 1));
  }
  if (operation == "MatMul" || operation == "MatMulInteger" || operation == "MatMulNBits")
    return product(made[0].sizes()) * static_cast<std::uint64_t>(read[0].size(-1));
  if (operation == "Einsum") return einsum(attribute(node, "equation", std::string()), read);
  if (operation == "LSTM" || operation == "GRU" || operation == "RNN")
    // x [steps, batch, features]; weights [directions, gates, ...]
    return static_cast<std::uint64_t>(read[0].size(0) * read[0].size(1)) *
           (product(read[1].sizes()) + product(read[2].sizes()));
  return 0;
}

}  // namespace

std::vector<NodeMacs> count_macs(const Graph& graph, const NamedValues& inputs) {
  std::set<const OnnxNode*> own;  // no node of a graph inside another
  for (const auto& node : graph.nodes().nodes) own.insert(&node);
  std::vector<NodeMacs> list;
  std::uint64_t count = 0;
  graph.observe(inputs, [&](const OnnxNode& node, const Tensors& read, const Tensors& made) {
    count += macs(node, read, made);
    if (!own.contains(&node)) return;
    if (count > 0) list.push_back({name_of(node), node.operation, count});
    count = 0;
  });
  return list;
}

std::uint64_t macs_of(const Graph& graph, const NamedValues& inputs) {
  std::uint64_t macs = 0;
  for (const auto& node : count_macs(graph, inputs)) macs += node.macs;
  return macs / static_cast<std::uint64_t>(example_count(graph, inputs));
}

}  // namespace wring
