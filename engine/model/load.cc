// Which kind of model a folder holds, its tensors under one set of names, and the Wring folder written and
// read back.
#include "engine/model/load.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "engine/methods/kv/kv_method.h"
#include "engine/model/companions.h"
#include "engine/model/gguf_source.h"
#include "engine/model/onnx_source.h"
#include "engine/model/quantized_layers.h"
#include "engine/model/tensor_file.h"
#include "engine/text/gguf_tokenizer_json.h"
#include "formats/gguf.h"
#include "formats/model_kind.h"
#include "formats/safetensors.h"

namespace wring {
namespace {

constexpr int kFormatVersion = 1;

// Tensors of safetensors files, in place where they are aligned. With `layers` of a wring.json, weights are
// in its reps; with `quantized`, in what another tool made of them.
class SafetensorsTensors final : public TensorSource {
 public:
  SafetensorsTensors(const FileTree& tree, Json layers, std::unique_ptr<QuantizedLayers> quantized)
      : reader_(tree), layers_(std::move(layers)), quantized_(std::move(quantized)) {
    for (const char* prefix : {"", "model."})  // LlamaModel saved without its head has no "model." in front
      if (reader_.has(std::string(prefix) + "embed_tokens.weight")) strip_ = std::string(prefix).empty();
  }

  bool has(const std::string& name) const override { return reader_.has(stored_name(name)); }

  at::Tensor tensor(const std::string& name) const override {
    return read_tensor(reader_, stored_name(name));
  }

  std::shared_ptr<const WeightRep> weight(const std::string& layer) const override {
    const auto it = layers_.find(layer);
    if (it == layers_.end()) return foreign_weight(layer);
    const auto lookup = [&](const std::string& suffix) { return tensor(layer + "." + suffix); };
    return load_weight_rep(layer, json_at<std::string>(*it, "rep", "wring.json"),
                           json_or<Json>(*it, "attributes", Json::object(), "wring.json"), lookup);
  }

 private:
  std::string stored_name(const std::string& name) const {
    return strip_ && name.starts_with("model.") ? name.substr(6) : name;
  }

  std::shared_ptr<const WeightRep> foreign_weight(const std::string& layer) const {
    auto weight = quantized_
                      ? quantized_->weight(layer, {[&](const std::string& name) { return has(name); },
                                                   [&](const std::string& name) { return tensor(name); }})
                      : nullptr;
    return weight ? weight : plain_weight(layer);
  }

  std::shared_ptr<const WeightRep> plain_weight(const std::string& layer) const {
    at::Tensor weight = tensor(layer + ".weight");
    if (weight.dim() != 2)
      throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "a weight that is no matrix",
                  layer + ".weight");
    if (!weight.is_floating_point())
      throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_DTYPE", "a weight that is no floating-point tensor",
                  layer + ".weight", "Hand in the model before it was quantised.");
    return dense_rep(weight.scalar_type() == at::kDouble ? weight.to(at::kFloat) : weight);
  }

  SafetensorsReader reader_;
  Json layers_;
  std::unique_ptr<QuantizedLayers> quantized_;
  bool strip_ = false;
};

std::optional<std::string> gguf_path(const FileTree& tree) {
  std::vector<std::string> found;
  for (const auto& path : tree.paths())
    if (path.ends_with(".gguf")) found.push_back(path);
  if (found.empty()) return std::nullopt;
  if (found.size() > 1)
    throw Error(ErrorCode::kInvalidArgument, "AMBIGUOUS_MODEL",
                tree.origin() + " holds " + std::to_string(found.size()) + " GGUF files", "model",
                "Hand in the file itself.");
  return found.front();
}

Json read_json(const FileTree& tree, const std::string& path) {
  return parse_json(tree.open(path).read_all().text(), path);
}

bool is_weight_file(const std::string& path) {
  static const std::array<std::string_view, 11> kEndings{".safetensors",
                                                         ".safetensors.index.json",
                                                         ".gguf",
                                                         ".bin",
                                                         ".bin.index.json",
                                                         ".pt",
                                                         ".pth",
                                                         ".h5",
                                                         ".msgpack",
                                                         ".ot",
                                                         ".tflite"};
  return holds_graph_weights(path) ||
         std::any_of(kEndings.begin(), kEndings.end(), [&](std::string_view e) { return path.ends_with(e); });
}

// Files of the folder itself, and what quantisers say of their own weights.
bool describes_weights(std::string_view path) {
  static const std::array<std::string_view, 6> kNames{"config.json",          "wring.json",
                                                      "quantize_config.json", "quant_config.json",
                                                      "recipe.yaml",          kOnnxExportFile};
  return std::find(kNames.begin(), kNames.end(), path) != kNames.end();
}

// Tokenizer, licence, model card and the like: everything that is not weights and not ours to write.
std::vector<std::string> companion_files(const FileTree& source) {
  std::vector<std::string> kept;
  for (const auto& path : source.paths())
    if (!is_weight_file(path) && !describes_weights(path)) kept.push_back(path);
  return kept;
}

std::unique_ptr<Model> read_model(const FileTree& tree) {
  if (holds_onnx_export(tree.paths()))
    return make_model(read_json(tree, "config.json"), OnnxTensors(read_onnx_export(tree)));
  if (tree.has("config.json")) {
    Json layers = Json::object();
    Json kv_cache;
    if (tree.has("wring.json")) {
      const Json description = read_json(tree, "wring.json");
      const auto version = json_at<int>(description, "format_version", "wring.json");
      if (version != kFormatVersion)
        throw Error(ErrorCode::kUnimplemented, "FORMAT_VERSION",
                    "format version " + std::to_string(version) + " is not supported",
                    "wring.json.format_version",
                    "This engine reads version " + std::to_string(kFormatVersion) + ".");
      layers = json_at<Json>(description, "layers", "wring.json");
      kv_cache = json_or<Json>(description, "kv_cache", Json(), "wring.json");
    }
    Json config = read_json(tree, "config.json");
    std::unique_ptr<QuantizedLayers> quantized;
    if (const auto it = config.find("quantization_config"); it != config.end() && !it->is_null()) {
      quantized = read_quantization(*it);
      config.erase(it);  // the model's reps say it from here on
    }
    auto model =
        make_model(std::move(config), SafetensorsTensors(tree, std::move(layers), std::move(quantized)));
    if (!kv_cache.is_null()) attach_kv_policy(*model, kv_cache, "wring.json.kv_cache");
    return model;
  }
  if (const auto path = gguf_path(tree)) {
    const auto file = std::make_shared<const GgufFile>(tree.open(*path));
    return make_model(config_from_gguf(*file), GgufTensors(file));
  }
  throw Error(ErrorCode::kNotFound, "NO_MODEL", tree.origin() + " holds neither config.json nor a .gguf file",
              "model",
              "Hand in a Hugging Face folder (config.json, *.safetensors, tokenizer.json), a GGUF file or a "
              "Wring artifact.");
}

}  // namespace

std::unique_ptr<Model> load_model(const FileTree& tree, at::Device device) {
  auto model = read_model(tree);
  model->compute_on(device);
  return model;
}

void save_model(const Model& model, const FileTree& source, const Json& lineage,
                const std::filesystem::path& folder, Durability durability) {
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* path, std::string_view content) {
    write_file_atomic(folder / path, content, durability);
  };
  Json layers = Json::object();
  std::vector<TensorToWrite> tensors;
  for (const Layer* layer : model.layers()) {
    const WeightRep& rep = layer->weight();
    if (rep.format() != "dense")
      layers[layer->name()] = {{"rep", rep.format()}, {"attributes", rep.attributes()}};
    for (const auto& named : rep.tensors())
      tensors.push_back(to_write(layer->name() + "." + named.suffix, named.tensor));
    if (layer->bias().defined()) tensors.push_back(to_write(layer->name() + ".bias", layer->bias()));
  }
  for (const auto& parameter : model.parameters())
    tensors.push_back(to_write(parameter.name, parameter.value));
  write_safetensors(folder, "model", tensors, {}, kShardBytes, durability);
  write("config.json", model.config().dump(2) + "\n");
  Json description{{"format_version", kFormatVersion},
                   {"family", model.family()},
                   {"kind", model.kind()},
                   {"layers", layers},
                   {"lineage", lineage}};
  if (model.kv_policy()) description["kv_cache"] = model.kv_policy()->to_json();
  if (const Json carried = carried_keys(source); !carried.empty()) description["gguf"] = carried;
  write("wring.json", description.dump(1) + "\n");
  write_companions(source, folder, durability);
}

Json tokenizer_json(const FileTree& source) {
  if (source.has("tokenizer.json")) return read_json(source, "tokenizer.json");
  if (const auto gguf = gguf_path(source)) return tokenizer_json_from_gguf(GgufFile(source.open(*gguf)));
  throw Error(ErrorCode::kNotFound, "NO_TOKENIZER", source.origin() + " holds no tokenizer.json", "model",
              "Put the model's tokenizer.json beside its weights.");
}

void for_each_companion(const FileTree& source,
                        const std::function<void(const std::string& path, std::string_view content)>& take) {
  for (const auto& path : companion_files(source)) take(path, source.open(path).read_all().text());
  if (gguf_path(source) && !source.has("tokenizer.json"))
    take("tokenizer.json", tokenizer_json(source).dump() + "\n");
}

void write_companions(const FileTree& source, const std::filesystem::path& folder, Durability durability) {
  for_each_companion(source, [&](const std::string& path, std::string_view content) {
    std::filesystem::create_directories((folder / path).parent_path());
    write_file_atomic(folder / path, content, durability);
  });
}

Json model_metadata(const Model& model, const FileTree& source) {
  Json metadata{{"format", "wring"}, {"family", model.family()}, {"kind", model.kind()}};
  if (source.has("config.json")) {
    const Json config = read_json(source, "config.json");
    if (config.contains("license")) metadata["license"] = config.at("license");
  } else if (const auto path = gguf_path(source)) {
    const GgufFile file(source.open(*path));
    for (const auto& [key, name] :
         {std::pair{"general.license", "license"}, std::pair{"general.name", "source_name"}})
      if (file.has_key(key)) metadata[name] = file.string(key);
  }
  return metadata;
}

}  // namespace wring
