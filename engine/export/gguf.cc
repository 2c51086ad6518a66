// GGUF: encoded row by row as llama-quantize would, with the tokenizer in its keys.
#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "common/error.h"
#include "engine/export/exporter.h"
#include "engine/export/gguf_types.h"
#include "engine/export/pad.h"
#include "engine/model/gguf_names.h"
#include "engine/model/gguf_source.h"
#include "engine/model/load.h"
#include "engine/model/rope_factors.h"
#include "engine/text/gguf_tokenizer_json.h"
#include "engine/text/gguf_vocabulary.h"
#include "formats/gguf_writer.h"
#include "formats/imatrix.h"

namespace wring {
namespace {

constexpr std::uint32_t kQuantizationVersion = 2;

// Of a type that stores values as they are.
std::optional<at::ScalarType> float_type(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return at::kFloat;
    case GgmlType::kF16:
      return at::kHalf;
    case GgmlType::kBF16:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

// uint8 [rows, bytes of a row]: the values of `rep` as ggml's blocks, made by all threads. `importance` has
// one value a column, or none.
at::Tensor encode(const WeightRep& rep, GgmlType type, std::span<const float> importance) {
  if (const auto dtype = float_type(type)) return rep.decode(*dtype).cpu().contiguous().view(at::kByte);
  const auto columns = static_cast<std::size_t>(rep.columns()),
             bytes = static_cast<std::size_t>(ggml_row_bytes(type, columns));
  at::Tensor blocks = at::empty({rep.rows(), static_cast<std::int64_t>(bytes)}, at::kByte);
  for_each_part(rep, [&](std::int64_t first, const at::Tensor& rows) {
    const auto* from = rows.const_data_ptr<float>();
    auto* to = reinterpret_cast<std::byte*>(blocks.mutable_data_ptr<std::uint8_t>()) +
               static_cast<std::size_t>(first) * bytes;
    at::parallel_for(0, rows.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
      for (auto row = static_cast<std::size_t>(begin); row < static_cast<std::size_t>(end); ++row)
        ggml_encode(type, {from + row * columns, columns}, {to + row * bytes, bytes}, importance);
    });
  });
  return blocks;
}

// Whether to encode again takes less than to keep what was encoded: no scale is searched for.
bool is_quick(GgmlType type) {
  return float_type(type) || type == GgmlType::kQ8_0;
}

// The share of a layer's energy that the type may cost: a few times what a block of one large value and many
// small ones loses.
double most_lost(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return 0;
    case GgmlType::kF16:
    case GgmlType::kBF16:
    case GgmlType::kQ8_0:
      return 1e-3;
    case GgmlType::kQ6_K:
      return 0.02;
    case GgmlType::kQ5_0:
    case GgmlType::kQ5_1:
    case GgmlType::kQ5_K:
      return 0.05;
    case GgmlType::kQ3_K:
      return 0.35;
    case GgmlType::kQ2_K:
      return 0.5;
    default:
      return 0.2;
  }
}

class GgufExport {
 public:
  GgufExport(const ExportInput& input, Claims& claims)
      : input_(input), claims_(claims), architecture_(input.model), types_(input.params) {
    if (const auto path = input.params.get<std::string>("imatrix"); !path.empty())
      imatrix_ = read_parameter(input.params, "imatrix", [&] {
        return read_imatrix(FileTree::on_disk(path).open(std::filesystem::path(path).filename().string()));
      });
  }

  // All that needs no weights.
  void check() const {
    types_.check_patterns(input_.model, architecture_);
    (void)keys();
  }

  void run() {
    const auto types = types_.of(input_.model, architecture_);
    for (const Layer* layer : input_.model.layers()) {
      add_weight(*layer, types.at(layer->name() + ".weight"));
      if (const auto name = layer->name() + ".bias"; layer->bias().defined())
        add_vector(name, layer->bias(), types.at(name));
    }
    for (const auto* parameter : parameters())
      add_vector(parameter->name, parameter->value, types.at(parameter->name));
    add_rope_factors();
    write_companions(input_.source, input_.folder);
    for (const char* inside : {"config.json", "tokenizer.json"})
      std::filesystem::remove(input_.folder / inside);
    const auto keys = this->keys();
    for (const auto& key : keys) claims_.key(key.name, gguf_value_bytes(key.value));
    write_gguf(input_.folder / (input_.name + "-" + std::string(types_.file_type().name) + ".gguf"), keys,
               tensors_);
  }

 private:
  // Without those that the architecture has no place for, which are named.
  std::vector<const Parameter*> parameters() {
    std::vector<const Parameter*> kept;
    for (const auto& parameter : input_.model.parameters())
      if (architecture_.holds(parameter.name))
        kept.push_back(&parameter);
      else
        claims_.leave_out(parameter.name);
    return kept;
  }

  std::vector<GgufKeyToWrite> keys() const {
    std::vector<GgufKeyToWrite> keys{{"general.architecture", architecture_.name()},
                                     {"general.type", std::string("model")},
                                     {"general.name", input_.name},
                                     {"general.file_type", types_.file_type().id},
                                     {"general.quantization_version", kQuantizationVersion}};
    for (auto& key : architecture_.keys(input_.source)) keys.push_back(std::move(key));
    const auto rows = input_.model.vocabulary_size();
    for (auto& key : gguf_vocabulary(tokenizer_json(input_.source), input_.model.config(), rows))
      keys.push_back(std::move(key));
    if (const auto text = chat_template(); !text.empty()) keys.push_back({"tokenizer.chat_template", text});
    const Json carried = carried_keys(input_.source);
    for (const auto& [name, value] : carried.items()) carry(keys, name, value);
    return keys;
  }

  // A key of the GGUF that the model came from, where none was made here. Its name for how words are cut is
  // more than what is left of it in tokenizer.json.
  static void carry(std::vector<GgufKeyToWrite>& keys, const std::string& name, const Json& value) {
    const auto it = std::find_if(keys.begin(), keys.end(), [&](const auto& key) { return key.name == name; });
    const bool made = it != keys.end();
    if (value.is_string() && made && name == "tokenizer.ggml.pre" &&
        cuts_alike(std::get<std::string>(it->value), value.get<std::string>()))
      it->value = value.get<std::string>();
    if (made) return;
    if (value.is_string()) keys.push_back({name, value.get<std::string>()});
    if (value.is_array()) keys.push_back({name, value.get<std::vector<std::string>>()});
    if (value.is_number_unsigned()) keys.push_back({name, value.get<std::uint32_t>()});
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

  // Claimed at once and encoded again when its turn to be written comes, as values in folders are; or, where
  // that takes long, encoded and claimed then.
  void add_weight(const Layer& layer, GgmlType type) {
    const auto rep = layer.shared_weight();
    const std::string name = layer.name() + ".weight", stored = gguf_name(name);
    const auto importance = std::make_shared<std::vector<float>>(
        imatrix_ ? imatrix_->importance(stored, static_cast<std::uint64_t>(rep->columns()))
                 : std::vector<float>());
    claims_.stored(stored);
    const auto claim = [=, this, layer = &layer](const at::Tensor& blocks) {
      claims_.weight(*layer, *ggml_rep(blocks, static_cast<std::uint32_t>(type), rep->columns()),
                     encoder_name(layer->name()), most_lost(type));
    };
    if (is_quick(type)) claim(encode(*rep, type, *importance));
    tensors_.push_back({stored, type, {rep->rows(), rep->columns()}, [=, this](const ByteSink& sink) {
                          const at::Tensor blocks = encode(*rep, type, *importance);
                          if (!is_quick(type)) claim(blocks);
                          write(in_file_order(name, blocks), sink);
                        }});
  }

  void add_vector(const std::string& name, const at::Tensor& value, GgmlType type) {
    const at::Tensor plain = value.to(at::kCPU, at::kFloat).contiguous();
    if (type != GgmlType::kF32) refuse_gguf("would round a parameter that is no weight", name);
    claims_.stored(gguf_name(name));
    claims_.tensor(encoder_name(name), value, plain);
    tensors_.push_back({gguf_name(name), type, plain.sizes().vec(),
                        [=, this](const ByteSink& sink) { write(in_file_order(name, plain), sink); }});
  }

  // A table that GGUF has in place of Llama 3's numbers, which are no tensor of the model.
  void add_rope_factors() {
    const at::Tensor factors = rope_factors(architecture_.config(), architecture_.head_size());
    if (!factors.defined()) return;
    const std::string name = "rope_freqs.weight";
    claims_.stored(name);
    tensors_.push_back(
        {name, GgmlType::kF32, factors.sizes().vec(), [=](const ByteSink& sink) { write(factors, sink); }});
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
  GgufArchitecture architecture_;
  GgufTypes types_;
  std::optional<Imatrix> imatrix_;
  std::vector<GgufTensorToWrite> tensors_;
};

void gguf(const ExportInput& input, Claims& claims) {
  if (!input.params.get<bool>("pad")) return GgufExport(input, claims).run();
  const auto padded = padded_model(input.model);
  GgufExport({*padded, input.source, input.params, input.name, input.folder, input.field}, claims).run();
}

void check_gguf(const ExportInput& input) {
  Claims none;
  const auto padded = input.params.get<bool>("pad") ? padded_model(input.model) : nullptr;
  const Model& model = padded ? *padded : input.model;
  GgufExport({model, input.source, input.params, input.name, input.folder, input.field}, none).check();
}

WRING_EXPORTER("gguf", gguf, check_gguf);

}  // namespace
}  // namespace wring
