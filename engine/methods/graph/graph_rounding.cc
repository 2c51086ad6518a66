// Folds, calibrates, and puts the nodes in.
#include "engine/methods/graph/graph_rounding.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "common/error.h"
#include "engine/graph/fold.h"
#include "engine/graph/onnx_tensor.h"

namespace wring {
namespace {

constexpr std::int64_t kFirstOpset = 13;

OnnxModel folded(const Graph& graph) {
  OnnxModel model = graph.to_onnx();
  fold_moved_initializers(model);
  fold_batch_norms(model.graph);
  return model;
}

// The values of the plan, as outputs of a graph.
std::unique_ptr<Graph> observed(OnnxModel model, const RoundingPlan& plan, at::Device device) {
  model.graph.outputs.clear();
  for (const auto& [name, source] : plan.values)
    if (name == source) model.graph.outputs.push_back({name, std::nullopt, std::nullopt});
  auto graph = std::make_unique<Graph>(std::move(model));
  graph->compute_on(device);
  return graph;
}

// A line for each weight, with the error of its rounding.
Json lines(const OnnxGraph& graph, const RoundingPlan& plan, int bits) {
  Json list = Json::array();
  for (const auto& place : plan.weights) {
    const std::string& name = graph.nodes[place.node].inputs[1];
    for (const auto& tensor : graph.initializers) {
      if (tensor.name != name) continue;
      const at::Tensor values = to_tensor(tensor, name).movedim(place.axis, 0).flatten(1);
      const at::Tensor scales = weight_scales(values, 0, bits).unsqueeze(1);
      const at::Tensor away = at::round(values / scales) * scales - values;
      list.push_back({{"layer", name},
                      {"bits", bits},
                      {"relative_error", (away.norm() / values.norm().clamp_min(1e-30)).item<double>()}});
    }
  }
  return list;
}

// The initializer that the node multiplies by; empty where there is none.
std::string weight_name(const OnnxGraph& graph, const OnnxNode& node) {
  const bool stored = std::any_of(graph.initializers.begin(), graph.initializers.end(),
                                  [&](const OnnxTensor& tensor) { return tensor.name == node.inputs.at(1); });
  return stored ? node.inputs[1] : "";
}

}  // namespace

GraphRounding GraphRounding::from(const Params& params) {
  using Kind = RangeRule::Kind;
  const std::map<std::string, Kind> kinds{
      {"minmax", Kind::kMinMax}, {"percentile", Kind::kPercentile}, {"entropy", Kind::kEntropy}};
  return {{static_cast<int>(params.get<std::int64_t>("weight_bits")),
           params.get<std::string>("activations") == "int8"},
          {kinds.at(params.get<std::string>("range")), params.get<double>("percentile")},
          params.get<std::int64_t>("examples"),
          Normalisation::from(params)};
}

void check_rounding(const Graph& graph) {
  if (graph.opset() < kFirstOpset)
    throw Error(ErrorCode::kInvalidArgument, "OLD_OPSET",
                "the file is of opset " + std::to_string(graph.opset()) +
                    "; scales a channel came with opset " + std::to_string(kFirstOpset),
                "model", "Export the network again with opset_version=13 or later.");
  const OnnxModel model = folded(graph);
  if (plan_rounding(model.graph).weights.empty())
    throw Error(ErrorCode::kInvalidArgument, "NOTHING_TO_QUANTIZE",
                "no Conv, Gemm or MatMul multiplies by a float32 weight of its own", "model",
                "docs/graphs.md says what is quantised; a graph is quantised once.");
}

OnnxModel rounded_graph(const Graph& graph, const GraphExamples& examples, const GraphRounding& rounding,
                        const GraphTargets& targets, Progress& progress, Json& report) {
  OnnxModel model = folded(graph);
  const RoundingPlan plan = plan_rounding(
      model.graph, [&](const OnnxNode& node) { return targets.takes(node, weight_name(model.graph, node)); });
  if (plan.weights.empty()) targets.throw_none(graph, "no targeted layer has a weight that can be rounded");
  const auto ranges = value_ranges(*observed(model, plan, graph.device()), examples, rounding.rule, progress);
  report["examples"] = examples.count;
  report["values"] = plan.values.size();
  report["layers"] = lines(model.graph, plan, rounding.types.weight_bits);
  insert_rounding(model.graph, plan, ranges, rounding.types);
  return model;
}

OnnxModel stored_graph(const Graph& graph, const GraphExamples& examples, OnnxModel rounded, Json& report) {
  const c10::NoGradGuard unrecorded;
  store_codes(rounded);
  Graph stored(rounded);
  stored.compute_on(graph.device());
  const NamedValues inputs =
      examples.inputs(at::arange(examples.at_once, at::kLong).remainder(examples.count));
  const std::string& output = graph.outputs().front().name;
  const at::Tensor exact = graph.run(inputs).at(output).to(at::kDouble);
  const at::Tensor away = stored.run(inputs).at(output).to(at::kDouble) - exact;
  report["relative_error"] = (away.norm() / exact.norm().clamp_min(1e-30)).item<double>();
  return rounded;
}

}  // namespace wring
