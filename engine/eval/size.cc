// Bytes truly on disk, and bits per weight; beside what the parameters would take in bf16.
#include "engine/eval/suite.h"

namespace wring {
namespace {

EvaluationRow row(std::string metric, double value, std::string unit) {
  EvaluationRow r;
  r.suite = "size";
  r.metric = std::move(metric);
  r.value = value;
  r.unit = std::move(unit);
  r.n = 1;
  return r;
}

std::vector<EvaluationRow> size(const Params&, EvaluationInput& input) {
  const auto [weights, all] = bytes_of(input.files);
  const auto count = static_cast<double>(input.model.parameter_count());
  input.progress.report(1, 1, "files");
  return {row("weight_bytes", static_cast<double>(weights), "bytes"),
          row("artifact_bytes", static_cast<double>(all), "bytes"),
          row("bits_per_weight", 8.0 * static_cast<double>(weights) / count, "bits"),
          row("parameters", count, ""), row("share_of_bf16", static_cast<double>(all) / (2.0 * count), "")};
}

WRING_SUITE("size", size);

}  // namespace

FileBytes bytes_of(const FileTree& files) {
  FileBytes bytes;
  for (const auto& path : files.paths()) {
    const auto size = files.open(path).size();
    bytes.all += size;
    if (path.ends_with(".safetensors") || path.ends_with(".gguf")) bytes.weights += size;
  }
  return bytes;
}

}  // namespace wring
