// OnnxModel to ModelProto and to a file, with large tensors beside it where protobuf has no room for them.
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <onnx.pb.h>

#include <climits>
#include <exception>
#include <type_traits>
#include <utility>

#include "formats/onnx/onnx.h"
#include "formats/onnx/refuse.h"

namespace wring {
namespace {

constexpr std::uint64_t kSmallTensor = 1024, kAlignment = 64;

std::uint64_t bytes_of(const OnnxTensor& tensor) {
  std::uint64_t elements = 1;
  for (const auto size : tensor.shape) elements *= static_cast<std::uint64_t>(size);
  return onnx_bytes(tensor.type, elements);
}

// Where a tensor's values go.
class TensorWriter {
 public:
  // `data_file` null: all inline.
  TensorWriter(AtomicFile* data_file, std::string location, const OnnxDataMaker& make)
      : data_file_(data_file), location_(std::move(location)), make_(make) {}

  void write(const OnnxTensor& tensor, onnx::TensorProto& proto) {
    proto.set_name(tensor.name);
    proto.set_data_type(static_cast<std::int32_t>(tensor.type));
    for (const auto size : tensor.shape) proto.add_dims(size);
    const Bytes bytes = tensor.data.data.empty() && make_ ? make_(tensor) : tensor.data;
    const auto data = bytes.data;
    if (!data_file_ || data.size() < kSmallTensor)
      proto.set_raw_data(data.data(), data.size());
    else
      write_outside(data, proto);
  }

 private:
  void write_outside(std::span<const std::byte> data, onnx::TensorProto& proto) {
    const std::uint64_t padding = (kAlignment - offset_ % kAlignment) % kAlignment;
    data_file_->write(std::vector<std::byte>(padding));
    offset_ += padding;
    proto.set_data_location(onnx::TensorProto::EXTERNAL);
    add(proto, "location", location_);
    add(proto, "offset", std::to_string(offset_));
    add(proto, "length", std::to_string(data.size()));
    data_file_->write(data);
    offset_ += data.size();
  }

  static void add(onnx::TensorProto& proto, const std::string& key, const std::string& value) {
    auto* entry = proto.add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }

  AtomicFile* data_file_;
  std::string location_;
  const OnnxDataMaker& make_;
  std::uint64_t offset_ = 0;
};

void write_graph(const OnnxGraph& graph, TensorWriter& tensors, onnx::GraphProto& proto);

void write_attribute(const OnnxAttribute& attribute, TensorWriter& tensors, onnx::AttributeProto& proto) {
  proto.set_name(attribute.name);
  const auto set = [&](const auto& value) {
    using T = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<T, float>) {
      proto.set_type(onnx::AttributeProto::FLOAT);
      proto.set_f(value);
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
      proto.set_type(onnx::AttributeProto::INT);
      proto.set_i(value);
    } else if constexpr (std::is_same_v<T, std::string>) {
      proto.set_type(onnx::AttributeProto::STRING);
      proto.set_s(value);
    } else if constexpr (std::is_same_v<T, OnnxTensor>) {
      proto.set_type(onnx::AttributeProto::TENSOR);
      tensors.write(value, *proto.mutable_t());
    } else if constexpr (std::is_same_v<T, std::shared_ptr<OnnxGraph>>) {
      proto.set_type(onnx::AttributeProto::GRAPH);
      write_graph(*value, tensors, *proto.mutable_g());
    } else if constexpr (std::is_same_v<T, std::vector<float>>) {
      proto.set_type(onnx::AttributeProto::FLOATS);
      for (const auto v : value) proto.add_floats(v);
    } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
      proto.set_type(onnx::AttributeProto::INTS);
      for (const auto v : value) proto.add_ints(v);
    } else {
      proto.set_type(onnx::AttributeProto::STRINGS);
      for (const auto& v : value) proto.add_strings(v);
    }
  };
  std::visit(set, attribute.value);
}

void write_node(const OnnxNode& node, TensorWriter& tensors, onnx::NodeProto& proto) {
  proto.set_name(node.name);
  proto.set_op_type(node.operation);
  if (!node.domain.empty()) proto.set_domain(node.domain);
  for (const auto& input : node.inputs) proto.add_input(input);
  for (const auto& output : node.outputs) proto.add_output(output);
  for (const auto& attribute : node.attributes) write_attribute(attribute, tensors, *proto.add_attribute());
}

void write_value(const OnnxValue& value, onnx::ValueInfoProto& proto) {
  proto.set_name(value.name);
  if (!value.type) return;
  auto* tensor = proto.mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(static_cast<std::int32_t>(*value.type));
  if (!value.shape) return;
  auto* shape = tensor->mutable_shape();
  for (const auto& dimension : *value.shape) {
    auto* size = shape->add_dim();
    if (dimension.size)
      size->set_dim_value(*dimension.size);
    else if (!dimension.symbol.empty())
      size->set_dim_param(dimension.symbol);
  }
}

void write_graph(const OnnxGraph& graph, TensorWriter& tensors, onnx::GraphProto& proto) {
  proto.set_name(graph.name.empty() ? "graph" : graph.name);
  for (const auto& node : graph.nodes) write_node(node, tensors, *proto.add_node());
  for (const auto& tensor : graph.initializers) tensors.write(tensor, *proto.add_initializer());
  for (const auto& input : graph.inputs) write_value(input, *proto.add_input());
  for (const auto& output : graph.outputs) write_value(output, *proto.add_output());
}

std::uint64_t bytes_of(const OnnxGraph& graph) {
  std::uint64_t bytes = 0;
  for (const auto& tensor : graph.initializers) bytes += bytes_of(tensor);
  return bytes;
}

constexpr int kAtOnce = 1 << 20;  // bytes of a write; protobuf's own are 8 KiB

// Takes what protobuf writes. Its errors wait, since a stream ends in a destructor.
class FileStream final : public google::protobuf::io::CopyingOutputStream {
 public:
  explicit FileStream(AtomicFile& file) : file_(file) {}

  bool Write(const void* data, int size) override {
    try {
      if (!error_) file_.write({static_cast<const std::byte*>(data), static_cast<std::size_t>(size)});
    } catch (...) {
      error_ = std::current_exception();
    }
    return !error_;
  }
  void check() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  AtomicFile& file_;
  std::exception_ptr error_;
};

void write_message(const onnx::ModelProto& proto, const std::filesystem::path& path, Durability durability) {
  if (proto.ByteSizeLong() > INT_MAX)
    bad_onnx("", "the model comes to more than 2 GiB without its large tensors");
  AtomicFile file(path);
  FileStream stream(file);
  {
    google::protobuf::io::CopyingOutputStreamAdaptor adaptor(&stream, kAtOnce);
    (void)proto.SerializeToZeroCopyStream(&adaptor);
  }
  stream.check();
  file.commit(durability);
}

}  // namespace

void write_onnx(const std::filesystem::path& file, const OnnxModel& model, std::uint64_t inline_bytes,
                Durability durability, const OnnxDataMaker& make) {
  std::filesystem::path data_path = file;
  data_path += ".data";
  std::optional<AtomicFile> data_file;
  if (bytes_of(model.graph) > inline_bytes) data_file.emplace(data_path);
  TensorWriter tensors(data_file ? &*data_file : nullptr, data_path.filename().string(), make);
  onnx::ModelProto proto;
  proto.set_ir_version(model.ir_version);
  proto.set_producer_name(model.producer);
  for (const auto& [domain, version] : model.opsets) {
    auto* opset = proto.add_opset_import();
    opset->set_domain(domain);
    opset->set_version(version);
  }
  for (const auto& [key, value] : model.metadata) {
    auto* entry = proto.add_metadata_props();
    entry->set_key(key);
    entry->set_value(value);
  }
  write_graph(model.graph, tensors, *proto.mutable_graph());
  if (data_file) data_file->commit(durability);
  write_message(proto, file, durability);
}

}  // namespace wring
