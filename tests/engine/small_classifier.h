// A convolutional network of random weights and images that it can learn to tell apart in a second.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <utility>
#include <vector>

#include "engine/data/batches.h"
#include "engine/graph/graph.h"
#include "engine/graph/onnx_tensor.h"

namespace wring::small_classifier {

inline constexpr std::int64_t kClasses = 3, kSide = 8;

inline OnnxNode node(const std::string& operation, std::vector<std::string> inputs, const std::string& output,
                     std::vector<OnnxAttribute> attributes = {}) {
  return {"the_" + output, operation, "", std::move(inputs), {output}, std::move(attributes)};
}

inline void add_norm(OnnxGraph& graph, const std::string& from, const std::string& to, std::int64_t width) {
  graph.nodes.push_back(node("BatchNormalization", {from, to + ".g", to + ".b", to + ".m", to + ".v"}, to));
  for (const char* name : {".g", ".v"}) graph.initializers.push_back(to_onnx(to + name, at::ones({width})));
  for (const char* name : {".b", ".m"}) graph.initializers.push_back(to_onnx(to + name, at::zeros({width})));
}

inline void add_conv(OnnxGraph& graph, const std::string& from, const std::string& to, std::int64_t in,
                     std::int64_t out) {
  graph.nodes.push_back(
      node("Conv", {from, to + ".w"}, to, {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}}));
  graph.initializers.push_back(to_onnx(to + ".w", at::randn({out, in, 3, 3}) * 0.3));
}

// x [batch, 1, 8, 8] -> y [batch, 3]: a convolution of 8 channels, a residual block of 12 inside, a dense
// head.
inline OnnxModel model(std::optional<std::int64_t> batch = std::nullopt) {
  at::manual_seed(3);
  OnnxModel model;
  model.opsets = {{"", 17}};
  OnnxGraph& graph = model.graph;
  graph.inputs = {{"x", OnnxType::kFloat, {{{batch, "batch"}, {1, ""}, {kSide, ""}, {kSide, ""}}}}};
  graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  add_conv(graph, "x", "a", 1, 8);
  add_norm(graph, "a", "an", 8);
  graph.nodes.push_back(node("Relu", {"an"}, "ar"));
  add_conv(graph, "ar", "b", 8, 12);
  add_norm(graph, "b", "bn", 12);
  graph.nodes.push_back(node("Relu", {"bn"}, "br"));
  add_conv(graph, "br", "c", 12, 8);
  add_norm(graph, "c", "cn", 8);
  graph.nodes.push_back(node("Add", {"cn", "ar"}, "d"));
  graph.nodes.push_back(node("Relu", {"d"}, "dr"));
  graph.nodes.push_back(node("GlobalAveragePool", {"dr"}, "p"));
  graph.nodes.push_back(node("Flatten", {"p"}, "f"));
  graph.nodes.push_back(node("Gemm", {"f", "h.w", "h.b"}, "y", {{"transB", std::int64_t{1}}}));
  graph.initializers.push_back(to_onnx("h.w", at::randn({kClasses, 8}) * 0.3));
  graph.initializers.push_back(to_onnx("h.b", at::zeros({kClasses})));
  return model;
}
inline constexpr std::size_t kUnits = 20;  // 8 channels of the residual stream, 12 inside the block

// Grey noise with a bright row, a bright column, or neither.
inline LabelledData data(std::int64_t count) {
  at::manual_seed(11);
  at::Tensor images = at::randint(0, 128, {count, kSide, kSide, 1}, at::kByte);
  const at::Tensor labels = at::arange(count, at::kLong).remainder(kClasses);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t place = (i * 5) % kSide;
    if (i % kClasses == 0) images[i].select(0, place).fill_(255);
    if (i % kClasses == 1) images[i].select(1, place).fill_(255);
  }
  return {images, labels, {}};
}

inline Batches batches(std::int64_t count) {
  return Batches(data(count), {{0.3}, {0.2}, "mean"}, {1, kSide, kSide}, "data.train");
}

}  // namespace wring::small_classifier
