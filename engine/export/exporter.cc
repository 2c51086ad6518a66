// What exporters share: claims, the table of formats, safetensors folders.
#include "engine/export/exporter.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "common/digest.h"
#include "common/error.h"
#include "common/files.h"
#include "engine/model/load.h"
#include "engine/model/tensor_file.h"

namespace wring {
namespace {

std::map<std::string, Exporter>& exporters() {
  static std::map<std::string, Exporter> table;
  return table;
}

void add_values(Sha256& hash, const at::Tensor& values) {
  const at::Tensor plain = values.to(at::kCPU, at::kFloat).contiguous();
  hash.update(
      std::as_bytes(std::span(plain.const_data_ptr<float>(), static_cast<std::size_t>(plain.numel()))));
}

}  // namespace

std::string digest_of(const at::Tensor& tensor) {
  Sha256 hash;
  add_values(hash, tensor);
  return hash.finish().hex();
}

std::string digest_of(const WeightRep& weight) {
  constexpr std::int64_t kRowsAtOnce = 16384;  // a head is not decoded as a whole
  Sha256 hash;
  if (weight.rows() <= kRowsAtOnce) {
    add_values(hash, weight.decode(at::kFloat));
    return hash.finish().hex();
  }
  for (std::int64_t first = 0; first < weight.rows(); first += kRowsAtOnce)
    add_values(hash,
               weight.decode_rows(at::arange(first, std::min(first + kRowsAtOnce, weight.rows()), at::kLong),
                                  at::kFloat));
  return hash.finish().hex();
}

void Claims::weight(const std::string& layer, const WeightRep& meant) {
  weights_[layer] = digest_of(meant);
}

void Claims::tensor(const std::string& name, const at::Tensor& meant) {
  tensors_[name] = digest_of(meant);
}

Json Claims::to_json() const {
  return {{"weights", weights_}, {"tensors", tensors_}, {"bytes", bytes_}};
}

bool register_exporter(const char* name, Exporter exporter) {
  return exporters().emplace(name, exporter).second;
}

Exporter find_exporter(const std::string& name) {
  const auto it = exporters().find(name);
  if (it == exporters().end())
    throw Error(ErrorCode::kUnimplemented, "UNKNOWN_FORMAT", "this engine does not write '" + name + "'",
                "to");
  return it->second;
}

void TensorFolder::add(TensorToWrite tensor) {
  std::uint64_t bytes = element_size(tensor.type);
  for (const auto n : tensor.shape) bytes *= static_cast<std::uint64_t>(n);
  claims_.bytes(bytes);
  tensors_.push_back(std::move(tensor));
}

void TensorFolder::plain(const Layer& layer, at::ScalarType dtype) {
  const auto rep = layer.shared_weight();
  // Rounded to `dtype` and no more: a digest of what decode() gives in it.
  claims_.weight(layer.name(), *dense_rep(rep->decode(dtype)));
  TensorToWrite tensor = to_write(layer.name() + ".weight", at::empty({0, 0}, dtype));
  tensor.shape = {rep->rows(), rep->columns()};
  tensor.data = [rep, dtype] {
    const auto values = std::make_shared<at::Tensor>(rep->decode(dtype).contiguous());
    return Bytes{{static_cast<const std::byte*>(values->const_data_ptr()), values->nbytes()}, values};
  };
  add(std::move(tensor));
}

void TensorFolder::packed(const Layer& layer, const WeightRep& meant,
                          const std::vector<NamedTensor>& tensors) {
  claims_.weight(layer.name(), meant);
  for (const auto& named : tensors) add(to_write(layer.name() + "." + named.suffix, named.tensor));
}

void TensorFolder::rest(const Model& model, at::ScalarType dtype) {
  const auto take = [&](const std::string& name, const at::Tensor& value) {
    const at::Tensor written = value.to(at::kCPU, dtype);
    claims_.tensor(name, written);
    add(to_write(name, written));
  };
  for (const Layer* layer : model.layers())
    if (layer->bias().defined()) take(layer->name() + ".bias", layer->bias());
  for (const auto& parameter : model.parameters()) take(parameter.name, parameter.value);
}

void TensorFolder::write(const std::filesystem::path& folder, std::uint64_t shard_bytes) const {
  write_safetensors(folder, "model", tensors_, {}, shard_bytes);
}

at::ScalarType export_dtype(const std::string& name) {
  if (name == "bfloat16") return at::kBFloat16;
  return name == "float16" ? at::kHalf : at::kFloat;
}

std::string dtype_name(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return "bfloat16";
  return dtype == at::kHalf ? "float16" : "float32";
}

void write_config(const ExportInput& input, at::ScalarType dtype, const Json& quantization) {
  Json config = input.model.config();
  config.erase("dtype");
  config["torch_dtype"] = dtype_name(dtype);  // transformers before 5 reads this name alone, later ones both
  if (!quantization.is_null()) config["quantization_config"] = quantization;
  write_companions(input.source, input.folder);
  write_file_atomic(input.folder / "config.json", config.dump(2) + "\n");
}

}  // namespace wring
