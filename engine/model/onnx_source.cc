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
      version != kOnnxExportVersion)
    throw Error(ErrorCode::kUnimplemented, "FORMAT_VERSION",
                "version " + std::to_string(version) + " of ONNX exports is not supported",
                std::string(kOnnxExportFile) + ".format_version",
                "This engine reads version " + std::to_string(kOnnxExportVersion) + ".");
  return read_onnx(tree.open(kOnnxModelFile), [&](const std::string& path) { return tree.open(path); });
}

OnnxTensors::OnnxTensors(OnnxModel model) : model_(std::move(model)) {
  for (const auto& tensor : model_.graph.initializers) tensors_[tensor.name] = &tensor;
  for (const auto& node : model_.graph.nodes)
    for (const auto& input : node.inputs)
      if (tensors_.contains(input)) readers_.emplace(input, &node);
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
  return rounds_input(layer) ? rounded_input_rep(std::move(weight), {InputType::kInt8, -1}) : weight;
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

// int8 codes and zero points, as unsigned ones.
std::shared_ptr<const WeightRep> OnnxTensors::whole_rows(const std::string& name) const {
  const auto shifted = [](const at::Tensor& values) {
    return (values.to(at::kShort) + 128).to(at::kByte).contiguous();
  };
  const at::Tensor codes = matrix(name + ".codes_t").t(), scales = tensor(name + ".scales");
  PackedInt parts{8, codes.size(1), shifted(codes), scales.reshape({-1, 1}), {}};
  if (tensors_.contains(name + ".zeros")) parts.zeros = shifted(tensor(name + ".zeros")).reshape({-1, 1});
  return packed_int_rep(parts);
}

bool OnnxTensors::rounds_input(const std::string& layer) const {
  for (const std::string prefix : {layer, layer + ".0"})
    for (const char* suffix : {".codes", ".codes_t", ".weight_t", ".a_t"}) {
      const auto it = readers_.find(prefix + suffix);
      if (it == readers_.end()) continue;
      const OnnxNode& node = *it->second;
      return node.operation == "MatMulInteger" ||
             (node.operation != "DequantizeLinear" && node.inputs.front().ends_with(kRoundedInput));
    }
  return false;
}

}  // namespace wring
