// The graph on this engine's executor, which knows nothing of the families.
#include "engine/export/onnx_check.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

#include "common/text.h"
#include "engine/export/encoder_outputs.h"
#include "engine/export/model_codes.h"

namespace wring {
namespace {

constexpr std::int64_t kTokens = 12, kFirst = 7, kPadded = 3;

// fp32: the same sums in another order. fp16: 2^-11 a value, over the depth of a network.
constexpr double kMostInFp32 = 1e-3, kMostInFp16 = 0.03;

struct Tokens {
  at::Tensor ids, mask, positions, types;  // int64 [2, count]; the second sequence begins with padding
};

Tokens some_tokens(const Model& model, std::int64_t count, std::int64_t kinds) {
  const at::Tensor places = at::arange(2 * count, at::kLong).reshape({2, count});
  const at::Tensor row = at::arange(count, at::kLong).unsqueeze(0).expand({2, count}).contiguous();
  at::Tensor mask = at::ones({2, count}, at::kLong);
  mask[1].narrow(0, 0, std::min(kPadded, count - 1)).zero_();
  return {at::remainder(places * 7919 + 5, model.vocabulary_size()), mask, row, at::remainder(places, kinds)};
}

// Rows of a table of an encoder's embeddings; `otherwise` where there is none.
std::int64_t rows_of(const Model& model, const std::string& table, std::int64_t otherwise) {
  for (const auto& parameter : model.parameters())
    if (parameter.name.ends_with("embeddings." + table + ".weight")) return parameter.value.size(0);
  return otherwise;
}

NamedValues part_of(const Graph& graph, const Tokens& tokens, std::int64_t first, std::int64_t count) {
  NamedValues inputs;
  for (const auto& input : graph.inputs()) {
    const auto piece = [&](const at::Tensor& whole) { return whole.narrow(1, first, count); };
    if (input.name == "input_ids") inputs[input.name] = piece(tokens.ids);
    if (input.name == "position_ids") inputs[input.name] = piece(tokens.positions);
    if (input.name == "attention_mask") inputs[input.name] = tokens.mask.narrow(1, 0, first + count);
    if (input.name == "token_type_ids") inputs[input.name] = piece(tokens.types);
  }
  return inputs;
}

std::string present_of(const std::string& past) {
  return "present" + past.substr(past.find('.'));
}

bool is_past(const OnnxValue& input) {
  return input.name.starts_with("past_key_values.");
}

const at::Tensor& value_of(const NamedValues& values, const std::string& name) {
  const auto it = values.find(name);
  if (it == values.end()) throw_export_differs(name, name + " is no output of the graph");
  return it->second;
}

// What the cache holds after `earlier`; empty keys and values before anything was run.
void add_cache(const Graph& graph, const NamedValues* earlier, NamedValues& inputs) {
  for (const auto& input : graph.inputs()) {
    if (!is_past(input)) continue;
    if (!input.type || !input.shape || input.shape->size() != 4 || !(*input.shape)[1].size ||
        !(*input.shape)[3].size)
      throw_export_differs(input.name, "is declared otherwise than as heads of one size");
    const auto& shape = *input.shape;
    const auto type = *input.type == OnnxType::kFloat16 ? at::kHalf : at::kFloat;
    inputs[input.name] = earlier ? value_of(*earlier, present_of(input.name))
                                 : at::zeros({2, *shape[1].size, 0, *shape[3].size}, type);
  }
}

// Of what is made of each token, where there is no padding; of each sequence, otherwise.
double distance(const std::string& name, const at::Tensor& found, const at::Tensor& expected,
                const at::Tensor& mask) {
  if (found.sizes() != expected.sizes())
    throw_export_differs(name, name + " is of another shape than the model's");
  at::Tensor difference = found.to(at::kFloat) - expected, size = expected;
  const bool by_token = expected.dim() == 3 || name == "start_logits" || name == "end_logits";
  if (by_token) {
    const at::Tensor keep = expected.dim() == 3 ? mask.to(at::kBool).unsqueeze(2) : mask.to(at::kBool);
    difference = difference.masked_select(keep);
    size = size.masked_select(keep);
  }
  return (difference.square().mean() / size.square().mean()).sqrt().item<double>();
}

double most_allowed(const Graph& graph) {
  const auto& tensors = graph.nodes().initializers;
  const bool half = std::any_of(tensors.begin(), tensors.end(),
                                [](const OnnxTensor& tensor) { return tensor.type == OnnxType::kFloat16; });
  return half ? kMostInFp16 : kMostInFp32;
}

struct Distance {
  double value = 0;
  std::string output;

  void add(const std::string& name, double off) {
    if (!output.empty() && off <= value) return;  // a NaN is not
    value = off;
    output = name;
  }
};

Distance encoder_distance(const Graph& graph, const Model& model, ModelCodes& codes) {
  const Tokens tokens = some_tokens(model, std::min(kTokens, rows_of(model, "position_embeddings", kTokens)),
                                    rows_of(model, "token_type_embeddings", 1));
  const auto expected = encoder_outputs(model, tokens.ids, tokens.mask.to(at::kBool), tokens.types, &codes);
  const std::int64_t count = tokens.ids.size(1);
  NamedValues inputs = part_of(graph, tokens, 0, count);
  codes.give(inputs, 0, count);
  const NamedValues found = graph.run(inputs);
  codes.compare(found, tokens.mask, 0, count, most_allowed(graph));
  for (const auto& [name, value] : found)
    if (!expected.contains(name) && !codes.added(name))
      throw_export_differs(name, name + " is an output that the model does not have");
  Distance furthest;
  for (const auto& [name, value] : expected)
    furthest.add(name, distance(name, value_of(found, name), value, tokens.mask));
  return furthest;
}

// At once, and in two steps with the cache.
Distance decoder_distance(const Graph& graph, const Model& model, ModelCodes& codes) {
  const Tokens tokens = some_tokens(model, kTokens, 1);
  const std::string output = "logits";
  ForwardContext context;
  context.attention_mask = tokens.mask.to(at::kBool);
  context.observer = &codes;
  const at::Tensor expected = model.forward(tokens.ids, context);
  const auto run = [&](const NamedValues* earlier, std::int64_t first, std::int64_t count) {
    NamedValues inputs = part_of(graph, tokens, first, count);
    add_cache(graph, earlier, inputs);
    codes.give(inputs, first, count);
    NamedValues found = graph.run(inputs);
    codes.compare(found, tokens.mask, first, count, most_allowed(graph));
    return found;
  };
  Distance furthest;
  furthest.add(output, distance(output, value_of(run(nullptr, 0, kTokens), output), expected, tokens.mask));
  const NamedValues earlier = run(nullptr, 0, kFirst), later = run(&earlier, kFirst, kTokens - kFirst);
  const at::Tensor both = at::cat({value_of(earlier, output), value_of(later, output)}, 1);
  furthest.add(output, distance(output, both, expected, tokens.mask));
  return furthest;
}

}  // namespace

double check_onnx_graph(OnnxModel onnx, const Model& model) {
  const c10::NoGradGuard no_grad;
  ModelCodes codes(onnx, model);
  codes.replace_in(onnx.graph);
  const Graph graph(std::move(onnx));
  const Distance furthest = model.kind() == "encoder" ? encoder_distance(graph, model, codes)
                                                      : decoder_distance(graph, model, codes);
  const double most = most_allowed(graph);
  if (furthest.value <= most) return furthest.value;  // a NaN is not
  throw_export_differs(furthest.output, "the graph's outputs are " + format_number(100 * furthest.value, 3) +
                                            " % from the model's, and its types explain " +
                                            format_number(100 * most, 1) + " %");
}

}  // namespace wring
