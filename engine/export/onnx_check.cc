// The graph on this engine's executor, which knows nothing of the families.
#include "engine/export/onnx_check.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "engine/export/encoder_outputs.h"
#include "engine/model/onnx_source.h"

namespace wring {
namespace {

constexpr std::int64_t kTokens = 12, kFirst = 7, kPadded = 3;

// fp32: the same sums in another order. fp16: 2^-11 a value, over the depth of a network.
constexpr double kMostInFp32 = 1e-3, kMostInFp16 = 0.03;

// How far the graph's codes may be from the model's, by root mean square: what lies near the middle between
// two codes goes either way, one in sixteen at most; in fp16, whose values are up to 2^-11 of 128 codes off
// to begin with, one in four.
constexpr double kMostInCodes = 0.25, kMostInCodesOfFp16 = 0.5;
constexpr char kOwn[] = "/own";  // behind the name of codes: the graph's own

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

bool is_half(const Graph& graph) {
  const auto& tensors = graph.nodes().initializers;
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const OnnxTensor& tensor) { return tensor.type == OnnxType::kFloat16; });
}

double most_in_codes(const Graph& graph) {
  return is_half(graph) ? kMostInCodesOfFp16 : kMostInCodes;
}

// The codes that a model's layers round their inputs to, by the names that a graph has for them.
class ModelCodes final : public InputObserver {
 public:
  ModelCodes(const OnnxModel& onnx, const Model& model) {
    const OnnxTensors tensors(onnx);
    for (const Layer* layer : model.layers())
      if (input_rounding(layer->weight())) names_[layer] = tensors.input_codes(layer->name());
  }

  // Has the graph take these codes for its own, which become outputs.
  void replace_in(OnnxGraph& graph) const {
    std::set<std::string> names;
    for (const auto& [layer, name] : names_) {
      if (name.empty()) refuse(layer->name(), "rounds its inputs, and the graph has no codes of them");
      names.insert(name);
    }
    for (auto& node : graph.nodes)
      for (auto& output : node.outputs) {
        if (!names.contains(output)) continue;
        const auto type = node.operation == "QuantizeLinear" ? OnnxType::kUint8 : OnnxType::kFloat;
        graph.inputs.push_back({output, type, std::nullopt});
        output += kOwn;
        graph.outputs.push_back({output, std::nullopt, std::nullopt});
      }
  }

  void on_input(const Layer& layer, const at::Tensor& x) override {
    const auto it = names_.find(&layer);
    if (it == names_.end()) return;
    const InputRounding rounding = *input_rounding(layer.weight());
    const at::Tensor values = x.to(at::kFloat);
    const at::Tensor scale = rounding.is_static() ? at::full({1}, rounding.scale, values.options())
                                                  : values.abs().amax(-1, true).clamp_min(1e-30) / 127.5;
    const at::Tensor codes = (values / scale).round();
    codes_[it->second] = rounding.is_static() ? codes.add(rounding.zero + 128).clamp(0, 255).to(at::kByte)
                                              : codes.clamp(-128, 127);
  }

  // Of `count` positions from the `first` of two sequences.
  void give(NamedValues& inputs, std::int64_t first, std::int64_t count) const {
    for (const auto& [name, codes] : codes_) inputs[name] = piece(codes, first, count);
  }

  // The graph's own codes beside them, where `mask` has a token.
  void compare(const NamedValues& found, const at::Tensor& mask, std::int64_t first, std::int64_t count,
               double most) const {
    const at::Tensor keep = mask.narrow(1, first, count).to(at::kBool).unsqueeze(2);
    for (const auto& [name, codes] : codes_) {
      const at::Tensor own = value_of(found, name + kOwn), given = piece(codes, first, count);
      if (own.sizes() != given.sizes()) refuse(name, "is of another shape than the model's");
      const at::Tensor off = (own.to(at::kFloat) - given.to(at::kFloat)).masked_select(keep);
      const bool near = off.square().mean().sqrt().item<double>() <= most;  // a NaN is not
      if (!near) refuse(name, "are other codes than the model's inputs are rounded to");
    }
  }

 private:
  static at::Tensor piece(const at::Tensor& codes, std::int64_t first, std::int64_t count) {
    return codes.reshape({2, -1, codes.size(1)}).narrow(1, first, count).contiguous();
  }

  std::map<const Layer*, std::string> names_;
  std::map<std::string, at::Tensor> codes_;  // [rows, in]
};

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
  codes.compare(found, tokens.mask, 0, count, most_in_codes(graph));
  for (const auto& [name, value] : found)
    if (!expected.contains(name) && !name.ends_with(kOwn))
      refuse(name, "is an output that the model does not have");
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
    codes.compare(found, tokens.mask, first, count, most_in_codes(graph));
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
  const double most = is_half(graph) ? kMostInFp16 : kMostInFp32;
  if (furthest.value <= most) return furthest.value;  // a NaN is not
  throw Error(ErrorCode::kInternal, "EXPORT_DIFFERS",
              "the graph's outputs are " + format_number(100 * furthest.value, 3) +
                  " % from the model's, and its types explain " + format_number(100 * most, 1) + " %",
              furthest.output,
              "The file does not hold what the exporter meant: it has changed since, or this is a defect of "
              "Wring.");
}

}  // namespace wring
