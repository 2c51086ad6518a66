// GGUF to Hugging Face: names, keys, and the row order of rotary projections.
#include "engine/model/gguf_source.h"

#include <set>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "engine/model/gguf_names.h"
#include "engine/model/rope_factors.h"

namespace wring {
namespace {

Json rope_scaling(const GgufFile& file, const std::string& arch) {
  if (!file.has_key(arch + ".rope.scaling.type")) return nullptr;
  const auto& type = file.string(arch + ".rope.scaling.type");
  if (type == "none") return nullptr;
  if (type != "linear" && type != "yarn")
    throw Error(ErrorCode::kUnimplemented, "ROPE_SCALING", "rope scaling '" + type + "' is not supported",
                arch + ".rope.scaling.type", "Supported in GGUF files: none, linear, yarn.");
  Json scaling{{"rope_type", type}, {"factor", file.number(arch + ".rope.scaling.factor")}};
  if (file.has_key(arch + ".rope.scaling.original_context_length"))
    scaling["original_max_position_embeddings"] =
        file.integer(arch + ".rope.scaling.original_context_length");
  return scaling;
}

// Before any other key, whose names depend on it.
std::string supported_architecture(const GgufFile& file) {
  const std::string arch = file.string("general.architecture");
  if (arch != "llama" && arch != "qwen2" && arch != "bert")
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
                "GGUF architecture '" + arch.substr(0, 80) + "' is not supported", "general.architecture",
                "Supported: llama, qwen2, bert.");
  return arch;
}

// What all architectures have.
Json sizes_of(const GgufFile& file, const std::string& arch) {
  const auto key = [&](const char* name) { return file.integer(arch + "." + name); };
  Json config{{"model_type", arch},
              {"hidden_size", key("embedding_length")},
              {"intermediate_size", key("feed_forward_length")},
              {"num_hidden_layers", key("block_count")},
              {"num_attention_heads", key("attention.head_count")},
              {"max_position_embeddings", key("context_length")},
              {"vocab_size", file.tensor("token_embd.weight").shape.at(0)},
              {"torch_dtype", "float32"}};
  for (const auto& [hf, gguf] : {std::pair{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                 std::pair{"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                 std::pair{"pad_token_id", "tokenizer.ggml.padding_token_id"}})
    if (file.has_key(gguf)) config[hf] = file.integer(gguf);
  return config;
}

Json encoder_config(const GgufFile& file) {
  for (const char* head : {"cls.weight", "cls.output.weight"})
    if (file.has_tensor(head))
      throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
                  "a GGUF of an encoder with a head for scores is not supported", head,
                  "Hand in the Hugging Face folder of this model.");
  if (file.boolean_or("bert.attention.causal", false))
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL", "an encoder whose attention is causal",
                "bert.attention.causal", "Hand in a model that was not changed.");
  Json config = sizes_of(file, "bert");
  config.update({{"architectures", {"BertModel"}},
                 {"hidden_act", "gelu"},
                 {"layer_norm_eps", file.number("bert.attention.layer_norm_epsilon")},
                 {"type_vocab_size", file.tensor("token_types.weight").shape.at(0)}});
  config.erase("bos_token_id");  // what a GGUF calls so is [CLS]
  config.erase("eos_token_id");
  return config;
}

Json decoder_config(const GgufFile& file, const std::string& arch) {
  const auto key = [&](const char* name) { return file.integer(arch + "." + name); };
  Json config = sizes_of(file, arch);
  config.update({{"architectures", {arch == "llama" ? "LlamaForCausalLM" : "Qwen2ForCausalLM"}},
                 {"hidden_act", "silu"},
                 {"rms_norm_eps", file.number(arch + ".attention.layer_norm_rms_epsilon")},
                 {"tie_word_embeddings", !file.has_tensor("output.weight")}});
  config["num_key_value_heads"] = file.has_key(arch + ".attention.head_count_kv")
                                      ? key("attention.head_count_kv")
                                      : key("attention.head_count");
  config["rope_theta"] =
      file.has_key(arch + ".rope.freq_base") ? file.number(arch + ".rope.freq_base") : 10000.0;
  if (file.has_key(arch + ".attention.key_length")) config["head_dim"] = key("attention.key_length");
  if (const Json scaling = rope_scaling(file, arch); !scaling.is_null()) config["rope_scaling"] = scaling;
  if (file.has_tensor("rope_freqs.weight")) {
    const GgufTensor& entry = file.tensor("rope_freqs.weight");
    at::Tensor factors = at::empty(entry.shape, at::kFloat);
    file.decode(entry, {factors.data_ptr<float>(), static_cast<std::size_t>(factors.numel())});
    config["rope_scaling"] = rope_scaling_of(factors, config.at("rope_theta").get<double>());
  }
  return config;
}

}  // namespace

Json config_from_gguf(const GgufFile& file) {
  const std::string arch = supported_architecture(file);
  return arch == "bert" ? encoder_config(file) : decoder_config(file, arch);
}

namespace {

// Who made the model, under which licence; not what describes this one file.
bool is_about_the_model(const std::string& key) {
  static const std::set<std::string> kOfTheFile{
      "general.architecture",         "general.type",         "general.name",     "general.file_type",
      "general.quantization_version", "general.quantized_by", "general.alignment"};
  return key.starts_with("general.") && !kOfTheFile.contains(key);
}

bool is_carried(const std::string& key) {
  return is_about_the_model(key) || key == "tokenizer.ggml.pre" || key == "tokenizer.ggml.unknown_token_id" ||
         key == "bert.pooling_type";
}

}  // namespace

Json carried_keys(const FileTree& source) {
  if (source.has("wring.json")) {
    const Json description = parse_json(source.open("wring.json").read_all().text(), "wring.json");
    return json_or<Json>(description, "gguf", Json::object(), "wring.json");
  }
  Json keys = Json::object();
  if (source.has("config.json")) return keys;
  for (const auto& path : source.paths()) {
    if (!path.ends_with(".gguf")) continue;
    const GgufFile file(source.open(path));
    for (const auto& [key, value] : file.keys()) {
      if (!is_carried(key)) continue;
      if (const auto* text = std::get_if<std::string>(&value.value)) keys[key] = *text;
      if (const auto* texts = std::get_if<std::vector<std::string>>(&value.value)) keys[key] = *texts;
      if (const auto* number = std::get_if<std::uint64_t>(&value.value)) keys[key] = *number;
    }
  }
  return keys;
}

GgufTensors::GgufTensors(std::shared_ptr<const GgufFile> file) : file_(std::move(file)) {
  const std::string arch = supported_architecture(*file_);
  permuted_ = arch == "llama";
  heads_ = file_->integer(arch + ".attention.head_count");
  kv_heads_ = file_->has_key(arch + ".attention.head_count_kv")
                  ? file_->integer(arch + ".attention.head_count_kv")
                  : heads_;
}

bool GgufTensors::has(const std::string& name) const {
  return name == encoder_name(name) && file_->has_tensor(gguf_name(name));
}

at::Tensor GgufTensors::tensor(const std::string& name) const {
  const auto& entry = file_->tensor(gguf_name(name));
  at::Tensor values = at::empty(entry.shape, at::kFloat);
  file_->decode(entry, {values.data_ptr<float>(), static_cast<std::size_t>(values.numel())});
  if (permuted_ && is_rotary(name)) {
    const auto heads = name.find(".q_proj.") != std::string::npos ? heads_ : kv_heads_;
    if (heads < 1 || values.size(0) % (2 * heads) != 0)
      throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "rows do not divide into heads", entry.name);
    values = values.index_select(0, unpermuted_rows(values.size(0), heads));
  }
  return values;
}

std::shared_ptr<const WeightRep> GgufTensors::weight(const std::string& layer) const {
  const std::string name = layer + ".weight";
  const auto& entry = file_->tensor(gguf_name(name));
  if (entry.shape.size() != 2)
    throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "a weight that is no matrix", entry.name);
  const bool half = entry.type == GgmlType::kF16 || entry.type == GgmlType::kBF16;
  if (ggml_block_elements(entry.type) == 1 && !half) return dense_rep(tensor(name));
  const Bytes raw = file_->raw(entry);
  const auto rows = entry.shape[0], row_bytes = static_cast<std::int64_t>(raw.data.size()) / rows;
  at::Tensor blocks = at::from_blob(
      const_cast<std::byte*>(raw.data.data()), {rows, row_bytes}, [owner = raw.owner, file = file_](void*) {},
      at::kByte);
  if (permuted_ && is_rotary(name)) {
    const auto heads = name.find(".q_proj.") != std::string::npos ? heads_ : kv_heads_;
    if (heads < 1 || rows % (2 * heads) != 0)
      throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH", "rows do not divide into heads", entry.name);
    blocks = blocks.index_select(0, unpermuted_rows(rows, heads));
  }
  if (half) return dense_rep(blocks.view(entry.type == GgmlType::kF16 ? at::kHalf : at::kBFloat16));
  return ggml_rep(blocks, static_cast<std::uint32_t>(entry.type), entry.shape[1]);
}

}  // namespace wring
