// Codes by the arithmetic of the graph's nodes, which is that of rounded_input_rep.cc.
#include "engine/export/model_codes.h"

#include "common/error.h"
#include "common/text.h"
#include "engine/model/onnx_source.h"

namespace wring {
namespace {

constexpr char kOwn[] = "/own";  // behind the name of codes: the graph's own

// uint8 of one scale; by token floats from -128 to 127.
at::Tensor codes_of(const at::Tensor& x, const InputRounding& rounding) {
  if (rounding.is_static())
    return (x / at::full({1}, rounding.scale, x.options()))
        .round()
        .add(rounding.zero + 128)
        .clamp(0, 255)
        .to(at::kByte);
  return (x / (x.abs().amax(-1, true).clamp_min(1e-30) / 127.5)).round().clamp(-128, 127);
}

at::Tensor piece(const at::Tensor& rows, std::int64_t first, std::int64_t count) {
  return rows.reshape({2, -1, rows.size(1)}).narrow(1, first, count).contiguous();
}

at::Tensor value_of(const NamedValues& values, const std::string& name, const at::Tensor& like) {
  const auto it = values.find(name);
  if (it == values.end()) throw_export_differs(name, "is no value of the graph");
  if (it->second.sizes() != like.sizes()) throw_export_differs(name, "is of another shape than the model's");
  return it->second.to(at::kFloat);
}

// What is rounded: QuantizeLinear's input, or what a token's largest divides.
std::string rounded_by(const OnnxNode& codes, const std::map<std::string, const OnnxNode*>& makers) {
  if (codes.operation == "QuantizeLinear") return codes.inputs.empty() ? "" : codes.inputs.front();
  constexpr int kMostSteps = 3;  // Clip, Round, Div
  const OnnxNode* node = &codes;
  for (int step = 0; step < kMostSteps && !node->inputs.empty(); ++step) {
    if (node->operation == "Div") return node->inputs.front();
    const auto maker = makers.find(node->inputs.front());
    if (maker == makers.end()) break;
    node = maker->second;
  }
  return "";
}

}  // namespace

void throw_export_differs(const std::string& name, const std::string& what) {
  throw Error(ErrorCode::kInternal, "EXPORT_DIFFERS", what, name,
              "The file does not hold what the exporter meant: it has changed since, or this is a defect of "
              "Wring.");
}

ModelCodes::ModelCodes(const OnnxModel& onnx, const Model& model) {
  const OnnxTensors tensors(onnx);
  for (const Layer* layer : model.layers()) {
    const auto rounding = input_rounding(layer->weight());
    if (!rounding) continue;
    const std::string name = names_[layer] = tensors.input_codes(layer->name());
    if (name.empty())
      throw Error(ErrorCode::kUnimplemented, "FORMAT_VERSION",
                  "it rounds its inputs, and the graph has no name for their codes", layer->name(),
                  "A file of format_version 1 can be read, and not checked: export again.");
    inputs_.try_emplace(name, Input{layer->name(), *rounding, "", {}});
  }
}

void ModelCodes::replace_in(OnnxGraph& graph) {
  std::map<std::string, const OnnxNode*> makers;
  for (const auto& node : graph.nodes)
    for (const auto& output : node.outputs) makers[output] = &node;
  for (auto& [name, input] : inputs_) {
    input.rounded = rounded_by(*makers.at(name), makers);
    if (input.rounded.empty()) throw_export_differs(input.layer, "its inputs are rounded by other nodes");
    outputs_.insert({input.rounded, name + kOwn});
  }
  for (auto& node : graph.nodes)
    for (auto& output : node.outputs) {
      if (!inputs_.contains(output)) continue;
      const auto type = node.operation == "QuantizeLinear" ? OnnxType::kUint8 : OnnxType::kFloat;
      graph.inputs.push_back({output, type, std::nullopt});
      output += kOwn;
    }
  for (const auto& name : outputs_) graph.outputs.push_back({name, std::nullopt, std::nullopt});
}

void ModelCodes::on_input(const Layer& layer, const at::Tensor& x) {
  if (const auto it = names_.find(&layer); it != names_.end()) inputs_.at(it->second).x = x.to(at::kFloat);
}

void ModelCodes::give(NamedValues& inputs, std::int64_t first, std::int64_t count) const {
  for (const auto& [name, input] : inputs_)
    inputs[name] = piece(codes_of(input.x, input.rounding), first, count);
}

void ModelCodes::compare(const NamedValues& found, const at::Tensor& mask, std::int64_t first,
                         std::int64_t count, double most) const {
  constexpr double kMostOthers = 0.01;  // of codes: a quotient's last bit
  const at::Tensor keep = mask.narrow(1, first, count).to(at::kBool).unsqueeze(2);
  for (const auto& [name, input] : inputs_) {
    const at::Tensor meant = piece(input.x, first, count), x = value_of(found, input.rounded, meant);
    const double size = meant.masked_select(keep).square().mean().sqrt().item<double>(),
                 far = (x - meant).masked_select(keep).square().mean().sqrt().item<double>();
    if (!(far <= most * size))  // a NaN is not
      throw_export_differs(input.layer, "its inputs in the graph are " + format_number(100 * far / size, 3) +
                                            " % from the model's, and its types explain " +
                                            format_number(100 * most, 1) + " %");
    const at::Tensor own = value_of(found, name + kOwn, meant),
                     off = (own - codes_of(x, input.rounding).to(at::kFloat)).masked_select(keep).abs();
    const bool good = at::equal(own, own.round()) && off.max().item<double>() <= 1 &&
                      off.count_nonzero().item<double>() <= kMostOthers * static_cast<double>(off.numel());
    if (!good)
      throw_export_differs(input.layer, "its inputs' codes in the graph are others than it rounds to");
  }
}

}  // namespace wring
