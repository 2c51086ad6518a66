// ONNX: what is written reads back alike, values are found wherever they stand, and files that lie are
// refused by name.
#include "formats/onnx/onnx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Protocol buffers by hand: a field of bytes, and one of a number.
std::string varint(std::uint64_t value) {
  std::string text;
  for (; value >= 128; value >>= 7) text += static_cast<char>(value | 128);
  return text + static_cast<char>(value);
}
std::string field(int number, const std::string& bytes) {
  return varint(static_cast<std::uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string field(int number, std::int64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) + varint(static_cast<std::uint64_t>(value));
}

// A model of one graph with an initializer of this TensorProto.
std::string model_with_tensor(const std::string& tensor, std::int64_t opset = 17) {
  return field(1, 8) + field(8, field(2, opset)) + field(7, field(2, "g") + field(5, tensor));
}
std::string tensor_proto(std::int64_t type, const std::vector<std::int64_t>& dims,
                         const std::string& values) {
  std::string text = field(8, "w") + field(2, type);
  for (const auto size : dims) text += field(1, size);
  return text + values;
}

OnnxModel read(const std::string& bytes, const OnnxDataOpener& open = nullptr) {
  const TempDir folder;
  return read_onnx(view_of(folder, "m.onnx", bytes), open);
}
OnnxTensor read_tensor(const std::string& tensor) {
  return read(model_with_tensor(tensor)).graph.initializers.at(0);
}

template <typename T>
std::vector<T> values(const OnnxTensor& tensor) {
  const auto* data = reinterpret_cast<const T*>(tensor.data.data.data());
  return {data, data + tensor.data.data.size() / sizeof(T)};
}

OnnxTensor floats(const std::string& name, std::int64_t count) {
  auto owner = std::make_shared<std::vector<float>>(static_cast<std::size_t>(count));
  std::iota(owner->begin(), owner->end(), 0.5f);
  return {name, OnnxType::kFloat, {count}, Bytes{std::as_bytes(std::span(*owner)), owner}};
}

OnnxModel example() {
  OnnxModel model;
  model.opsets = {{"", 17}, {"com.microsoft", 1}};
  model.producer = "test";
  model.metadata = {{"licence", "MIT"}};
  model.graph.name = "g";
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{4, ""}, {std::nullopt, "n"}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.initializers = {floats("small", 4), floats("large", 1000)};
  auto inner = std::make_shared<OnnxGraph>();
  inner->name = "inner";
  inner->nodes = {{"i", "Identity", "", {"x"}, {"z"}, {}}};
  inner->outputs = {{"z", std::nullopt, std::nullopt}};
  model.graph.nodes = {{"n",
                        "Everything",
                        "com.microsoft",
                        {"x", "", "small"},
                        {"y"},
                        {{"f", 0.25f},
                         {"i", std::int64_t{-3}},
                         {"s", std::string("text")},
                         {"t", floats("", 2)},
                         {"g", inner},
                         {"fs", std::vector<float>{1, 2}},
                         {"is", std::vector<std::int64_t>{-1, 1}},
                         {"ss", std::vector<std::string>{"a", "b"}}}}};
  return model;
}

void expect_example(const OnnxModel& model) {
  EXPECT_EQ(model.opsets.at(""), 17);
  EXPECT_EQ(model.opsets.at("com.microsoft"), 1);
  EXPECT_EQ(model.metadata.at("licence"), "MIT");
  ASSERT_EQ(model.graph.inputs.size(), 1u);
  EXPECT_EQ(model.graph.inputs[0].shape->at(0).size, 4);
  EXPECT_EQ(model.graph.inputs[0].shape->at(1).symbol, "n");
  EXPECT_FALSE(model.graph.outputs.at(0).shape);
  EXPECT_THAT(values<float>(model.graph.initializers.at(0)), ElementsAre(0.5f, 1.5f, 2.5f, 3.5f));
  EXPECT_EQ(values<float>(model.graph.initializers.at(1)).back(), 999.5f);
  const OnnxNode& node = model.graph.nodes.at(0);
  EXPECT_THAT(node.inputs, ElementsAre("x", "", "small"));
  EXPECT_EQ(std::get<float>(node.find("f")->value), 0.25f);
  EXPECT_EQ(std::get<std::int64_t>(node.find("i")->value), -3);
  EXPECT_EQ(std::get<std::string>(node.find("s")->value), "text");
  EXPECT_THAT(values<float>(std::get<OnnxTensor>(node.find("t")->value)), ElementsAre(0.5f, 1.5f));
  EXPECT_EQ(std::get<std::shared_ptr<OnnxGraph>>(node.find("g")->value)->nodes.at(0).operation, "Identity");
  EXPECT_THAT(std::get<std::vector<std::int64_t>>(node.find("is")->value), ElementsAre(-1, 1));
  EXPECT_THAT(std::get<std::vector<std::string>>(node.find("ss")->value), ElementsAre("a", "b"));
  EXPECT_EQ(node.find("none"), nullptr);
}

TEST(Onnx, WhatIsWrittenReadsBackAlike) {
  const TempDir folder;
  write_onnx(folder.path() / "m.onnx", example());
  expect_example(read_onnx(folder.path() / "m.onnx"));
}

TEST(Onnx, LargeTensorsGoToAFileBesideItAndComeBack) {
  const TempDir folder;
  write_onnx(folder.path() / "m.onnx", example(), 1000);
  EXPECT_EQ(std::filesystem::file_size(folder.path() / "m.onnx.data"), 4000u);
  expect_example(read_onnx(folder.path() / "m.onnx"));
  std::filesystem::remove(folder.path() / "m.onnx.data");
  const Error error = error_of([&] { read_onnx(folder.path() / "m.onnx"); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(error.field(), "m.onnx.data");
}

TEST(Onnx, TensorsWithoutDataAreMadeWhenTheirTurnComes) {
  for (const std::uint64_t inline_bytes : {std::uint64_t{1000}, kOnnxInlineBytes}) {
    const TempDir folder;
    OnnxModel model = example();
    const OnnxTensor large = model.graph.initializers.at(1);
    model.graph.initializers.at(1).data = {};
    std::vector<std::string> made;
    write_onnx(folder.path() / "m.onnx", model, inline_bytes, Durability::kProcess,
               [&](const OnnxTensor& tensor) {
                 made.push_back(tensor.name);
                 return large.data;
               });
    EXPECT_THAT(made, ElementsAre("large"));
    EXPECT_EQ(std::filesystem::exists(folder.path() / "m.onnx.data"), inline_bytes == 1000);
    expect_example(read_onnx(folder.path() / "m.onnx"));
  }
}

TEST(Onnx, TypedFieldsGiveTheBytesOfEachType) {
  EXPECT_THAT(values<std::int8_t>(read_tensor(tensor_proto(3, {2}, field(5, varint(5) + varint(~0ull))))),
              ElementsAre(5, -1));
  EXPECT_THAT(values<std::uint16_t>(read_tensor(tensor_proto(10, {1}, field(5, varint(0x3c00))))),
              ElementsAre(0x3c00));
  EXPECT_THAT(values<std::uint32_t>(read_tensor(tensor_proto(12, {1}, field(11, varint(7))))),
              ElementsAre(7u));
  EXPECT_THAT(values<std::int64_t>(read_tensor(tensor_proto(7, {2}, field(7, varint(1) + varint(2))))),
              ElementsAre(1, 2));
  EXPECT_THAT(values<std::uint8_t>(read_tensor(tensor_proto(21, {3}, field(5, varint(0x21) + varint(0x03))))),
              ElementsAre(0x21, 0x03));
  EXPECT_TRUE(read_tensor(tensor_proto(1, {0, 3}, "")).data.data.empty());
}

TEST(Onnx, ATensorThatDoesNotHoldWhatItsShapeSaysIsNamed) {
  const std::vector<std::string> lies{
      tensor_proto(1, {2}, field(9, "1234")),                                      // too few bytes
      tensor_proto(1, {1}, field(9, "12345")),                                     // too many
      tensor_proto(1, {-1}, ""),                                                   // a negative size
      tensor_proto(1, {1ll << 40, 1ll << 40}, ""),                                 // a product that overflows
      tensor_proto(2, {1}, field(5, varint(300))),                                 // no uint8
      tensor_proto(7, {1}, field(7, varint(1)) + field(9, std::string(8, '\0'))),  // two places
      tensor_proto(1, std::vector<std::int64_t>(40, 1), field(9, "1234")),         // too many dimensions
  };
  for (const auto& lie : lies) {
    const Error error = error_of([&] { read_tensor(lie); });
    EXPECT_EQ(error.reason(), "BAD_ONNX");
    EXPECT_EQ(error.field(), "w");
  }
}

TEST(Onnx, ExternalDataOutsideTheFolderOrTheFileAreRefused) {
  const auto external = [](const std::string& location, const std::string& offset) {
    const auto entry = [](const std::string& key, const std::string& value) {
      return field(13, field(1, key) + field(2, value));
    };
    return model_with_tensor(
        tensor_proto(1, {1}, entry("location", location) + entry("offset", offset) + field(14, 1)));
  };
  const TempDir folder;
  write_file_atomic(folder.path() / "d", "12345678");
  const auto error_for = [&](const std::string& location, const std::string& offset) {
    write_file_atomic(folder.path() / "m.onnx", external(location, offset));
    return error_of([&] { read_onnx(folder.path() / "m.onnx"); }).message();
  };
  for (const char* location : {"../d", "/etc/passwd", "a/../../d", ""})
    EXPECT_THAT(error_for(location, "0"), HasSubstr("no path inside the model's folder")) << location;
  EXPECT_THAT(error_for("d", "5"), HasSubstr("lie outside"));
  EXPECT_THAT(error_for("d", "18446744073709551615"), HasSubstr("lie outside"));
  EXPECT_THAT(error_for("d", "x"), HasSubstr("is no number"));
  std::filesystem::create_symlink("/etc/passwd", folder.path() / "link");
  EXPECT_THAT(error_for("link", "0"), HasSubstr("outside the model's folder"));
}

TEST(Onnx, DamageAndWhatIsNotSupportedAreToldApart) {
  const auto reason = [](const std::string& bytes) { return error_of([&] { read(bytes); }).reason(); };
  const std::string good = model_with_tensor(tensor_proto(1, {1}, field(9, "1234")));
  EXPECT_EQ(reason("no protobuf"), "BAD_ONNX");
  EXPECT_EQ(reason(""), "BAD_ONNX");
  for (std::size_t length = 1; length < good.size(); ++length)
    EXPECT_EQ(reason(good.substr(0, length)), "BAD_ONNX") << length;
  const std::string tensor = tensor_proto(1, {1}, field(9, "1234"));
  EXPECT_EQ(reason(model_with_tensor(tensor, 8)), "UNSUPPORTED_ONNX");
  EXPECT_EQ(reason(model_with_tensor(tensor, 99)), "UNSUPPORTED_ONNX");
  EXPECT_EQ(reason(model_with_tensor(tensor_proto(8, {1}, field(6, "text")))), "UNSUPPORTED_ONNX");
  EXPECT_EQ(reason(good + field(25, field(1, "f"))), "UNSUPPORTED_ONNX");
}

TEST(Onnx, GraphsNestedWithoutEndAreRefused) {
  std::string graph = field(2, "g");
  for (int depth = 0; depth < 200; ++depth) {
    const std::string attribute = field(1, "then_branch") + field(20, 5) + field(6, graph);
    graph = field(2, "g") + field(1, field(2, "y") + field(4, "If") + field(5, attribute));
  }
  EXPECT_EQ(error_of([&] { read(field(8, field(2, 17)) + field(7, graph)); }).reason(), "BAD_ONNX");
}

}  // namespace
}  // namespace wring
