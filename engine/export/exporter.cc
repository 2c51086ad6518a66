// What exporters share: claims, the table of formats, safetensors folders.
#include "engine/export/exporter.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "common/digest.h"
#include "common/error.h"
#include "common/files.h"
#include "common/text.h"
#include "engine/model/block_sizes.h"
#include "engine/model/load.h"
#include "engine/model/tensor_file.h"

namespace wring {
namespace {

struct Entry {
  Exporter exporter;
  ExportCheck check;
};

std::map<std::string, Entry>& exporters() {
  static std::map<std::string, Entry> table;
  return table;
}

// Rows that are hashed and compared at once: a piece stays in a core's cache, and is the same whatever the
// number of threads.
std::int64_t rows_of_piece(std::int64_t columns) {
  constexpr std::int64_t kValues = 1 << 16;
  return std::max<std::int64_t>(1, kValues / std::max<std::int64_t>(1, columns));
}

// Calls take(number of the piece) for each, from all threads.
void for_each_piece(const std::vector<at::Tensor>& pieces, const std::function<void(std::size_t)>& take) {
  at::parallel_for(0, static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i) take(static_cast<std::size_t>(i));
  });
}

std::vector<at::Tensor> pieces_of(const at::Tensor& rows) {
  return rows.split(rows_of_piece(rows.size(1)));
}

std::span<const std::byte> bytes_of(const at::Tensor& values) {
  return std::as_bytes(std::span(values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel())));
}

// SHA-256 of the SHA-256 of each piece.
class RowsDigest {
 public:
  // [rows, columns] fp32: whole pieces, but for the last ones.
  void add(const at::Tensor& rows) {
    const auto pieces = pieces_of(rows);
    std::vector<Digest> digests(pieces.size());
    for_each_piece(pieces, [&](std::size_t i) { digests[i] = sha256(bytes_of(pieces[i])); });
    for (const auto& digest : digests) hash_.update(std::as_bytes(std::span(digest.bytes)));
  }
  std::string finish() { return hash_.finish().hex(); }

 private:
  Sha256 hash_;
};

// Any tensor as fp32 rows: its first axis, and all others as one.
at::Tensor as_rows(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.to(at::kCPU, at::kFloat).contiguous();
  const auto rows = plain.dim() > 0 ? plain.size(0) : 1;
  return plain.view({rows, rows > 0 ? plain.numel() / rows : 0});
}

at::Tensor part_of(const WeightRep& weight, std::int64_t first, std::int64_t rows) {
  if (rows == weight.rows()) return as_rows(weight.decode(at::kFloat));
  return as_rows(weight.decode_rows(at::arange(first, first + rows, at::kLong), at::kFloat));
}

// What the step from the model's values to the meant ones costs.
class Loss {
 public:
  // Both [rows, columns] fp32.
  void add(const at::Tensor& held, const at::Tensor& meant) {
    const auto before = pieces_of(held), after = pieces_of(meant);
    std::vector<Energy> energies(before.size());
    for_each_piece(before, [&](std::size_t i) { energies[i] = compare(before[i], after[i]); });
    for (const auto& energy : energies) {
      whole_ += energy.whole;
      lost_ += energy.lost;
    }
  }

  void check(const std::string& name, double most_lost) const {
    if (lost_ <= most_lost * whole_) return;
    throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                std::isfinite(lost_)
                    ? "rounding to this format loses " + format_number(100 * lost_ / whole_, 3) +
                          " % of the values' energy, and at most " + format_number(100 * most_lost, 1) +
                          " % are in order"
                    : "a value is beyond the range of the format's type",
                name, "Take a wider type (dtype, scale_dtype) or another format.");
  }

 private:
  struct Energy {
    double whole = 0, lost = 0;
  };

  // In fp32, which a piece's squares may be beyond: then in fp64.
  static Energy compare(const at::Tensor& held, const at::Tensor& meant) {
    const at::Tensor flat = held.reshape({-1}), apart = (held - meant).reshape({-1});
    const Energy energy{flat.dot(flat).item<double>(), apart.dot(apart).item<double>()};
    if (std::isfinite(energy.whole) && std::isfinite(energy.lost)) return energy;
    const at::Tensor wide = flat.to(at::kDouble), far = wide - meant.reshape({-1});
    return {wide.dot(wide).item<double>(), far.dot(far).item<double>()};
  }

  double whole_ = 0, lost_ = 0;
};

}  // namespace

void for_each_part(const WeightRep& weight,
                   const std::function<void(std::int64_t first, const at::Tensor& rows)>& take) {
  constexpr std::int64_t kRowsAtOnce = 8192;
  const auto piece = rows_of_piece(weight.columns());
  const auto at_once = std::max(piece, kRowsAtOnce / piece * piece);
  for (std::int64_t first = 0; first < weight.rows(); first += at_once)
    take(first, part_of(weight, first, std::min(at_once, weight.rows() - first)));
}

std::string digest_of(const at::Tensor& tensor) {
  RowsDigest digest;
  digest.add(as_rows(tensor));
  return digest.finish();
}

std::string digest_of(const WeightRep& weight) {
  RowsDigest digest;
  for_each_part(weight, [&](std::int64_t, const at::Tensor& rows) { digest.add(rows); });
  return digest.finish();
}

std::string describe_inputs(const WeightRep& weight) {
  const auto rounding = input_rounding(weight);
  if (!rounding) return "";
  const std::string type = rounding->type == InputType::kInt8 ? "int8" : "float8_e4m3";
  if (rounding->is_static())
    return type + ", on the scale " + Json(rounding->scale).dump() + " with the zero point " +
           std::to_string(rounding->zero);
  return type + ", a scale for each " +
         (rounding->group_size < 0 ? "token" : std::to_string(rounding->group_size) + " features");
}

void Claims::key(const std::string& name, std::string_view value) {
  keys_[name] = sha256(value).hex();
}

void Claims::weight(const Layer& layer, const WeightRep& meant, const std::string& read_as,
                    double most_lost) {
  const std::string& name = read_as.empty() ? layer.name() : read_as;
  if (input_rounding(layer.weight()) != input_rounding(meant))
    throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                "this layer rounds its inputs to " + describe_inputs(layer.weight()) +
                    ", which the format cannot say",
                layer.name(), "Export as compressed-tensors, or leave round-inputs and static-inputs out.");
  if (const auto inputs = describe_inputs(meant); !inputs.empty()) inputs_[name] = inputs;
  RowsDigest digest;
  Loss loss;
  for_each_part(meant, [&](std::int64_t first, const at::Tensor& rows) {
    digest.add(rows);
    loss.add(part_of(layer.weight(), first, rows.size(0)), rows);
  });
  loss.check(layer.name() + ".weight", most_lost);
  weights_[name] = digest.finish();
}

void Claims::tensor(const std::string& name, const at::Tensor& held, const at::Tensor& meant) {
  Loss loss;
  loss.add(as_rows(held), as_rows(meant));
  constexpr double kMostLost = 1e-3;  // floats of another width
  loss.check(name, kMostLost);
  tensors_[name] = digest_of(meant);
}

Json Claims::to_json() const {
  return {{"weights", weights_}, {"inputs", inputs_}, {"tensors", tensors_},
          {"stored", stored_},   {"keys", keys_},     {"left_out", left_out_}};
}

bool register_exporter(const char* name, Exporter exporter, ExportCheck check) {
  return exporters().emplace(name, Entry{exporter, check}).second;
}

namespace {

const Entry& entry_of(const std::string& name) {
  const auto it = exporters().find(name);
  if (it == exporters().end())
    throw Error(ErrorCode::kUnimplemented, "UNKNOWN_FORMAT", "this engine does not write '" + name + "'");
  return it->second;
}

}  // namespace

Exporter find_exporter(const std::string& name) {
  return entry_of(name).exporter;
}

ExportCheck find_export_check(const std::string& name) {
  return entry_of(name).check;
}

namespace {

// Layers that have their biases together in transformers' Llama, under one field of config.json.
struct BiasField {
  const char* field;
  std::vector<std::string_view> layers;
};
const std::array<BiasField, 2> kLlamaBiases{{{"attention_bias", {"q_proj", "k_proj", "v_proj", "o_proj"}},
                                             {"mlp_bias", {"gate_proj", "up_proj", "down_proj"}}}};

std::string model_type(const Model& model) {
  return json_at<std::string>(model.config(), "model_type", "config.json");
}

std::vector<const Layer*> layers_of(const Model& model, const BiasField& biases) {
  std::vector<const Layer*> found = model.layers();
  std::erase_if(found, [&](const Layer* layer) {
    const std::string module = layer->name().substr(layer->name().rfind('.') + 1);
    return std::find(biases.layers.begin(), biases.layers.end(), module) == biases.layers.end();
  });
  return found;
}

bool any_bias(const std::vector<const Layer*>& layers) {
  return std::any_of(layers.begin(), layers.end(),
                     [](const Layer* layer) { return layer->bias().defined(); });
}

// transformers' Mistral has no biases, its Qwen2 those of q, k and v, always.
void check_biases(const Model& model, const std::string& format) {
  const auto type = model_type(model);
  if (type != "mistral" && type != "qwen2") return;
  for (const Layer* layer : model.layers()) {
    const bool held =
        type == "qwen2" && (layer->name().ends_with(".q_proj") || layer->name().ends_with(".k_proj") ||
                            layer->name().ends_with(".v_proj"));
    if (layer->bias().defined() && !held)
      throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                  format + " holds no bias for this layer of a " + type, layer->name() + ".bias",
                  "Keep it as a Wring folder, or prune with bias=false.");
  }
}

// transformers 5 refuses other Llamas, whatever head_dim says.
void check_heads(const Model& model, const std::string& format) {
  if (model_type(model) != "llama") return;
  const auto heads = json_at<std::int64_t>(model.config(), "num_attention_heads", "config.json");
  if (model.hidden_size() % heads == 0) return;
  throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
              format + " is read by transformers, which takes no llama whose " + std::to_string(heads) +
                  " heads do not divide its hidden size of " + std::to_string(model.hidden_size()),
              "config.json.num_attention_heads",
              "Export it as huggingface(pad=true), gguf or onnx, or prune to another number of heads.");
}

}  // namespace

void check_architecture(const Model& model, const std::string& format) {
  check_equal_blocks(model.config(), format);
  check_biases(model, format);
  check_heads(model, format);
  if (model.family() == "bert" && model.config().contains("head_dim"))
    throw Error(
        ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
        format + " holds a bert's heads only where they make up its hidden size",
        "config.json.num_attention_heads",
        "Export it as onnx or huggingface(pad=true), keep it as a Wring folder, or prune its FFN alone.");
}

void TensorFolder::add(TensorToWrite tensor) {
  claims_.stored(tensor.name);
  tensors_.push_back(std::move(tensor));
}

namespace {
constexpr double kMostLostInValues = 1e-3;  // of a narrower float
}

void TensorFolder::plain(const Layer& layer, at::ScalarType dtype) {
  const auto rep = layer.shared_weight();
  // Rounded to `dtype` and no more: a digest of what decode() gives in it.
  claims_.weight(layer, *dense_rep(rep->decode(dtype)), "", kMostLostInValues);
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
  claims_.weight(layer, meant);
  for (const auto& named : tensors) add(to_write(layer.name() + "." + named.suffix, named.tensor));
}

void TensorFolder::rest(const Model& model, at::ScalarType dtype) {
  const auto take = [&](const std::string& name, const at::Tensor& value) {
    const at::Tensor written = value.to(at::kCPU, dtype);
    claims_.tensor(name, value, written);
    add(to_write(name, written));
  };
  for (const Layer* layer : model.layers())
    if (layer->bias().defined()) take(layer->name() + ".bias", layer->bias());
  for (const auto& parameter : model.parameters()) take(parameter.name, parameter.value);
  if (model_type(model) != "llama") return;
  for (const auto& biases : kLlamaBiases)
    if (const auto layers = layers_of(model, biases); any_bias(layers))
      for (const Layer* layer : layers)
        if (!layer->bias().defined())
          take(layer->name() + ".bias", at::zeros({layer->weight().rows()}, dtype));
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
  if (model_type(input.model) == "llama")
    for (const auto& biases : kLlamaBiases)
      if (any_bias(layers_of(input.model, biases))) config[biases.field] = true;
  write_companions(input.source, input.folder);
  write_file_atomic(input.folder / "config.json", config.dump(2) + "\n");
}

}  // namespace wring
