// Shapes from one run, and a product of sizes for each operator.
#include "engine/graph/macs.h"

#include <map>

#include "engine/graph/graph_file.h"

namespace wring {
namespace {

using Sizes = std::vector<std::int64_t>;

std::uint64_t product(const Sizes& sizes, std::size_t first = 0) {
  std::uint64_t count = 1;
  for (std::size_t i = first; i < sizes.size(); ++i) count *= static_cast<std::uint64_t>(sizes[i]);
  return count;
}

class Counter {
 public:
  explicit Counter(const std::map<std::string, TracedValue>& traced) : traced_(traced) {}

  std::uint64_t of(const OnnxNode& node) const {
    if (node.operation == "Conv") return product(made(node)) * product(read(node, 1), 1);
    // Each input value meets one filter: [in, out / groups, kernel].
    if (node.operation == "ConvTranspose") return product(read(node, 0)) * product(read(node, 1), 1);
    if (node.operation == "Gemm") {
      const auto* turned = node.find("transA");
      const bool first = turned && std::get<std::int64_t>(turned->value) != 0;
      return product(made(node)) * static_cast<std::uint64_t>(read(node, 0).at(first ? 0 : 1));
    }
    if (node.operation == "MatMul")
      return product(made(node)) * static_cast<std::uint64_t>(read(node, 0).back());
    if (node.operation == "LSTM" || node.operation == "GRU" || node.operation == "RNN") {
      const Sizes x = read(node, 0);  // [steps, batch, features]; weights [directions, gates, ...]
      return static_cast<std::uint64_t>(x.at(0) * x.at(1)) *
             (product(read(node, 1)) + product(read(node, 2)));
    }
    return 0;
  }

 private:
  const Sizes& read(const OnnxNode& node, std::size_t i) const { return traced_.at(node.inputs.at(i)).sizes; }
  const Sizes& made(const OnnxNode& node) const { return traced_.at(node.outputs.at(0)).sizes; }

  const std::map<std::string, TracedValue>& traced_;
};

}  // namespace

std::vector<NodeMacs> count_macs(const Graph& graph, const NamedValues& inputs) {
  const auto traced = graph.trace(inputs);
  const Counter counter(traced);
  std::vector<NodeMacs> list;
  for (const auto& node : graph.nodes().nodes)
    if (const auto macs = counter.of(node); macs > 0)
      list.push_back({node.name.empty() ? node.outputs.front() : node.name, node.operation, macs});
  return list;
}

std::uint64_t macs_of(const Graph& graph, const NamedValues& inputs) {
  std::uint64_t macs = 0;
  for (const auto& node : count_macs(graph, inputs)) macs += node.macs;
  return macs / static_cast<std::uint64_t>(example_count(graph, inputs));
}

}  // namespace wring
