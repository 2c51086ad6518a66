// A layer's input in columns is what the layer itself gives with the identity as its weight.
#include "engine/methods/graph/readers.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "engine/graph/onnx_tensor.h"
#include "engine/math/cholesky.h"

namespace wring {
namespace {

std::int64_t integer_of(const OnnxNode& node, const char* name, std::int64_t fallback) {
  const auto* attribute = node.find(name);
  return attribute ? std::get<std::int64_t>(attribute->value) : fallback;
}

// The axis of a weight's inputs; none where the node is no such layer.
std::optional<std::int64_t> input_axis(const OnnxNode& node, const at::Tensor& weight) {
  if (!node.domain.empty()) return std::nullopt;
  if (node.operation == "Conv")
    return integer_of(node, "group", 1) == 1 ? std::optional<std::int64_t>(1) : std::nullopt;
  if (weight.dim() != 2) return std::nullopt;
  if (node.operation == "MatMul") return 0;
  if (node.operation == "Gemm") return integer_of(node, "transB", 0) != 0 ? 1 : 0;
  return std::nullopt;
}

at::Tensor identity(const at::Tensor& weight, const PlainReader& reader) {
  const std::int64_t columns = weight.size(reader.axis) * reader.each;
  const at::Tensor eye = at::eye(columns, weight.scalar_type());
  if (weight.dim() == 2) return eye;
  std::vector<std::int64_t> sizes = weight.sizes().vec();
  sizes[0] = columns;
  return eye.view(sizes);
}

// The graph up to the layer.
class Columns {
 public:
  Columns(const Graph& graph, const PlainReader& reader) {
    OnnxModel model = graph.to_onnx();
    auto& nodes = model.graph.nodes;
    const auto layer = std::find_if(nodes.begin(), nodes.end(), [&](const OnnxNode& node) {
      return node.inputs.size() > 1 && node.inputs[1] == reader.weight;
    });
    nodes.erase(layer + 1, nodes.end());
    nodes.back().inputs.resize(2);
    channels_first_ = nodes.back().operation == "Conv";
    model.graph.outputs = {{nodes.back().outputs.front(), std::nullopt, std::nullopt}};
    for (auto& tensor : model.graph.initializers)
      if (tensor.name == reader.weight)
        tensor = to_onnx(tensor.name, identity(to_tensor(tensor, tensor.name), reader));
    graph_ = std::make_unique<Graph>(std::move(model));
    graph_->compute_on(graph.device());
  }

  // [rows, columns]
  at::Tensor of(const NamedValues& inputs) const {
    at::Tensor value = graph_->run(inputs).begin()->second;
    if (channels_first_) value = value.movedim(1, -1);
    return value.reshape({-1, value.size(-1)});
  }

 private:
  bool channels_first_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace

std::vector<PlainReader> plain_readers(const Graph& graph) {
  std::map<std::string, int> uses;
  for (const auto& node : graph.nodes().nodes)
    for (const auto& name : node.inputs) ++uses[name];
  std::map<std::string, at::Tensor> weights;
  for (const auto& parameter : graph.parameters())
    if (parameter.value.scalar_type() == at::kFloat && uses[parameter.name] == 1)
      weights.emplace(parameter.name, parameter.value);
  std::vector<PlainReader> readers;
  for (const auto& node : graph.nodes().nodes) {
    if (node.inputs.size() < 2 || !weights.contains(node.inputs[1])) continue;
    const at::Tensor& weight = weights.at(node.inputs[1]);
    if (const auto axis = input_axis(node, weight))
      readers.push_back({node.inputs[1], *axis, weight.numel() / weight.size(0) / weight.size(1)});
  }
  return readers;
}

at::Tensor weight_rows(Graph& graph, const PlainReader& reader) {
  const at::Tensor weight = graph.find_tensor(reader.weight)->detach().cpu().to(at::kDouble);
  return reader.axis == 0 ? weight.t() : weight.flatten(1);
}

void set_weight_rows(Graph& graph, const PlainReader& reader, const at::Tensor& rows) {
  at::Tensor& weight = *graph.find_tensor(reader.weight);
  weight.copy_(reader.axis == 0 ? rows.t() : rows.view(weight.sizes()));
}

Grams input_grams(const Graph& graph, const Graph& was, const PlainReader& reader,
                  const GraphExamples& examples) {
  const Columns now(graph, reader), before(was, reader);
  Grams grams;
  const auto add = [](at::Tensor& sum, const at::Tensor& x, const at::Tensor& y) {
    const at::Tensor product = x.t().mm(y).cpu().to(at::kDouble);
    sum = sum.defined() ? sum.add_(product) : product;
  };
  for (std::int64_t first = 0; first < examples.count; first += examples.at_once) {
    const NamedValues inputs =
        examples.inputs((at::arange(examples.at_once, at::kLong) + first).remainder(examples.count));
    const at::Tensor x = now.of(inputs), y = before.of(inputs);
    add(grams.is, x, x);
    add(grams.is_was, x, y);
    add(grams.was, y, y);
  }
  return grams;
}

// W' = W + W (X X'^T - X' X'^T) (X' X'^T + d)^-1: exactly W where X' is X.
at::Tensor fitted_rows(const at::Tensor& rows, const Grams& grams, double damping) {
  const at::Tensor upper = invert_damped(grams.is, damping, /*descending=*/false).upper.to(at::kDouble);
  return rows + rows.mm(grams.is_was.t() - grams.is).mm(upper.t()).mm(upper);
}

double fit_error(const at::Tensor& fitted, const at::Tensor& rows, const Grams& grams) {
  const double whole = (rows.mm(grams.was) * rows).sum().item<double>();
  const at::Tensor away = fitted.mm(grams.is) * fitted - 2 * fitted.mm(grams.is_was) * rows;
  return whole > 0 ? std::max(0.0, whole + away.sum().item<double>()) / whole : 0;
}

Json solve_layer(Graph& graph, Graph& was, const PlainReader& reader, const GraphExamples& examples,
                 double damping) {
  const Grams grams = input_grams(graph, was, reader, examples);
  const at::Tensor rows = weight_rows(was, reader), fitted = fitted_rows(rows, grams, damping);
  set_weight_rows(graph, reader, fitted);
  return {{"layer", reader.weight}, {"relative_error", fit_error(fitted, rows, grams)}};
}

}  // namespace wring
