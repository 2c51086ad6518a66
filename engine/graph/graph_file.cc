// Names of files; the rest is the reader's and the writer's.
#include "engine/graph/graph_file.h"

#include <set>

#include "common/error.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/model/companions.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr int kFormatVersion = 1;

std::string onnx_path(const FileTree& tree) {
  std::vector<std::string> found;
  for (const auto& path : tree.paths())
    if (path.ends_with(".onnx")) found.push_back(path);
  if (found.size() == 1) return found.front();
  throw Error(ErrorCode::kInvalidArgument, "AMBIGUOUS_MODEL",
              tree.origin() + " holds " + std::to_string(found.size()) + " .onnx files", "model",
              "Hand in the file itself.");
}

}  // namespace

std::unique_ptr<Graph> load_graph(const FileTree& tree, at::Device device) {
  const fs::path path = onnx_path(tree);
  const auto open = [&](const std::string& location) {
    const auto file = (path.parent_path() / location).lexically_normal().string();
    if (!tree.has(file))
      throw Error(ErrorCode::kNotFound, "NO_SUCH_FILE",
                  "external data that the model names are not there: " + file, "model",
                  "Hand in the folder that holds both, or export with the weights inside.");
    return tree.open(file);
  };
  auto graph = std::make_unique<Graph>(read_onnx(tree.open(path.string()), open));
  graph->compute_on(device);
  return graph;
}

void save_graph(const Graph& graph, const FileTree& source, const Json& lineage, const fs::path& folder,
                Durability durability) {
  fs::create_directories(folder);
  const fs::path name = fs::path(onnx_path(source)).filename();
  const OnnxModel model = graph.to_onnx();
  write_onnx(folder / name, model, kOnnxInlineBytes, durability);
  const Json description{
      {"format_version", kFormatVersion}, {"family", "onnx"}, {"kind", "graph"}, {"lineage", lineage}};
  write_file_atomic(folder / "wring.json", description.dump(1) + "\n", durability);
  const fs::path beside = fs::path(onnx_path(source)).parent_path();
  std::set<std::string> old_weights;
  for (const auto& location : model.external_files)
    old_weights.insert((beside / location).lexically_normal().string());
  for_each_companion(source, [&](const std::string& path, std::string_view content) {
    if (old_weights.contains(path)) return;
    fs::create_directories((folder / path).parent_path());
    write_file_atomic(folder / path, content, durability);
  });
}

NamedValues example_inputs(const Graph& graph, std::int64_t batch) {
  NamedValues values;
  for (const auto& input : graph.inputs()) {
    std::vector<std::int64_t> sizes;
    bool known = input.shape.has_value();
    for (std::size_t i = 0; known && i < input.shape->size(); ++i) {
      const auto& size = (*input.shape)[i].size;
      known = size || i == 0;
      sizes.push_back(size.value_or(batch));
    }
    if (!known)
      throw Error(ErrorCode::kInvalidArgument, "FREE_SIZE",
                  "the graph's input has free sizes besides the batch", input.name,
                  "Export the network with the sizes that it will be used with.");
    const auto type = scalar_type(*input.type, input.name);
    std::int64_t count = 1;
    for (const auto size : sizes) count *= size;
    values[input.name] = at::isFloatingType(type)
                             ? at::sin(at::arange(count, at::kFloat) * 1.618).reshape(sizes).to(type)
                             : at::zeros(sizes, type);
  }
  return values;
}

std::int64_t example_count(const Graph& graph, const NamedValues& values) {
  for (const auto& input : graph.inputs())
    if (const at::Tensor& value = values.at(input.name); value.dim() > 0) return value.size(0);
  return 1;
}

}  // namespace wring
