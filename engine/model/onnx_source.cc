// Names and nodes back to weights.
#include "engine/model/onnx_source.h"

#include <utility>
#include <vector>

#include "common/error.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/model/packed_rows.h"
#include "formats/model_kind.h"

namespace wring {
namespace {

[[noreturn]] void refuse(const std::string& layer, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_WEIGHT_REP", what, layer,
              "The file is damaged, or was changed after its export.");
}

std::int64_t attribute(const OnnxNode& node, const char* name) {
  const auto* found = node.find(name);
  const auto* value = found ? std::get_if<std::int64_t>(&found->value) : nullptr;
  if (!value) refuse(node.name, std::string("its attribute ") + name + " is missing");
  return *value;
}

}  // namespace

OnnxModel read_onnx_export(const FileTree& tree) {
  const Json marker = parse_json(tree.open(kOnnxExportFile).read_all().text(), kOnnxExportFile);
  if (const auto version = json_at<int>(marker, "format_version", kOnnxExportFile);
      version < 1 || version > kOnnxExportVersion)
    throw Error(ErrorCode::kUnimplemented, "FORMAT_VERSION",
                "version " + std::to_string(version) + " of ONNX exports is not supported",
                std::string(kOnnxExportFile) + ".format_version",
                "This engine reads versions 1 to " + std::to_string(kOnnxExportVersion) + ".");
  return read_onnx(tree.open(kOnnxModelFile), [&](const std::string& path) { return tree.open(path); });
}

OnnxTensors::OnnxTensors(OnnxModel model) : model_(std::move(model)) {
  for (const auto& tensor : model_.graph.initializers) tensors_[tensor.name] = &tensor;
  for (const auto& node : model_.graph.nodes) {
    for (const auto& input : node.inputs) readers_.emplace(input, &node);
    for (const auto& output : node.outputs) makers_.emplace(output, &node);
  }
}

bool OnnxTensors::has(const std::string& name) const {
  return tensors_.contains(name) || tensors_.contains(name + kTransposed);
}

at::Tensor OnnxTensors::tensor(const std::string& name) const {
  if (const auto it = tensors_.find(name); it != tensors_.end()) return view_of(*it->second, name);
  if (tensors_.contains(name + kTransposed)) return matrix(name + kTransposed).t().contiguous();
  throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "the ONNX file has no such initializer", name);
}

at::Tensor OnnxTensors::matrix(const std::string& name) const {
  const at::Tensor found = tensor(name);
  if (found.dim() != 2) refuse(name, "is no matrix");
  return found;
}

const OnnxNode& OnnxTensors::reader_of(const std::string& tensor) const {
  const auto it = readers_.find(tensor);
  if (it == readers_.end()) refuse(tensor, "no node reads it");
  return *it->second;
}

std::shared_ptr<const WeightRep> OnnxTensors::weight(const std::string& layer) const {
  std::vector<std::shared_ptr<const WeightRep>> parts;
  while (auto next = part(layer + "." + std::to_string(parts.size()))) parts.push_back(std::move(next));
  auto weight = parts.empty() ? part(layer) : sum_rep(parts);
  if (!weight) (void)tensor(layer + ".weight");
  const OnnxNode* product = product_of(layer);
  const auto rounding = product ? rounding_by(*product) : std::nullopt;
  for (std::size_t i = 1; i < parts.size(); ++i)
    if (input_codes(layer + "." + std::to_string(i)) != input_codes(layer))
      refuse(layer, "its parts do not round the same input");
  try {
    return rounding ? rounded_input_rep(std::move(weight), *rounding) : weight;
  } catch (const Error& e) {
    refuse(layer, e.message());
  }
}

// Null where there is none of this name.
std::shared_ptr<const WeightRep> OnnxTensors::part(const std::string& name) const {
  if (tensors_.contains(name + ".codes")) return packed(name);
  if (tensors_.contains(name + ".codes_t")) return whole_rows(name);
  if (tensors_.contains(name + ".a_t"))
    return low_rank_rep(matrix(name + ".a_t").t(), matrix(name + ".b_t").t());
  if (has(name + ".weight")) return dense_rep(matrix(name + ".weight"));
  return nullptr;
}

std::shared_ptr<const WeightRep> OnnxTensors::packed(const std::string& name) const {
  const OnnxNode& node = reader_of(name + ".codes");
  const std::int64_t rows = attribute(node, "N"), columns = attribute(node, "K"),
                     bits = attribute(node, "bits"), block = attribute(node, "block_size");
  const at::Tensor codes = tensor(name + ".codes"), scales = tensor(name + ".scales");
  constexpr std::int64_t kMost = 1LL << 31;  // of rows and of columns
  if (rows < 1 || columns < 1 || rows > kMost || columns > kMost || block < 16 ||
      (bits != 2 && bits != 4 && bits != 8) || columns % block != 0 ||
      codes.numel() / rows != columns * bits / 8 || codes.numel() % rows != 0 ||
      scales.numel() != rows * (columns / block))
    refuse(name, "its codes and scales do not fit K, N, bits and block_size");
  const std::int64_t blocks = columns / block;
  const auto unpacked = [&](const at::Tensor& bytes, std::int64_t count) {
    return unpack_rows(bytes.reshape({rows, -1}), count, static_cast<int>(bits));
  };
  PackedInt parts{
      static_cast<int>(bits), block, unpacked(codes, columns), scales.reshape({rows, blocks}), {}};
  if (tensors_.contains(name + ".zeros")) {
    const at::Tensor zeros = tensor(name + ".zeros");
    if (zeros.numel() != rows * ((blocks * bits + 7) / 8))
      refuse(name, "its zero points are not one a block");
    parts.zeros = unpacked(zeros, blocks);
  }
  return packed_int_rep(parts);
}

// Codes and zero points, int8 ones as unsigned. Where all zero points are 128 the grid is symmetric.
std::shared_ptr<const WeightRep> OnnxTensors::whole_rows(const std::string& name) const {
  const auto shifted = [](const at::Tensor& values) {
    const bool is_unsigned = values.scalar_type() == at::kByte;
    return is_unsigned ? values.contiguous() : (values.to(at::kShort) + 128).to(at::kByte).contiguous();
  };
  const at::Tensor codes = matrix(name + ".codes_t").t(), scales = tensor(name + ".scales");
  if ((codes.scalar_type() != at::kByte && codes.scalar_type() != at::kChar) ||
      scales.scalar_type() != at::kFloat)
    refuse(name, "its codes and scales are no bytes and no fp32");
  PackedInt parts{8, codes.size(1), shifted(codes), scales.reshape({-1, 1}), {}};
  if (tensors_.contains(name + ".zeros")) {
    if (tensor(name + ".zeros").scalar_type() != codes.scalar_type())
      refuse(name, "its codes and zero points are of two types");
    const at::Tensor zeros = shifted(tensor(name + ".zeros")).reshape({-1, 1});
    if (!at::all(zeros == 128).item<bool>()) parts.zeros = zeros;
  }
  return packed_int_rep(parts);
}

// The node that multiplies by the layer's first tensor, or by what that is decoded to; null where it is
// looked up.
const OnnxNode* OnnxTensors::product_of(const std::string& layer) const {
  for (const std::string& prefix : {layer, layer + ".0"})
    for (const char* suffix : {".codes", ".codes_t", ".weight_t", ".a_t"}) {
      auto it = readers_.find(prefix + suffix);
      if (it == readers_.end()) continue;
      for (const char* decoding : {"DequantizeLinear", "Cast"})
        if (it->second->operation == decoding) {
          if (it->second->outputs.empty()) refuse(layer, "its weight is decoded to nothing");
          it = readers_.find(it->second->outputs.front());
          if (it == readers_.end()) refuse(layer, "nothing is multiplied by its weight");
        }
      return it->second;
    }
  return nullptr;
}

std::optional<InputRounding> OnnxTensors::rounding_by(const OnnxNode& product) const {
  if (product.operation == "MatMulInteger") return InputRounding{InputType::kInt8, -1};
  if (product.inputs.empty() || !product.inputs.front().ends_with(kRoundedInput)) return std::nullopt;
  const auto maker_of = [&](const std::string& value) {
    const auto it = makers_.find(value);
    if (it == makers_.end() || it->second->inputs.empty())
      refuse(product.name, "its rounded input is made by no node");
    return it->second;
  };
  const OnnxNode* last = maker_of(product.inputs.front());
  if (last->operation == "Cast") last = maker_of(last->inputs.front());
  InputRounding rounding{InputType::kInt8, -1};
  if (last->operation == "Identity" || last->operation == "Mul") return rounding;
  const OnnxNode* first = last->operation == "DequantizeLinear" ? maker_of(last->inputs.front()) : last;
  if (first->operation != "QuantizeLinear" || first->inputs.size() != 3 || last->inputs.size() != 3 ||
      first->inputs[1] != last->inputs[1] || first->inputs[2] != last->inputs[2])
    refuse(product.name,
           "its input is rounded by no QuantizeLinear and DequantizeLinear with one scale and zero point");
  const at::Tensor scale = tensor(last->inputs[1]), zero = tensor(last->inputs[2]);
  if (scale.numel() != 1 || zero.numel() != 1 || scale.scalar_type() != at::kFloat ||
      zero.scalar_type() != at::kByte)
    refuse(last->name, "its scale and zero point are no fp32 and no uint8");
  rounding.scale = scale.to(at::kDouble).item<double>();
  rounding.zero = zero.item<std::int64_t>() - 128;
  if (!rounding.is_static()) refuse(last->name, "its scale is 0");
  return rounding;
}

std::string OnnxTensors::input_codes(const std::string& layer) const {
  const OnnxNode* node = product_of(layer);
  constexpr int kMostSteps = 4;  // what makes values, or bytes, of codes
  for (int step = 0; node && !node->inputs.empty() && step < kMostSteps; ++step) {
    const std::string& value = node->inputs.front();
    if (value.ends_with(std::string(kRoundedInput) + kInputCodes)) return value;
    const auto maker = makers_.find(value);
    node = maker == makers_.end() ? nullptr : maker->second;
  }
  return "";
}

}  // namespace wring
