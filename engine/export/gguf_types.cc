// The model's tensors under GGUF's names, as llama-quantize's rules want to see them.
#include "engine/export/gguf_types.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "common/error.h"
#include "engine/model/gguf_names.h"

namespace wring {
namespace {

// At commas behind a type: a pattern may have some of its own, [0-9]{1,2}.
std::vector<std::string> split_overrides(const std::string& text) {
  const auto ends_with_type = [](const std::string& part) {
    const auto equals = part.rfind('=');
    return equals != std::string::npos && equals + 1 < part.size() &&
           std::all_of(part.begin() + static_cast<std::ptrdiff_t>(equals) + 1, part.end(),
                       [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  };
  std::vector<std::string> parts;
  bool whole = true;
  std::istringstream pieces(text);
  for (std::string piece; std::getline(pieces, piece, ',');) {
    if (whole)
      parts.push_back(piece);
    else
      parts.back() += "," + piece;
    whole = ends_with_type(parts.back());
  }
  return parts;
}

}  // namespace

GgufTypes::GgufTypes(const Params& params)
    : file_type_(read_parameter(
          params, "type",
          [&]() -> const GgufFileType& { return gguf_file_type(params.get<std::string>("type")); })),
      overrides_field_(params.field("tensor_types")),
      has_imatrix_(!params.get<std::string>("imatrix").empty()) {
  for (const auto& text : split_overrides(params.get<std::string>("tensor_types")))
    overrides_.push_back(
        read_parameter(params, "tensor_types", [&] { return parse_ggml_type_override(text); }));
}

namespace {

struct NamedShapes {
  std::vector<std::string> names;  // Hugging Face's
  std::vector<GgufTensorShape> shapes;

  void add(const std::string& name, std::vector<std::int64_t> shape) {
    names.push_back(name);
    shapes.push_back({gguf_name(name), std::move(shape)});
  }
};

NamedShapes shapes_of(const Model& model, const GgufArchitecture& architecture) {
  NamedShapes all;
  for (const Layer* layer : model.layers()) {
    all.add(layer->name() + ".weight", {layer->weight().rows(), layer->weight().columns()});
    if (layer->bias().defined()) all.add(layer->name() + ".bias", {layer->bias().size(0)});
  }
  for (const auto& parameter : model.parameters())
    if (architecture.holds(parameter.name)) all.add(parameter.name, parameter.value.sizes().vec());
  return all;
}

}  // namespace

std::map<std::string, GgmlType> GgufTypes::of(const Model& model,
                                              const GgufArchitecture& architecture) const {
  const auto [names, shapes] = shapes_of(model, architecture);
  const auto types = choose_ggml_types(file_type_, architecture.facts(), shapes, has_imatrix_, overrides_);
  std::map<std::string, GgmlType> by_name;
  for (std::size_t i = 0; i < names.size(); ++i) by_name.emplace(names[i], types[i]);
  return by_name;
}

void GgufTypes::check_patterns(const Model& model, const GgufArchitecture& architecture) const {
  const auto shapes = shapes_of(model, architecture).shapes;
  for (const auto& override : overrides_) {
    const auto fits_tensor = [&](const GgufTensorShape& tensor) {
      return names_tensor(override, tensor.name);
    };
    if (std::none_of(shapes.begin(), shapes.end(), fits_tensor))
      throw Error(ErrorCode::kInvalidArgument, "BAD_TENSOR_TYPE",
                  "'" + override.pattern + "' is found in no tensor's name", overrides_field_,
                  "Names are GGUF's, such as " + shapes[1].name + " and " + shapes.back().name + ".");
  }
}

}  // namespace wring
