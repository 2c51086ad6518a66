// ModelProto to OnnxModel: nodes, attributes, values and the graphs inside attributes, all checked.
#include <google/protobuf/io/coded_stream.h>

#include <climits>
#include <set>
#include <utility>

#include "formats/onnx/onnx.h"
#include "formats/onnx/read_tensor.h"
#include "formats/onnx/refuse.h"

namespace wring {
namespace {

// Of a whole model; far above the largest networks.
constexpr int kMaxNodes = 1'000'000, kMaxDepth = 16, kMaxMessageDepth = 80;

class GraphReader {
 public:
  explicit GraphReader(const OnnxDataOpener& open_data) : open_data_(open_data) {}

  OnnxGraph graph(onnx::GraphProto& proto, int depth) {
    if (depth > kMaxDepth) bad_onnx(proto.name(), "graphs nested deeper than " + std::to_string(kMaxDepth));
    if (proto.sparse_initializer_size() > 0)
      unsupported_onnx(proto.name(), "sparse initializers", "Initializers must be dense.");
    OnnxGraph graph;
    graph.name = proto.name();
    for (auto& tensor : *proto.mutable_initializer()) {
      const std::string place = "initializer " + std::to_string(graph.initializers.size());
      if (tensor.name().empty()) bad_onnx(place, "has no name");
      graph.initializers.push_back(take_tensor(tensor, place, open_data_));
    }
    for (const auto& input : proto.input()) graph.inputs.push_back(value(input, "input", depth == 0));
    for (const auto& output : proto.output()) graph.outputs.push_back(value(output, "output", depth == 0));
    for (auto& node_proto : *proto.mutable_node()) graph.nodes.push_back(node(node_proto, depth));
    return graph;
  }

 private:
  OnnxNode node(onnx::NodeProto& proto, int depth) {
    const std::string place = "node " + std::to_string(nodes_);
    if (++nodes_ > kMaxNodes) bad_onnx(place, "more than " + std::to_string(kMaxNodes) + " nodes");
    OnnxNode node;
    node.operation = proto.op_type();
    node.domain = proto.domain() == "ai.onnx" ? "" : proto.domain();
    node.inputs.assign(proto.input().begin(), proto.input().end());
    node.outputs.assign(proto.output().begin(), proto.output().end());
    // A node's first output names it as well as its own name does, which exporters may leave out.
    node.name = !proto.name().empty() ? proto.name() : node.outputs.empty() ? place : node.outputs.front();
    if (node.operation.empty()) bad_onnx(node.name, "a node without an operator");
    std::set<std::string> names;
    for (auto& attribute_proto : *proto.mutable_attribute()) {
      if (!names.insert(attribute_proto.name()).second)
        bad_onnx(node.name, "the attribute " + attribute_proto.name() + " stands twice");
      node.attributes.push_back(attribute(attribute_proto, node.name, depth));
    }
    return node;
  }

  OnnxAttribute attribute(onnx::AttributeProto& proto, const std::string& node, int depth) {
    const std::string place = node + "." + proto.name();
    OnnxAttribute made{proto.name(), {}};
    switch (proto.type()) {
      case onnx::AttributeProto::FLOAT:
        made.value = proto.f();
        return made;
      case onnx::AttributeProto::INT:
        made.value = static_cast<std::int64_t>(proto.i());
        return made;
      case onnx::AttributeProto::STRING:
        made.value = proto.s();
        return made;
      case onnx::AttributeProto::TENSOR:
        made.value = take_tensor(*proto.mutable_t(), place, open_data_);
        return made;
      case onnx::AttributeProto::GRAPH:
        made.value = std::make_shared<OnnxGraph>(graph(*proto.mutable_g(), depth + 1));
        return made;
      case onnx::AttributeProto::FLOATS:
        made.value = std::vector<float>(proto.floats().begin(), proto.floats().end());
        return made;
      case onnx::AttributeProto::INTS:
        made.value = std::vector<std::int64_t>(proto.ints().begin(), proto.ints().end());
        return made;
      case onnx::AttributeProto::STRINGS:
        made.value = std::vector<std::string>(proto.strings().begin(), proto.strings().end());
        return made;
      default:
        unsupported_onnx(place, "an attribute of type " + std::to_string(proto.type()),
                         "Read are numbers, strings, tensors and graphs, and lists of numbers and strings.");
    }
  }

  static OnnxValue value(const onnx::ValueInfoProto& proto, const std::string& kind, bool typed) {
    if (proto.name().empty()) bad_onnx(kind, "has no name");
    OnnxValue value;
    value.name = proto.name();
    if (!proto.has_type() || !proto.type().has_tensor_type()) {
      if (proto.has_type() && proto.type().value_case() != onnx::TypeProto::VALUE_NOT_SET)
        unsupported_onnx(value.name, "an " + kind + " that is no tensor",
                         "Inputs and outputs must be tensors.");
      if (typed) bad_onnx(value.name, "an " + kind + " without a type");
      return value;
    }
    const auto& tensor = proto.type().tensor_type();
    const auto type = onnx_type_from(tensor.elem_type());
    if (!type && (typed || tensor.elem_type() != 0))
      unsupported_onnx(value.name, "an " + kind + " of element type " + std::to_string(tensor.elem_type()),
                       "Read are float, double, float16, bfloat16, float8, bool and integers.");
    value.type = type;
    if (!tensor.has_shape()) return value;
    value.shape.emplace();
    for (const auto& size : tensor.shape().dim()) {
      OnnxDimension dimension;
      dimension.symbol = size.dim_param();
      if (size.has_dim_value() && size.dim_value() >= 0) dimension.size = size.dim_value();
      value.shape->push_back(std::move(dimension));
    }
    return value;
  }

  const OnnxDataOpener& open_data_;
  int nodes_ = 0;
};

void parse(const FileView& file, onnx::ModelProto& proto) {
  if (file.size() > INT_MAX)
    bad_onnx("", file.name() + ": larger than 2 GiB; its tensors must lie in external data");
  const Bytes bytes = file.read_all();
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const std::uint8_t*>(bytes.data.data()),
                                                static_cast<int>(bytes.data.size()));
  stream.SetRecursionLimit(kMaxMessageDepth);
  if (!proto.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage() || !proto.has_graph())
    bad_onnx("", file.name() + ": this is no ONNX model, or it is cut off or damaged");
}

void read_opsets(const onnx::ModelProto& proto, OnnxModel& model) {
  for (const auto& opset : proto.opset_import())
    model.opsets[opset.domain() == "ai.onnx" ? "" : opset.domain()] = opset.version();
  const auto it = model.opsets.find("");
  if (it == model.opsets.end()) bad_onnx("opset_import", "no opset of the domain ai.onnx");
  if (it->second < kOldestOnnxOpset || it->second > kNewestOnnxOpset)
    unsupported_onnx("opset_import", "opset " + std::to_string(it->second) + " of the domain ai.onnx",
                     "Supported are " + std::to_string(kOldestOnnxOpset) + " to " +
                         std::to_string(kNewestOnnxOpset) +
                         "; onnx.version_converter changes a model's opset.");
}

}  // namespace

OnnxModel read_onnx(const FileView& file, const OnnxDataOpener& open_data) {
  onnx::ModelProto proto;
  parse(file, proto);
  OnnxModel model;
  model.ir_version = proto.ir_version();
  model.producer = proto.producer_name();
  read_opsets(proto, model);
  if (proto.functions_size() > 0)
    unsupported_onnx("functions", "a model with functions of its own",
                     "Inline them first: onnx.inliner.inline_local_functions.");
  if (proto.training_info_size() > 0) unsupported_onnx("training_info", "a training graph", "");
  for (const auto& entry : proto.metadata_props()) model.metadata[entry.key()] = entry.value();
  const OnnxDataOpener note_and_open = [&](const std::string& location) {
    model.external_files.insert(location);
    return open_data(location);
  };
  model.graph = GraphReader(note_and_open).graph(*proto.mutable_graph(), 0);
  return model;
}

OnnxModel read_onnx(const std::filesystem::path& file) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::absolute(file).parent_path();
  const auto open = [](const fs::path& path) {
    const FileTree tree = FileTree::on_disk(path);
    return tree.open(tree.paths().at(0));
  };
  return read_onnx(open(file), [&](const std::string& location) {
    // A symbolic link may point anywhere: what it leads to must lie in the folder too.
    const fs::path root = fs::weakly_canonical(folder), target = fs::weakly_canonical(folder / location);
    if (fs::relative(target, root).string().starts_with(".."))
      bad_onnx(location, "external data outside the model's folder");
    if (!fs::is_regular_file(target))
      throw Error(ErrorCode::kNotFound, "NO_SUCH_FILE", "external data that the model names are not there",
                  location, "They must lie beside " + file.filename().string() + ".");
    return open(target);
  });
}

}  // namespace wring
