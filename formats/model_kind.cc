// Endings of files.
#include "formats/model_kind.h"

#include <algorithm>
#include <string_view>

namespace wring {

namespace {

bool any(const std::vector<std::string>& paths, std::string_view ending) {
  return std::any_of(paths.begin(), paths.end(), [&](const auto& path) { return path.ends_with(ending); });
}

bool is_onnx_alone(const std::vector<std::string>& paths) {
  return any(paths, ".onnx") && !any(paths, ".safetensors") && !any(paths, ".gguf");
}

bool is_marked(const std::vector<std::string>& paths) {
  return std::find(paths.begin(), paths.end(), kOnnxExportFile) != paths.end();
}

}  // namespace

bool holds_graph(const std::vector<std::string>& paths) {
  return is_onnx_alone(paths) && !is_marked(paths);
}

bool holds_onnx_export(const std::vector<std::string>& paths) {
  return is_onnx_alone(paths) && is_marked(paths);
}

bool holds_graph_weights(const std::string& path) {
  return path.ends_with(".onnx") || path.ends_with(".onnx_data") || path.ends_with(".onnx.data");
}

std::vector<std::string> external_weights(const std::string& onnx_file) {
  if (!onnx_file.ends_with(".onnx")) return {};
  return {onnx_file + ".data", onnx_file + "_data"};
}

std::string weights_format(const std::vector<std::string>& paths) {
  for (const char* format : {"safetensors", "gguf", "onnx"})
    if (any(paths, std::string(".") + format)) return format;
  return "";
}

}  // namespace wring
