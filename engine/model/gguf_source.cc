// GGUF to Hugging Face: names, keys, and the row order of rotary projections.
#include "engine/model/gguf_source.h"

#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "engine/model/gguf_names.h"

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
  if (arch != "llama" && arch != "qwen2")
    throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_MODEL",
                "GGUF architecture '" + arch.substr(0, 80) + "' is not supported", "general.architecture",
                "Supported: llama, qwen2.");
  return arch;
}

}  // namespace

Json config_from_gguf(const GgufFile& file) {
  const std::string arch = supported_architecture(file);
  if (file.has_tensor("rope_freqs.weight"))
    throw Error(ErrorCode::kUnimplemented, "ROPE_SCALING",
                "a GGUF with its own table of rope factors is not supported", "rope_freqs.weight",
                "Hand in the Hugging Face folder of this model.");
  const auto key = [&](const char* name) { return file.integer(arch + "." + name); };
  Json config{{"model_type", arch},
              {"architectures", {arch == "llama" ? "LlamaForCausalLM" : "Qwen2ForCausalLM"}},
              {"hidden_act", "silu"},
              {"hidden_size", key("embedding_length")},
              {"intermediate_size", key("feed_forward_length")},
              {"num_hidden_layers", key("block_count")},
              {"num_attention_heads", key("attention.head_count")},
              {"max_position_embeddings", key("context_length")},
              {"rms_norm_eps", file.number(arch + ".attention.layer_norm_rms_epsilon")},
              {"tie_word_embeddings", !file.has_tensor("output.weight")},
              {"torch_dtype", "float32"}};
  const auto heads = key("attention.head_count");
  config["num_key_value_heads"] =
      file.has_key(arch + ".attention.head_count_kv") ? key("attention.head_count_kv") : heads;
  config["rope_theta"] =
      file.has_key(arch + ".rope.freq_base") ? file.number(arch + ".rope.freq_base") : 10000.0;
  if (file.has_key(arch + ".attention.key_length")) config["head_dim"] = key("attention.key_length");
  if (const Json scaling = rope_scaling(file, arch); !scaling.is_null()) config["rope_scaling"] = scaling;
  config["vocab_size"] = file.tensor("token_embd.weight").shape.at(0);
  for (const auto& [hf, gguf] : {std::pair{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                 std::pair{"eos_token_id", "tokenizer.ggml.eos_token_id"}})
    if (file.has_key(gguf)) config[hf] = file.integer(gguf);
  return config;
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
  return file_->has_tensor(gguf_name(name));
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
  if (ggml_block_elements(entry.type) == 1) return dense_rep(tensor(name));
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
  return ggml_rep(blocks, static_cast<std::uint32_t>(entry.type), entry.shape[1]);
}

}  // namespace wring
