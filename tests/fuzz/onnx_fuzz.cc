// Any bytes as an ONNX model: refused with an Error, or what is written of it reads back alike.
#include "formats/onnx/onnx.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace wring;

void require_alike(const OnnxGraph& a, const OnnxGraph& b) {
  fuzz::require(a.nodes.size() == b.nodes.size() && a.initializers.size() == b.initializers.size());
  fuzz::require(a.inputs.size() == b.inputs.size() && a.outputs.size() == b.outputs.size());
  for (std::size_t i = 0; i < a.nodes.size(); ++i) {
    fuzz::require(a.nodes[i].operation == b.nodes[i].operation && a.nodes[i].inputs == b.nodes[i].inputs);
    fuzz::require(a.nodes[i].outputs == b.nodes[i].outputs);
    fuzz::require(a.nodes[i].attributes.size() == b.nodes[i].attributes.size());
  }
  for (std::size_t i = 0; i < a.initializers.size(); ++i) {
    const auto &left = a.initializers[i], &right = b.initializers[i];
    fuzz::require(left.name == right.name && left.type == right.type && left.shape == right.shape);
    fuzz::require(left.data.text() == right.data.text());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::expect_error_or_success([&] {
    const FileView file = fuzz::view_of(data, size);
    // The file stands in for its external data too.
    const OnnxModel model = read_onnx(file, [&](const std::string&) { return file; });
    const TempDir folder;
    for (const std::uint64_t inline_bytes : {kOnnxInlineBytes, std::uint64_t{0}}) {
      write_onnx(folder.path() / "m.onnx", model, inline_bytes, Durability::kProcess);
      require_alike(read_onnx(folder.path() / "m.onnx").graph, model.graph);
    }
  });
}
