// What kind of model a folder holds, from the names of its files alone.
#pragma once

#include <string>
#include <vector>

namespace wring {

// Beside an .onnx file that Wring has exported: it is read as the transformer that it holds, not as a graph.
inline constexpr char kOnnxExportFile[] = "wring_onnx.json";

// An ONNX graph: an .onnx file, and no weights in the forms that transformer families are read from.
bool holds_graph(const std::vector<std::string>& paths);
bool holds_onnx_export(const std::vector<std::string>& paths);
// An .onnx file, or one of external weights as exporters name them: net.onnx_data, net.onnx.data.
bool holds_graph_weights(const std::string& path);

// Names that exporters give the one file of a .onnx file's external weights, which lies beside it.
std::vector<std::string> external_weights(const std::string& onnx_file);

// "gguf", "onnx" or "safetensors", whose weights lie there; empty where there are none.
std::string weights_format(const std::vector<std::string>& paths);

}  // namespace wring
