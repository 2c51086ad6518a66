// Endings of files.
#include "formats/model_kind.h"

#include <algorithm>

namespace wring {

bool holds_graph(const std::vector<std::string>& paths) {
  const auto any = [&](const char* ending) {
    return std::any_of(paths.begin(), paths.end(), [&](const auto& path) { return path.ends_with(ending); });
  };
  return any(".onnx") && !any(".safetensors") && !any(".gguf");
}

bool holds_graph_weights(const std::string& path) {
  return path.ends_with(".onnx") || path.ends_with(".onnx_data") || path.ends_with(".onnx.data");
}

}  // namespace wring
