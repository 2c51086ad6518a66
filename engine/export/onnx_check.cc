// The graph on this engine's executor, which knows nothing of the families.
#include "engine/export/onnx_check.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "common/error.h"
#include "common/text.h"
#include "engine/export/encoder_outputs.h"

namespace wring {
namespace {

constexpr std::int64_t kTokens = 12, kFirst = 7, kPadded = 3;

// fp32: the same sums in another order. fp16: 2^-11 a value, over the depth of a network. Rounded inputs:
// what lies half-way between two codes goes either way.
constexpr double kMostInFp32 = 1e-3, kMostInFp16 = 0.03, kMostRounded = 0.15;

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

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  throw Error(ErrorCode::kInternal, "EXPORT_DIFFERS", name + " " + what, name,
              "The file does not hold what the exporter meant: it has changed since, or this is a defect of "
              "Wring.");
}

const at::Tensor& value_of(const NamedValues& values, const std::string& name) {
  const auto it = values.find(name);
  if (it == values.end()) refuse(name, "is no output of the graph");
  return it->second;
}

// What the cache holds after `earlier`; empty keys and values before anything was run.
void add_cache(const Graph& graph, const NamedValues* earlier, NamedValues& inputs) {
  for (const auto& input : graph.inputs()) {
    if (!is_past(input)) continue;
    if (!input.type || !input.shape || input.shape->size() != 4 || !(*input.shape)[1].size ||
        !(*input.shape)[3].size)
      refuse(input.name, "is declared otherwise than as heads of one size");
    const auto& shape = *input.shape;
    const auto type = *input.type == OnnxType::kFloat16 ? at::kHalf : at::kFloat;
    inputs[input.name] = earlier ? value_of(*earlier, present_of(input.name))
                                 : at::zeros({2, *shape[1].size, 0, *shape[3].size}, type);
  }
}

// Of what is made of each token, where there is no padding; of each sequence, otherwise.
double distance(const std::string& name, const at::Tensor& found, const at::Tensor& expected,
                const at::Tensor& mask) {
  if (found.sizes() != expected.sizes()) refuse(name, "is of another shape than the model's");
  at::Tensor difference = found.to(at::kFloat) - expected, size = expected;
  const bool by_token = expected.dim() == 3 || name == "start_logits" || name == "end_logits";
  if (by_token) {
    const at::Tensor keep = expected.dim() == 3 ? mask.to(at::kBool).unsqueeze(2) : mask.to(at::kBool);
    difference = difference.masked_select(keep);
    size = size.masked_select(keep);
  }
  return (difference.square().mean() / size.square().mean()).sqrt().item<double>();
}

double most_allowed(const Graph& graph, const Model& model) {
  const auto layers = model.layers();
  if (std::any_of(layers.begin(), layers.end(),
                  [](const Layer* layer) { return input_rounding(layer->weight()).has_value(); }))
    return kMostRounded;
  const auto& nodes = graph.nodes().initializers;
  const bool half = std::any_of(nodes.begin(), nodes.end(),
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

Distance encoder_distance(const Graph& graph, const Model& model) {
  const Tokens tokens = some_tokens(model, std::min(kTokens, rows_of(model, "position_embeddings", kTokens)),
                                    rows_of(model, "token_type_embeddings", 1));
  const auto expected = encoder_outputs(model, tokens.ids, tokens.mask.to(at::kBool), tokens.types);
  const NamedValues found = graph.run(part_of(graph, tokens, 0, tokens.ids.size(1)));
  for (const auto& [name, value] : found)
    if (!expected.contains(name)) refuse(name, "is an output that the model does not have");
  Distance furthest;
  for (const auto& [name, value] : expected)
    furthest.add(name, distance(name, value_of(found, name), value, tokens.mask));
  return furthest;
}

// At once, and in two steps with the cache.
Distance decoder_distance(const Graph& graph, const Model& model) {
  const Tokens tokens = some_tokens(model, kTokens, 1);
  const std::string output = "logits";
  ForwardContext context;
  context.attention_mask = tokens.mask.to(at::kBool);
  const at::Tensor expected = model.forward(tokens.ids, context);
  NamedValues inputs = part_of(graph, tokens, 0, kTokens);
  add_cache(graph, nullptr, inputs);
  Distance furthest;
  furthest.add(output, distance(output, value_of(graph.run(inputs), output), expected, tokens.mask));
  NamedValues first = part_of(graph, tokens, 0, kFirst);
  add_cache(graph, nullptr, first);
  const NamedValues earlier = graph.run(first);
  NamedValues rest = part_of(graph, tokens, kFirst, kTokens - kFirst);
  add_cache(graph, &earlier, rest);
  const at::Tensor both = at::cat({value_of(earlier, output), value_of(graph.run(rest), output)}, 1);
  furthest.add(output, distance(output, both, expected, tokens.mask));
  return furthest;
}

}  // namespace

double check_onnx_graph(const Graph& graph, const Model& model) {
  const c10::NoGradGuard no_grad;
  const Distance furthest =
      model.kind() == "encoder" ? encoder_distance(graph, model) : decoder_distance(graph, model);
  const double most = most_allowed(graph, model);
  if (furthest.value <= most) return furthest.value;  // a NaN is not
  throw Error(ErrorCode::kInternal, "EXPORT_DIFFERS",
              "the graph's outputs are " + format_number(100 * furthest.value, 3) +
                  " % from the model's, and its types explain " + format_number(100 * most, 1) + " %",
              furthest.output,
              "The file does not hold what the exporter meant: it has changed since, or this is a defect of "
              "Wring.");
}

}  // namespace wring
