// Bytes truly on disk, and bits per weight; beside what the parameters would take in bf16. Of graphs also
// multiply-adds and what values take in memory, and of these and parameters each node's.
#include <algorithm>

#include "engine/eval/graph_suite.h"
#include "engine/graph/graph_file.h"
#include "engine/graph/macs.h"
#include "formats/model_kind.h"

namespace wring {
namespace {

EvaluationRow row(std::string metric, double value, std::string unit) {
  EvaluationRow r;
  r.suite = "size";
  r.metric = std::move(metric);
  r.value = value;
  r.unit = std::move(unit);
  r.n = 1;
  return r;
}

std::vector<EvaluationRow> rows_of(const FileTree& files, std::uint64_t parameters,
                                   Json details = Json::object()) {
  const auto [weights, all] = bytes_of(files);
  const auto count = static_cast<double>(parameters);
  std::vector<EvaluationRow> rows{row("weight_bytes", static_cast<double>(weights), "bytes"),
                                  row("artifact_bytes", static_cast<double>(all), "bytes"),
                                  row("bits_per_weight", 8.0 * static_cast<double>(weights) / count, "bits"),
                                  row("parameters", count, ""),
                                  row("share_of_bf16", static_cast<double>(all) / (2.0 * count), "")};
  const auto of_parameters =
      std::find_if(rows.begin(), rows.end(), [](const auto& r) { return r.metric == "parameters"; });
  of_parameters->details = std::move(details);
  return rows;
}

std::vector<EvaluationRow> size(const Params&, EvaluationInput& input) {
  input.progress.report(1, 1, "files");
  return rows_of(input.files, input.model.parameter_count());
}

// Nodes that are the first to read parameters.
Json parameters_by_node(const Graph& graph) {
  Json nodes = Json::array();
  const auto counts = graph.parameter_counts();
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (const auto& node = graph.nodes().nodes[i]; counts[i] > 0)
      nodes.push_back({{"node", name_of(node)}, {"operation", node.operation}, {"parameters", counts[i]}});
  return {{"nodes", nodes}};
}

bool has_free_sizes(const Graph& graph) {
  for (const auto& input : graph.inputs()) {
    if (!input.shape) return true;
    for (std::size_t i = 1; i < input.shape->size(); ++i)
      if (!(*input.shape)[i].size) return true;
  }
  return false;
}

EvaluationRow macs_row(const Graph& graph, const NamedValues& example, std::uint64_t count) {
  double macs = 0;
  Json nodes = Json::array();
  for (const auto& node : count_macs(graph, example)) {
    macs += static_cast<double>(node.macs) / static_cast<double>(count);
    nodes.push_back({{"node", node.name}, {"operation", node.operation}, {"macs", node.macs / count}});
  }
  EvaluationRow made = row("macs", macs, "");
  made.details = {{"nodes", nodes}};
  return made;
}

// The most that lies in memory between two nodes.
EvaluationRow activation_row(const Graph& graph, const NamedValues& example, std::uint64_t count) {
  std::uint64_t peak = 0;
  Json nodes = Json::array();
  for (const auto& node : graph.measure(example)) {
    peak = std::max(peak, node.alive_bytes / count);
    nodes.push_back(
        {{"node", node.name}, {"operation", node.operation}, {"bytes", node.alive_bytes / count}});
  }
  EvaluationRow made = row("activation_bytes", static_cast<double>(peak), "bytes");
  made.details = {{"nodes", nodes}};
  return made;
}

// Beside the same rows, the multiply-adds of one example and the bytes of its values, where its size is
// known.
std::vector<EvaluationRow> graph_size(const Params&, const GraphEvaluation& input) {
  auto rows = rows_of(input.files, input.graph.parameter_count(), parameters_by_node(input.graph));
  if (!has_free_sizes(input.graph)) {
    const NamedValues example = example_inputs(input.graph, 1);
    const auto count = static_cast<std::uint64_t>(example_count(input.graph, example));
    rows.push_back(macs_row(input.graph, example, count));
    rows.push_back(activation_row(input.graph, example, count));
  }
  input.progress.report(1, 1, "files");
  return rows;
}

WRING_SUITE("size", size);
WRING_GRAPH_SUITE("size", graph_size);

}  // namespace

FileBytes bytes_of(const FileTree& files) {
  FileBytes bytes;
  const auto paths = files.paths();
  const bool onnx = holds_graph(paths) || holds_onnx_export(paths);
  for (const auto& path : paths) {
    const auto size = files.open(path).size();
    bytes.all += size;
    if (onnx ? holds_graph_weights(path) : path.ends_with(".safetensors") || path.ends_with(".gguf"))
      bytes.weights += size;
  }
  return bytes;
}

}  // namespace wring
