// Format by format, a sum over the layers: values x bits / 8, and the scales of their groups.
#include "engine/export/asked_bytes.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "common/error.h"
#include "engine/export/gguf_types.h"
#include "engine/export/integer_grid.h"
#include "engine/export/pad.h"
#include "engine/model/sum_rep.h"

namespace wring {
namespace {

constexpr double kHalf = 2, kFloat = 4, kWord = 4;  // bytes

double values_of(const WeightRep& rep) {
  return static_cast<double>(rep.rows()) * static_cast<double>(rep.columns());
}

double elements_of(const WeightRep& rep, const char* suffix) {
  for (const auto& named : rep.tensors())
    if (named.suffix == suffix) return static_cast<double>(named.tensor.numel());
  return 0;
}

double size_of(at::ScalarType type) {
  return static_cast<double>(at::elementSize(type));
}

// Rows of `count` codes of `bits`, each row in whole words.
double packed_bytes(double rows, double count, int bits, double word_bytes) {
  return rows * std::ceil(count * bits / (8 * word_bytes)) * word_bytes;
}

// A packed-int weight.
struct Grid {
  explicit Grid(const WeightRep& rep)
      : rows(static_cast<double>(rep.rows())),
        columns(static_cast<double>(rep.columns())),
        bits(json_at<int>(rep.attributes(), "bits", "attributes")),
        group_size(json_at<std::int64_t>(rep.attributes(), "group_size", "attributes")),
        symmetric(json_at<bool>(rep.attributes(), "symmetric", "attributes")) {}

  double groups() const { return columns / static_cast<double>(group_size); }  // of a row
  // Where codes and zero points fill their words: `scale` and a zero point a group.
  double bytes(double scale) const { return rows * (columns * bits / 8 + groups() * (scale + bits / 8.0)); }

  double rows, columns;
  int bits;
  std::int64_t group_size;
  bool symmetric;
};

double compressed_tensors(const Layer& layer, double scale) {
  const WeightRep& rep = without_rounding(layer.weight());
  if (is_integer_grid(layer)) {
    const Grid grid(rep);
    const bool in_bytes = grid.bits == 8 && input_rounding(layer.weight());
    const double zeros = grid.symmetric ? 0 : packed_bytes(grid.groups(), grid.rows, grid.bits, kWord);
    constexpr double kShape = 16;
    const double codes =
        in_bytes ? values_of(rep) : packed_bytes(grid.rows, grid.columns, grid.bits, kWord) + kShape;
    return codes + grid.rows * grid.groups() * scale + zeros;
  }
  if (is_float8(layer)) return values_of(rep) + elements_of(rep, "scales") * scale;
  if (is_float4(layer)) return values_of(rep) / 2 + elements_of(rep, "scales");
  return values_of(rep) * scale;
}

double gptq(const Layer& layer) {
  const WeightRep& rep = layer.weight();
  if (!is_integer_grid(layer)) return values_of(rep) * kHalf;
  constexpr double kGroupOfInput = 4;
  return Grid(without_rounding(rep)).bytes(kHalf) + kGroupOfInput * static_cast<double>(rep.columns());
}

double awq(const Layer& layer) {
  return is_integer_grid(layer) ? Grid(without_rounding(layer.weight())).bytes(kHalf)
                                : values_of(layer.weight()) * kHalf;
}

// MatMulNBits: codes of 2, 4 or 8 bits in blocks of at most 128, a power of two that divides the group.
double onnx_term(const WeightRep& rep, bool packed, double size, bool with_zeros) {
  if (rep.format() == "low-rank") return static_cast<double>(rep.parameters()) * size;
  if (rep.format() != "packed-int" || !packed) return values_of(rep) * size;
  Grid grid(rep);
  const bool whole_rows = grid.bits == 8 && grid.group_size == rep.columns();
  grid.bits = grid.bits <= 2 ? 2 : grid.bits <= 4 ? 4 : 8;
  if (!whole_rows) grid.group_size = std::gcd(grid.group_size, std::int64_t{128});
  return packed_bytes(grid.rows, grid.columns, grid.bits, 1) +
         grid.rows * grid.groups() * (whole_rows ? kFloat : size) +
         (grid.symmetric && !(whole_rows && with_zeros)
              ? 0
              : packed_bytes(grid.rows, grid.groups(), grid.bits, 1));
}

// `exact`: whole rows of bytes whose inputs are rounded on one scale have a zero point each.
double onnx(const Layer& layer, bool packed, double size, bool exact) {
  if (layer.class_name() != "Linear") return values_of(layer.weight()) * size;
  double bytes = 0;
  const WeightRep& rep = without_rounding(layer.weight());
  const auto rounding = input_rounding(layer.weight());
  for (const auto& term : terms_of(std::shared_ptr<const WeightRep>(layer.shared_weight(), &rep)))
    bytes += onnx_term(*term, packed, size, exact && rounding && rounding->is_static());
  return bytes;
}

using BytesOfLayer = std::function<double(const Layer&)>;

// `size`: of a bias's value.
double layers_bytes(const Model& model, const BytesOfLayer& weight, double size) {
  double bytes = 0;
  for (const Layer* layer : model.layers()) {
    bytes += weight(*layer);
    if (layer->bias().defined()) bytes += static_cast<double>(layer->bias().numel()) * size;
  }
  return bytes;
}

double parameters_bytes(const Model& model, const std::function<double(const Parameter&)>& size) {
  double bytes = 0;
  for (const auto& parameter : model.parameters())
    bytes += static_cast<double>(parameter.value.numel()) * size(parameter);
  return bytes;
}

// transformers' Llama has biases in all four linear layers of its attention or in none, and in all three of
// its MLP or in none.
double missing_biases(const Model& model) {
  if (json_or<std::string>(model.config(), "model_type", "") != "llama") return 0;
  double all = 0;
  for (const char* part : {".self_attn.", ".mlp."}) {
    double missing = 0;
    bool any = false;
    for (const Layer* layer : model.layers()) {
      if (layer->name().find(part) == std::string::npos) continue;
      any = any || layer->bias().defined();
      if (!layer->bias().defined()) missing += static_cast<double>(layer->weight().rows());
    }
    if (any) all += missing;
  }
  return all;
}

double folder_bytes(const Model& model, const BytesOfLayer& weight, double size) {
  return layers_bytes(model, weight, size) + missing_biases(model) * size +
         parameters_bytes(model, [&](const Parameter&) { return size; });
}

// Norms, poolers and heads are fp32 in every graph, tables of embeddings are not. Of two biases that are one,
// one is stored.
double onnx_bytes(const Model& model, const Params& params) {
  const double size = size_of(export_dtype(params.get<std::string>("dtype")));
  const bool packed = params.get<std::string>("weights") == "packed";
  const bool exact = params.get<std::string>("products") == "exact";
  const auto weight = [&](const Layer& layer) { return onnx(layer, packed, size, exact); };
  const auto& all = model.parameters();
  const bool twice = std::any_of(all.begin(), all.end(),
                                 [](const Parameter& p) { return p.name == "cls.predictions.bias"; });
  return layers_bytes(model, weight, size) + parameters_bytes(model, [&](const Parameter& parameter) {
           if (twice && parameter.name == "cls.predictions.decoder.bias") return 0.0;
           return parameter.name.ends_with("_embeddings.weight") ? size : kFloat;
         });
}

double gguf_bytes(const Model& model, const Params& params) {
  const GgufArchitecture architecture(model);
  const auto types = GgufTypes(params).of(model, architecture);
  const auto weight = [&](const Layer& layer) {
    return static_cast<double>(layer.weight().rows()) *
           static_cast<double>(ggml_row_bytes(types.at(layer.name() + ".weight"),
                                              static_cast<std::uint64_t>(layer.weight().columns())));
  };
  return layers_bytes(model, weight, kFloat) + parameters_bytes(model, [&](const Parameter& parameter) {
           return architecture.holds(parameter.name) ? kFloat : 0.0;
         });
}

double bytes_in(const std::string& format, const Model& model, const Params& params) {
  const auto dtype = [&] { return size_of(export_dtype(params.get<std::string>("dtype"))); };
  if (format == "huggingface")
    return folder_bytes(
        model, [&](const Layer& l) { return values_of(l.weight()) * dtype(); }, dtype());
  if (format == "gptq-checkpoint") return folder_bytes(model, gptq, kHalf);
  if (format == "awq-checkpoint") return folder_bytes(model, awq, kHalf);
  if (format == "onnx") return onnx_bytes(model, params);
  if (format == "gguf") return gguf_bytes(model, params);
  if (format == "wring") return static_cast<double>(model.stored_bytes());
  if (format == "compressed-tensors") {
    const double scale = size_of(scale_dtype(model, params.get<std::string>("dtype")));
    return folder_bytes(
        model, [&](const Layer& l) { return compressed_tensors(l, scale); }, scale);
  }
  throw Error(ErrorCode::kUnimplemented, "UNKNOWN_FORMAT",
              "what an export as '" + format + "' should take is not known");
}

}  // namespace

Json AskedBytes::to_json() const {
  Json json{{"bytes", bytes}};
  if (at_most) json["at_most"] = true;
  return json;
}

AskedBytes asked_bytes(const Model& model, const std::string& format, const Params& params) {
  const bool padded = params.has("pad") && params.get<bool>("pad");
  const auto wider = padded ? padded_model(model) : nullptr;
  AskedBytes asked;
  asked.bytes = static_cast<std::uint64_t>(std::llround(bytes_in(format, padded ? *wider : model, params)));
  if (const auto size = params.has("size") ? params.get<std::uint64_t>("size") : 0; size > 0)
    asked = {std::min(asked.bytes, size), true};
  return asked;
}

}  // namespace wring
