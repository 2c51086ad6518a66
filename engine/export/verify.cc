// Digest by digest.
#include "engine/export/verify.h"

#include <cmath>
#include <set>

#include "common/error.h"
#include "common/text.h"
#include "engine/export/exporter.h"
#include "engine/model/load.h"

namespace wring {
namespace {

constexpr double kBytesTolerance = 0.01;
constexpr std::uint64_t kHeaderBytes = 1024;  // of a file's header, for each layer or parameter

[[noreturn]] void throw_differs(const std::string& tensor, const std::string& what) {
  throw Error(
      ErrorCode::kDataLoss, "EXPORT_DIFFERS", what, tensor,
      "The files do not hold what the exporter meant; nothing was kept. Report this as a defect of Wring.");
}

// Compares found digests with claimed ones, by name.
class Comparison {
 public:
  Comparison(const Json& claimed, std::string suffix) : claimed_(claimed), suffix_(std::move(suffix)) {}

  void add(const std::string& name, const std::string& digest) {
    const auto it = claimed_.find(name);
    if (it == claimed_.end()) throw_differs(name + suffix_, "the export holds a tensor that was not claimed");
    if (it->get<std::string>() != digest)
      throw_differs(name + suffix_, "the values read back are not the ones meant");
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

std::uint64_t weight_bytes(const FileTree& tree) {
  std::uint64_t bytes = 0;
  for (const auto& path : tree.paths())
    if (path.ends_with(".safetensors") || path.ends_with(".gguf")) bytes += tree.open(path).size();
  return bytes;
}

}  // namespace

Json verify_export(const std::filesystem::path& path, const Json& claims) {
  const FileTree tree = FileTree::on_disk(path);
  const auto model = load_model(tree);
  Comparison weights(claims.at("weights"), ".weight"), tensors(claims.at("tensors"), "");
  for (const Layer* layer : std::as_const(*model).layers()) {
    weights.add(layer->name(), digest_of(layer->weight()));
    if (layer->bias().defined()) tensors.add(layer->name() + ".bias", digest_of(layer->bias()));
  }
  for (const auto& parameter : model->parameters()) tensors.add(parameter.name, digest_of(parameter.value));
  const auto bytes = weight_bytes(tree);
  const auto claimed = json_at<std::uint64_t>(claims, "bytes", "claims");
  const auto headers = kHeaderBytes * (claims.at("weights").size() + claims.at("tensors").size());
  const double over = static_cast<double>(bytes) - static_cast<double>(claimed);
  if (std::abs(over) > kBytesTolerance * static_cast<double>(claimed) + static_cast<double>(headers))
    throw_differs("",
                  "the weight files have " + human_bytes(bytes) + ", claimed were " + human_bytes(claimed));
  return {
      {"weights", weights.finish()},
      {"tensors", tensors.finish()},
      {"weight_bytes", bytes},
      {"bits_per_weight", 8.0 * static_cast<double>(bytes) / static_cast<double>(model->parameter_count())}};
}

}  // namespace wring
