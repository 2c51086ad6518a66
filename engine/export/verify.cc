// Digest by digest.
#include "engine/export/verify.h"

#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "common/digest.h"
#include "common/error.h"
#include "common/text.h"
#include "engine/export/exporter.h"
#include "engine/export/meaning.h"
#include "engine/export/onnx_check.h"
#include "engine/model/load.h"
#include "engine/model/onnx_source.h"
#include "formats/gguf.h"
#include "formats/model_kind.h"
#include "formats/safetensors.h"

namespace wring {
namespace {

constexpr double kBytesTolerance = 0.01;

[[noreturn]] void throw_differs(const std::string& tensor, const std::string& what) {
  throw Error(ErrorCode::kInternal, "EXPORT_DIFFERS", what, tensor,
              "The files do not hold what the exporter meant. Export again: if that fails too, this is a "
              "defect of Wring.");
}

// Compares found digests with claimed ones, by name.
class Comparison {
 public:
  Comparison(const Json& claimed, std::string suffix) : claimed_(claimed), suffix_(std::move(suffix)) {}

  void add(const std::string& name, const std::string& digest) {
    const auto it = claimed_.find(name);
    if (it == claimed_.end()) throw_differs(name + suffix_, "the export holds it, and it was not claimed");
    if (it->get<std::string>() != digest)
      throw_differs(name + suffix_, "what is read back is not what was meant");
    seen_.insert(name);
  }

  std::size_t finish() const {
    for (const auto& [name, digest] : claimed_.items())
      if (!seen_.contains(name)) throw_differs(name + suffix_, "the export lacks it");
    return seen_.size();
  }

 private:
  const Json& claimed_;
  std::string suffix_;
  std::set<std::string> seen_;
};

// The tokenizer, a GGUF's in its keys, and all other files that travel with a model, byte for byte.
void check_files(const FileTree& tree, const Json& claims) {
  const Json files = json_at<Json>(claims, "files", "claims"), keys = json_at<Json>(claims, "keys", "claims");
  Comparison found_files(files, ""), found_keys(keys, "");
  for (const auto& path : tree.paths()) {
    const auto file = tree.open(path);
    if (files.contains(path)) found_files.add(path, sha256(file.read_all().data).hex());
    if (!path.ends_with(".gguf")) continue;
    const GgufFile opened(file);
    for (const auto& [name, value] : opened.keys())
      found_keys.add(name, sha256(opened.key_bytes(name).data).hex());
  }
  (void)found_files.finish();
  (void)found_keys.finish();
}

struct Contents {
  std::uint64_t tensors = 0, files = 0;   // bytes; of files with their headers, and a GGUF's vocabulary
  std::set<std::string> names;            // of the tensors
  std::map<std::string, int> ggml_types;  // of a GGUF: how many tensors of each

  void add(const std::string& name, std::uint64_t bytes) {
    tensors += bytes;
    if (!names.insert(name).second) throw_differs(name, "the export holds two tensors of this name");
  }
};

Contents contents_of(const FileTree& tree) {
  Contents contents;
  for (const auto& path : tree.paths()) {
    const auto file = tree.open(path);
    const bool gguf = path.ends_with(".gguf"), safetensors = path.ends_with(".safetensors");
    if (gguf) {
      const GgufFile opened(file);
      for (const auto& tensor : opened.tensors()) {
        contents.add(tensor.name, tensor.bytes);
        ++contents.ggml_types[std::string(to_string(tensor.type))];
      }
    }
    if (safetensors)
      for (const auto& entry : read_safetensors_header(file).entries) contents.add(entry.name, entry.bytes);
    if (gguf || safetensors || holds_graph_weights(path)) contents.files += file.size();
  }
  return contents;
}

void check_meaning(const Json& meant, const Json& found) {
  if (const auto name = difference_in_meaning(meant, found); !name.empty())
    throw_differs("config: " + name, "the files say " + json_or<Json>(found, name.c_str(), nullptr).dump() +
                                         ", the model has " + meant.at(name).dump());
}

// Also tensors that no reader asks for.
void check_names(const std::set<std::string>& found, const std::vector<std::string>& claimed) {
  const std::set<std::string> meant(claimed.begin(), claimed.end());
  for (const auto& name : found)
    if (!meant.contains(name)) throw_differs(name, "the files hold a tensor that was not claimed");
  for (const auto& name : meant)
    if (!found.contains(name)) throw_differs(name, "the files lack it");
}

void check_bytes(std::uint64_t found, const Json& claims) {
  const auto claimed = json_at<std::uint64_t>(claims, "bytes", "claims");
  const double over = static_cast<double>(found) - static_cast<double>(claimed),
               tolerance = kBytesTolerance * static_cast<double>(claimed);
  if (over <= tolerance && (over >= -tolerance || json_or<bool>(claims, "at_most", false, "claims"))) return;
  throw_differs("claims.bytes", "the tensors take " + human_bytes(found) + ", and what was asked for takes " +
                                    human_bytes(claimed));
}

}  // namespace

Json verify_export(const std::filesystem::path& path, const Json& claims) {
  const FileTree tree = FileTree::on_disk(path);
  const auto model = load_model(tree);
  model->check_finite();
  check_meaning(json_at<Json>(claims, "meaning", "claims"), meaning_of(*model));
  const Json claimed_weights = json_at<Json>(claims, "weights", "claims"),
             claimed_tensors = json_at<Json>(claims, "tensors", "claims");
  const Json claimed_inputs = json_or<Json>(claims, "inputs", Json::object(), "claims");
  Comparison weights(claimed_weights, ".weight"), tensors(claimed_tensors, ""),
      inputs(claimed_inputs, "'s inputs");
  for (const Layer* layer : std::as_const(*model).layers()) {
    weights.add(layer->name(), digest_of(layer->weight()));
    if (const auto rounded = describe_inputs(layer->weight()); !rounded.empty())
      inputs.add(layer->name(), rounded);
    if (layer->bias().defined()) tensors.add(layer->name() + ".bias", digest_of(layer->bias()));
  }
  for (const auto& parameter : model->parameters()) tensors.add(parameter.name, digest_of(parameter.value));
  (void)inputs.finish();
  check_files(tree, claims);
  Contents contents = contents_of(tree);
  std::optional<double> distance;
  if (holds_onnx_export(tree.paths())) {
    OnnxModel onnx = read_onnx_export(tree);
    for (const auto& tensor : onnx.graph.initializers) contents.add(tensor.name, tensor.data.data.size());
    distance = check_onnx_graph(std::move(onnx), *model);
  }
  check_names(contents.names, json_at<std::vector<std::string>>(claims, "stored", "claims"));
  check_bytes(contents.tensors, claims);
  Json report{{"weights", weights.finish()},
              {"tensors", tensors.finish()},
              {"tensor_bytes", contents.tensors},
              {"file_bytes", contents.files},
              {"bits_per_weight",
               8.0 * static_cast<double>(contents.files) / static_cast<double>(model->parameter_count())}};
  if (distance) report["graph_distance"] = *distance;
  if (!contents.ggml_types.empty()) report["tensor_types"] = contents.ggml_types;
  if (const auto left = json_or<Json>(claims, "left_out", Json::array(), "claims"); !left.empty())
    report["left_out"] = left;
  return report;
}

}  // namespace wring
