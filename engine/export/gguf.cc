// GGUF: encoded row by row as llama-quantize would, with the tokenizer in its keys.
#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "common/error.h"
#include "engine/export/exporter.h"
#include "engine/model/block_sizes.h"
#include "engine/model/gguf_names.h"
#include "engine/model/load.h"
#include "engine/text/gguf_vocabulary.h"
#include "formats/gguf_mix.h"
#include "formats/gguf_writer.h"
#include "formats/imatrix.h"

namespace wring {
namespace {

constexpr std::uint32_t kQuantizationVersion = 2;

[[noreturn]] void refuse(const std::string& what, const std::string& field) {
  throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE", "gguf " + what, field,
              "Export to huggingface or compressed-tensors instead.");
}

// What `read` makes of the parameter `name`; its error names the parameter too.
template <typename Read>
decltype(auto) parameter(const Params& params, const char* name, const Read& read) {
  try {
    return read();
  } catch (const Error& e) {
    throw Error(e.code(), e.reason(), (e.field().empty() ? "" : e.field() + ": ") + e.message(),
                params.field(name), e.hint());
  }
}

// What config.json says, in GGUF's keys.
class Architecture {
 public:
  explicit Architecture(const Json& config) : config_(config) {
    const auto type = text("model_type");
    if (type != "llama" && type != "mistral" && type != "qwen2")
      refuse("is not written for models of type " + type, "config.json.model_type");
    check_equal_blocks(config_, "gguf");
    name_ = type == "qwen2" ? "qwen2" : "llama";
    heads_ = integer("num_attention_heads");
    kv_heads_ = json_or<std::int64_t>(config_, "num_key_value_heads", heads_, "config.json");
    head_dim_ = json_or<std::int64_t>(config_, "head_dim", integer("hidden_size") / heads_, "config.json");
  }

  const std::string& name() const { return name_; }
  bool permutes() const { return name_ == "llama"; }
  std::int64_t heads_of(const std::string& tensor) const {
    return tensor.find(".q_proj.") != std::string::npos ? heads_ : kv_heads_;
  }
  GgufModelFacts facts() const {
    return {name_, static_cast<int>(integer("num_hidden_layers")), static_cast<int>(heads_),
            static_cast<int>(kv_heads_), 0};
  }

  std::vector<GgufKeyToWrite> keys() const {
    const auto count = [&](const char* key) { return static_cast<std::uint32_t>(integer(key)); };
    std::vector<GgufKeyToWrite> keys;
    const auto add = [&](const char* key, GgufStored value) {
      keys.push_back({name_ + "." + key, std::move(value)});
    };
    add("context_length", count("max_position_embeddings"));
    add("embedding_length", count("hidden_size"));
    add("block_count", count("num_hidden_layers"));
    add("feed_forward_length", count("intermediate_size"));
    add("vocab_size", count("vocab_size"));
    add("attention.head_count", static_cast<std::uint32_t>(heads_));
    add("attention.head_count_kv", static_cast<std::uint32_t>(kv_heads_));
    add("attention.layer_norm_rms_epsilon",
        static_cast<float>(json_at<double>(config_, "rms_norm_eps", "config.json")));
    add("rope.dimension_count", static_cast<std::uint32_t>(head_dim_));
    if (head_dim_ * heads_ != integer("hidden_size")) {
      add("attention.key_length", static_cast<std::uint32_t>(head_dim_));
      add("attention.value_length", static_cast<std::uint32_t>(head_dim_));
    }
    add_rope(add);
    return keys;
  }

 private:
  std::string text(const char* key) const { return json_at<std::string>(config_, key, "config.json"); }
  std::int64_t integer(const char* key) const { return json_at<std::int64_t>(config_, key, "config.json"); }

  // rope_parameters (transformers 5), or rope_theta and rope_scaling.
  template <typename Add>
  void add_rope(const Add& add) const {
    const Json rope =
        json_or<Json>(config_, "rope_parameters",
                      json_or<Json>(config_, "rope_scaling", Json::object(), "config.json"), "config.json");
    const double base = json_or<double>(
        rope, "rope_theta", json_or<double>(config_, "rope_theta", 10000.0, "config.json"), "config.json");
    add("rope.freq_base", static_cast<float>(base));
    const auto type =
        json_or<std::string>(rope, "rope_type", json_or<std::string>(rope, "type", "default"), "config.json");
    if (type == "default") return;
    if (type != "linear" && type != "yarn")
      refuse("is not written with rope scaling '" + type + "'", "config.json.rope_scaling");
    for (const char* key :
         {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"})
      if (rope.contains(key) && !rope.at(key).is_null())
        refuse("is not written with the rope setting " + std::string(key),
               "config.json.rope_scaling." + std::string(key));
    add("rope.scaling.type", type);
    add("rope.scaling.factor",
        static_cast<float>(json_at<double>(rope, "factor", "config.json.rope_scaling")));
    if (rope.contains("original_max_position_embeddings"))
      add("rope.scaling.original_context_length",
          json_at<std::uint32_t>(rope, "original_max_position_embeddings", "config.json.rope_scaling"));
  }

  const Json& config_;
  std::string name_;
  std::int64_t heads_ = 0, kv_heads_ = 0, head_dim_ = 0;
};

// uint8 [rows, bytes of a row]: the values of `rep` as ggml's blocks. `importance` has one value a column, or
// none.
at::Tensor encode(const WeightRep& rep, GgmlType type, std::span<const float> importance) {
  const at::Tensor values = rep.decode(at::kFloat).contiguous();
  const auto columns = static_cast<std::size_t>(rep.columns()),
             bytes = static_cast<std::size_t>(ggml_row_bytes(type, columns));
  at::Tensor blocks = at::empty({rep.rows(), static_cast<std::int64_t>(bytes)}, at::kByte);
  const auto* from = values.const_data_ptr<float>();
  auto* to = reinterpret_cast<std::byte*>(blocks.mutable_data_ptr<std::uint8_t>());
  at::parallel_for(0, rep.rows(), 16, [&](std::int64_t begin, std::int64_t end) {
    for (auto row = static_cast<std::size_t>(begin); row < static_cast<std::size_t>(end); ++row)
      ggml_encode(type, {from + row * columns, columns}, {to + row * bytes, bytes}, importance);
  });
  return blocks;
}

class GgufExport {
 public:
  GgufExport(const ExportInput& input, Claims& claims)
      : input_(input),
        claims_(claims),
        architecture_(input.model.config()),
        file_type_(parameter(input.params, "type", [&]() -> const GgufFileType& {
          return gguf_file_type(input.params.get<std::string>("type"));
        })) {
    if (const auto path = input.params.get<std::string>("imatrix"); !path.empty())
      imatrix_ = parameter(input.params, "imatrix", [&] {
        return read_imatrix(FileTree::on_disk(path).open(std::filesystem::path(path).filename().string()));
      });
  }

  // All that needs no weights.
  void check() const {
    (void)overrides();
    (void)keys();
  }

  void run() {
    for (const Layer* layer : input_.model.layers()) {
      shapes_.push_back(
          {gguf_name(layer->name() + ".weight"), {layer->weight().rows(), layer->weight().columns()}});
      if (layer->bias().defined())
        shapes_.push_back({gguf_name(layer->name() + ".bias"), {layer->bias().size(0)}});
    }
    for (const auto& parameter : input_.model.parameters())
      shapes_.push_back({gguf_name(parameter.name), parameter.value.sizes().vec()});
    const auto types =
        choose_ggml_types(file_type_, architecture_.facts(), shapes_, imatrix_.has_value(), overrides());
    auto type = types.begin();
    for (const Layer* layer : input_.model.layers()) {
      add_weight(*layer, *type++);
      if (layer->bias().defined()) add_vector(layer->name() + ".bias", layer->bias(), *type++);
    }
    for (const auto& parameter : input_.model.parameters())
      add_vector(parameter.name, parameter.value, *type++);
    write_companions(input_.source, input_.folder);
    for (const char* inside : {"config.json", "tokenizer.json"})
      std::filesystem::remove(input_.folder / inside);
    write_gguf(input_.folder / (input_.name + "-" + std::string(file_type_.name) + ".gguf"), keys(),
               tensors_);
  }

 private:
  std::vector<GgmlTypeOverride> overrides() const {
    std::vector<GgmlTypeOverride> list;
    std::istringstream texts(input_.params.get<std::string>("tensor_types"));
    for (std::string text; std::getline(texts, text, ',');)
      list.push_back(
          parameter(input_.params, "tensor_types", [&] { return parse_ggml_type_override(text); }));
    return list;
  }

  std::vector<GgufKeyToWrite> keys() const {
    std::vector<GgufKeyToWrite> keys{{"general.architecture", architecture_.name()},
                                     {"general.type", std::string("model")},
                                     {"general.name", input_.name},
                                     {"general.file_type", file_type_.id},
                                     {"general.quantization_version", kQuantizationVersion}};
    for (auto& key : architecture_.keys()) keys.push_back(std::move(key));
    const auto rows = input_.model.vocabulary_size();
    for (auto& key : gguf_vocabulary(tokenizer_json(input_.source), input_.model.config(), rows))
      keys.push_back(std::move(key));
    if (const auto text = chat_template(); !text.empty()) keys.push_back({"tokenizer.chat_template", text});
    return keys;
  }

  // In a file of its own, or, as older models keep it, in tokenizer_config.json.
  std::string chat_template() const {
    if (input_.source.has("chat_template.jinja"))
      return std::string(input_.source.open("chat_template.jinja").read_all().text());
    if (!input_.source.has("tokenizer_config.json")) return "";
    const Json config =
        parse_json(input_.source.open("tokenizer_config.json").read_all().text(), "tokenizer_config.json");
    const auto it = config.find("chat_template");
    return it != config.end() && it->is_string() ? it->get<std::string>() : "";
  }

  // Encoded, claimed and written when its turn comes.
  void add_weight(const Layer& layer, GgmlType type) {
    const auto rep = layer.shared_weight();
    const std::string name = layer.name() + ".weight", stored = gguf_name(name);
    const auto importance = std::make_shared<std::vector<float>>(
        imatrix_ ? imatrix_->importance(stored, static_cast<std::uint64_t>(rep->columns()))
                 : std::vector<float>());
    claims_.bytes(ggml_row_bytes(type, static_cast<std::uint64_t>(rep->columns())) *
                  static_cast<std::uint64_t>(rep->rows()));
    tensors_.push_back(
        {stored, type, {rep->rows(), rep->columns()}, [=, this, layer = &layer](const ByteSink& sink) {
           at::Tensor blocks = encode(*rep, type, *importance);
           claims_.weight(*layer, *ggml_rep(blocks, static_cast<std::uint32_t>(type), rep->columns()));
           write(in_file_order(name, blocks), sink);
         }});
  }

  void add_vector(const std::string& name, const at::Tensor& value, GgmlType type) {
    const at::Tensor plain = value.to(at::kCPU, at::kFloat).contiguous();
    if (type != GgmlType::kF32) refuse("would round a parameter that is no weight", name);
    claims_.bytes(plain.nbytes());
    claims_.tensor(name, value, plain);
    tensors_.push_back({gguf_name(name), type, plain.sizes().vec(),
                        [=, this](const ByteSink& sink) { write(in_file_order(name, plain), sink); }});
  }

  at::Tensor in_file_order(const std::string& name, const at::Tensor& rows) const {
    if (!architecture_.permutes() || !is_rotary(name)) return rows;
    return rows.index_select(0, at::argsort(unpermuted_rows(rows.size(0), architecture_.heads_of(name))));
  }

  static void write(const at::Tensor& tensor, const ByteSink& sink) {
    const at::Tensor plain = tensor.contiguous();
    sink({static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()});
  }

  const ExportInput& input_;
  Claims& claims_;
  Architecture architecture_;
  const GgufFileType& file_type_;
  std::optional<Imatrix> imatrix_;
  std::vector<GgufTensorShape> shapes_;
  std::vector<GgufTensorToWrite> tensors_;
};

void gguf(const ExportInput& input, Claims& claims) {
  GgufExport(input, claims).run();
}

void check_gguf(const ExportInput& input) {
  Claims none;
  GgufExport(input, none).check();
}

WRING_EXPORTER("gguf", gguf, check_gguf);

}  // namespace
}  // namespace wring
