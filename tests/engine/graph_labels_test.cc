// What can be cut out of a graph: units, barriers and the numbers that count them, on graphs small enough to
// be worked out by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/graph/labels.h"
#include "engine/graph/onnx_tensor.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::ElementsAre;

OnnxNode node(const std::string& operation, std::vector<std::string> inputs, const std::string& output,
              std::vector<OnnxAttribute> attributes = {}) {
  return {"the_" + output, operation, "", std::move(inputs), {output}, std::move(attributes)};
}

OnnxTensor weight(const std::string& name, std::vector<std::int64_t> shape) {
  return to_onnx(name, at::randn(shape));
}

// x [1, 2, 4, 4] -> y.
OnnxModel model_of(std::vector<OnnxNode> nodes, std::vector<OnnxTensor> initializers) {
  OnnxModel model;
  model.opsets = {{"", 17}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{1, ""}, {2, ""}, {4, ""}, {4, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = std::move(nodes);
  model.graph.initializers = std::move(initializers);
  return model;
}

const NamedValues kExample{{"x", at::arange(32, at::kFloat).reshape({1, 2, 4, 4}) / 32}};

// Two convolutions with `between` from "a" to "b", which may read "w1", "w3" and "x".
OnnxModel two_convolutions(std::vector<OnnxNode> between) {
  std::vector<OnnxNode> nodes{node("Conv", {"x", "w1"}, "a")};
  nodes.insert(nodes.end(), between.begin(), between.end());
  nodes.push_back(node("Conv", {"b", "w2"}, "y"));
  return model_of(nodes,
                  {weight("w1", {4, 2, 1, 1}), weight("w2", {3, 4, 1, 1}), weight("w3", {4, 2, 1, 1})});
}

// Largest difference between the units at zero and the units cut.
double self_test(const OnnxModel& model, const std::vector<std::size_t>& units) {
  Graph graph(model);
  const GraphLabels labels = infer_labels(graph, kExample);
  zero_units(graph, labels, units);
  const Graph cut(erase_units(graph, labels, units));
  return (graph.run(kExample).at("y") - cut.run(kExample).at("y")).abs().max().item<double>();
}

std::vector<std::string> places(const std::vector<GraphSlice>& slices) {
  std::vector<std::string> names;
  for (const auto& slice : slices) names.push_back(slice.tensor + "." + std::to_string(slice.axis));
  return names;
}

TEST(GraphLabels, AnOutputChannelLeavesWithItsReadersColumn) {
  const OnnxModel model = two_convolutions({node("Relu", {"a"}, "b")});
  const Graph graph(model);
  const GraphLabels labels = infer_labels(graph, kExample);
  ASSERT_EQ(labels.units.size(), 4u);
  EXPECT_EQ(labels.families.size(), 1u);
  EXPECT_THAT(places(labels.units[2].slices), ElementsAre("w1.0", "w2.1"));
  EXPECT_THAT(labels.units[2].slices[0].indices, ElementsAre(2));
  EXPECT_THAT(places(labels.units[2].producers), ElementsAre("w1.0"));
  EXPECT_LT(self_test(model, {0, 2}), 1e-6);
}

TEST(GraphLabels, WhatIsNotZeroAtZeroBeforeItsReaderIsABarrierAndAGateIsNone) {
  const Graph barred(two_convolutions({node("Sigmoid", {"a"}, "b")}));
  EXPECT_TRUE(infer_labels(barred, kExample).units.empty());
  const OnnxModel gated = two_convolutions(
      {node("Conv", {"x", "w3"}, "c"), node("Sigmoid", {"c"}, "d"), node("Mul", {"a", "d"}, "b")});
  const GraphLabels labels = infer_labels(Graph(gated), kExample);
  ASSERT_EQ(labels.units.size(), 4u);
  EXPECT_THAT(places(labels.units[0].slices), ElementsAre("w1.0", "w2.1", "w3.0"));
  EXPECT_LT(self_test(gated, {1, 3}), 1e-6);
}

TEST(GraphLabels, AnAxisThatATableOfTruthsChoosesAlongIsABarrier) {
  const auto units = [](std::vector<std::int64_t> mask) {
    OnnxModel model =
        two_convolutions({node("Conv", {"x", "w3"}, "c"), node("Where", {"mask", "a", "c"}, "b")});
    model.graph.initializers.push_back(to_onnx("mask", at::ones(mask, at::kBool)));
    return infer_labels(Graph(model), kExample).units.size();
  };
  EXPECT_EQ(units({1, 4, 1, 1}), 0u);
  EXPECT_EQ(units({1, 1, 4, 4}), 4u);
}

TEST(GraphLabels, ASizeInAReshapeCountsWhatIsKeptAndWhatCannotLeave) {
  const auto shape = [](const char* name, std::vector<std::int64_t> sizes) {
    return to_onnx(name, at::tensor(sizes, at::kLong));
  };
  const OnnxModel model = model_of(
      {node("Conv", {"x", "w1"}, "a"), node("Concat", {"x", "a"}, "c", {{"axis", std::int64_t{1}}}),
       node("Reshape", {"c", "s1"}, "d"), node("Reshape", {"d", "s2"}, "e"), node("Conv", {"e", "w2"}, "y")},
      {weight("w1", {4, 2, 1, 1}), weight("w2", {3, 6, 1, 1}), shape("s1", {1, 6, 16}),
       shape("s2", {1, 6, 4, 4})});
  const Graph graph(model);
  const GraphLabels labels = infer_labels(graph, kExample);
  ASSERT_EQ(labels.units.size(), 4u);
  const OnnxModel cut = erase_units(graph, labels, {1});
  EXPECT_THAT(to_integers(to_tensor(cut.graph.initializers.at(2), "s1")), ElementsAre(1, 5, 16));
  EXPECT_THAT(cut.graph.initializers.at(1).shape, ElementsAre(3, 5, 1, 1));
  EXPECT_LT(self_test(model, {1, 2}), 1e-6);
}

TEST(GraphLabels, WithSomeFamiliesAloneTheUnitsOfTheOthersStillCount) {
  const auto shape = [](const char* name, std::vector<std::int64_t> sizes) {
    return to_onnx(name, at::tensor(sizes, at::kLong));
  };
  const OnnxModel model = model_of(
      {node("Conv", {"x", "w1"}, "a"), node("Conv", {"x", "w3"}, "b"),
       node("Concat", {"a", "b"}, "c", {{"axis", std::int64_t{1}}}), node("Reshape", {"c", "s1"}, "d"),
       node("Reshape", {"d", "s2"}, "e"), node("Conv", {"e", "w2"}, "y")},
      {weight("w1", {4, 2, 1, 1}), weight("w3", {4, 2, 1, 1}), weight("w2", {3, 8, 1, 1}),
       shape("s1", {1, 8, 16}), shape("s2", {1, 8, 4, 4})});
  Graph graph(model);
  const GraphLabels all = infer_labels(graph, kExample);
  ASSERT_EQ(all.families.size(), 2u);
  const GraphLabels some = keep_families(all, {false, true});
  ASSERT_EQ(some.units.size(), 4u);
  EXPECT_THAT(places(some.units[0].producers), ElementsAre("w3.0"));
  const OnnxModel cut = erase_units(graph, some, {0, 3});
  EXPECT_THAT(cut.graph.initializers.at(0).shape, ElementsAre(4, 2, 1, 1));
  EXPECT_THAT(cut.graph.initializers.at(2).shape, ElementsAre(3, 6, 1, 1));
  EXPECT_THAT(to_integers(to_tensor(cut.graph.initializers.at(3), "s1")), ElementsAre(1, 6, 16));
  zero_units(graph, some, {0, 3});
  EXPECT_LT((graph.run(kExample).at("y") - Graph(cut).run(kExample).at("y")).abs().max().item<double>(),
            1e-6);
}

OnnxTensor integers(const std::string& name, std::vector<std::int64_t> values) {
  return to_onnx(name, at::tensor(values, at::kLong));
}

TEST(GraphLabels, ASizeInAResizeCountsTheChannelsThatStayAsTheyAre) {
  OnnxModel model = two_convolutions({node("Resize", {"a", "", "", "sizes"}, "b")});
  model.graph.initializers.push_back(integers("sizes", {1, 4, 8, 8}));
  EXPECT_EQ(infer_labels(Graph(model), kExample).units.size(), 4u);
  EXPECT_LT(self_test(model, {1, 2}), 1e-6);
}

TEST(GraphLabels, PaddingByAnotherAttributeThanZeroIsABarrierBeforeAReader) {
  const auto units = [](float value) {
    OnnxModel model = two_convolutions({node(
        "Pad", {"a"}, "b", {{"pads", std::vector<std::int64_t>{0, 0, 1, 1, 0, 0, 1, 1}}, {"value", value}})});
    model.opsets = {{"", 10}};
    return infer_labels(Graph(model), kExample).units.size();
  };
  EXPECT_EQ(units(0), 4u);
  EXPECT_EQ(units(1), 0u);
}

// The target of a Reshape that is computed when the graph runs: [1, size, 4, 4].
OnnxModel reshaped_to(std::vector<OnnxNode> size) {
  size.push_back(node("Concat", {"one", "size", "four", "four"}, "target", {{"axis", std::int64_t{0}}}));
  size.push_back(node("Reshape", {"a", "target"}, "b"));
  OnnxModel model = two_convolutions(size);
  for (const auto& tensor : {integers("one", {1}), integers("four", {4}), integers("zero", {0})})
    model.graph.initializers.push_back(tensor);
  return model;
}

TEST(GraphLabels, ASizeThatIsReadOffTheAxisFollowsItAndAnotherIsABarrier) {
  const OnnxModel follows =
      reshaped_to({node("Shape", {"a"}, "shape"), node("Gather", {"shape", "one"}, "size")});
  EXPECT_EQ(infer_labels(Graph(follows), kExample).units.size(), 4u);
  EXPECT_LT(self_test(follows, {1, 2}), 1e-6);
  const OnnxModel other =
      reshaped_to({node("Shape", {"x"}, "shape"), node("Gather", {"shape", "one"}, "half"),
                   node("Add", {"half", "half"}, "size")});
  EXPECT_TRUE(infer_labels(Graph(other), kExample).units.empty());
}

TEST(GraphLabels, ANumberInATargetThatTwoReshapesReadIsABarrier) {
  OnnxModel model =
      model_of({node("Conv", {"x", "w1"}, "a"), node("Conv", {"x", "w3"}, "c"), node("Shape", {"x"}, "shape"),
                node("Gather", {"shape", "zero"}, "batch"),
                node("Concat", {"batch", "four", "four", "four"}, "target", {{"axis", std::int64_t{0}}}),
                node("Reshape", {"a", "target"}, "b"), node("Reshape", {"c", "target"}, "d"),
                node("Conv", {"b", "w2"}, "y")},
               {weight("w1", {4, 2, 1, 1}), weight("w2", {3, 4, 1, 1}), weight("w3", {4, 2, 1, 1}),
                integers("zero", {0}), integers("four", {4})});
  EXPECT_TRUE(infer_labels(Graph(model), kExample).units.empty());
  std::erase_if(model.graph.nodes, [](const OnnxNode& one) { return one.name == "the_d"; });
  EXPECT_LT(self_test(model, {1, 2}), 1e-6);
}

TEST(GraphLabels, CopiesOfASharedNumberHaveNamesOfTheirOwn) {
  OnnxModel model = model_of({node("Conv", {"x", "w1"}, "a"), node("Reshape", {"a", "shape"}, "b"),
                              node("Reshape", {"b", "shape"}, "c"), node("Reshape", {"x", "shape/same"}, "d"),
                              node("Conv", {"c", "w2"}, "y")},
                             {weight("w1", {4, 2, 1, 1}), weight("w2", {3, 4, 1, 1}),
                              integers("shape", {1, 4, 4, 4}), integers("shape/same", {1, 2, 4, 4})});
  model.graph.nodes[1].name = model.graph.nodes[2].name = "same";
  EXPECT_LT(self_test(model, {1, 2}), 1e-6);
}

TEST(GraphLabels, AFamilyKeepsItsLastUnit) {
  const Graph graph(two_convolutions({node("Relu", {"a"}, "b")}));
  const GraphLabels labels = infer_labels(graph, kExample);
  const Error error = thrown_by([&] { erase_units(graph, labels, {0, 1, 2, 3}); });
  EXPECT_EQ(error.reason(), "NOTHING_LEFT");
  EXPECT_EQ(error.field(), "w1");
}

}  // namespace
}  // namespace wring
