// Which branches of a graph can be erased, on graphs small enough to be worked out by hand, and that the rest
// gives what it gave with them at zero.
#include "engine/graph/segments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/thrown_by.h"
#include "tests/engine/small_classifier.h"

namespace wring {
namespace {

using small_classifier::node;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

// x [1, 2, 4, 4] -> y; each of "w1" to "w4" is a convolution's of two channels, "g" and "s" are [1, 2, 1, 1].
OnnxModel model_of(std::vector<OnnxNode> nodes) {
  at::manual_seed(4);
  OnnxModel model;
  model.opsets = {{"", 17}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{1, ""}, {2, ""}, {4, ""}, {4, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = std::move(nodes);
  for (const char* name : {"w1", "w2", "w3", "w4"})
    model.graph.initializers.push_back(to_onnx(name, at::randn({2, 2, 1, 1})));
  for (const char* name : {"g", "s"})
    model.graph.initializers.push_back(to_onnx(name, at::randn({1, 2, 1, 1})));
  return model;
}

const NamedValues kExample{{"x", at::arange(32, at::kFloat).reshape({1, 2, 4, 4}) / 32}};

std::vector<GraphSegment> segments_of(const OnnxModel& model) {
  return find_segments(Graph(model), kExample);
}

at::Tensor run(const OnnxModel& model) {
  return Graph(model).run(kExample).at("y");
}

// Largest difference between the segments at zero and the segments erased.
double self_test(const OnnxModel& model, const std::vector<std::size_t>& erased) {
  Graph graph(model);
  const auto segments = find_segments(graph, kExample);
  const OnnxModel left = erase_segments(graph, segments, erased);
  zero_segments(graph, segments, erased);
  return (graph.run(kExample).at("y") - run(left)).abs().max().item<double>();
}

TEST(Segments, TheInsideOfAResidualBlockLeavesWithItsSum) {
  Graph graph(small_classifier::model());
  const NamedValues example{{"x", at::rand({2, 1, 8, 8})}};
  const auto segments = find_segments(graph, example);
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_THAT(segments[0].parameters, UnorderedElementsAre("b.w", "bn.g", "bn.b", "c.w", "cn.g", "cn.b"));
  EXPECT_EQ(segments[0].nodes.size(), 5u);
  const Graph left(erase_segments(graph, segments, {0}));
  std::vector<std::string> operations;
  for (const auto& each : left.nodes().nodes) operations.push_back(each.operation);
  EXPECT_THAT(operations, ElementsAre("Conv", "BatchNormalization", "Relu", "Relu", "GlobalAveragePool",
                                      "Flatten", "Gemm"));
  EXPECT_EQ(left.parameter_count(), 8u * 9 + 16 + 3 * 8 + 3);
  zero_segments(graph, segments, {0});
  EXPECT_TRUE(at::allclose(left.run(example).at("y"), graph.run(example).at("y"), 0, 1e-6));
}

TEST(Segments, WhatIsTakenOffLeavesItsNegative) {
  const OnnxModel model = model_of(
      {node("Conv", {"x", "w1"}, "a"), node("Conv", {"x", "w2"}, "b"), node("Sub", {"a", "b"}, "y")});
  const auto segments = segments_of(model);
  ASSERT_EQ(segments.size(), 2u);
  const Graph graph(model);
  const OnnxModel negated = erase_segments(graph, segments, {0});
  EXPECT_EQ(negated.graph.nodes.back().operation, "Neg");
  EXPECT_LT(self_test(model, {0}), 1e-6);
  EXPECT_LT(self_test(model, {1}), 1e-6);
  EXPECT_EQ(erase_segments(graph, segments, {1}).graph.nodes.back().operation, "Identity");  // the output
}

TEST(Segments, OneInsideAnotherLeavesWithIt) {
  const OnnxModel model =
      model_of({node("Conv", {"x", "w1"}, "a"), node("Conv", {"a", "w2"}, "b"), node("Add", {"a", "b"}, "c"),
                node("Conv", {"c", "w3"}, "d"), node("Add", {"x", "d"}, "e"), node("Relu", {"e"}, "y")});
  const auto segments = segments_of(model);
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_THAT(segments[0].parameters, ElementsAre("w2"));
  EXPECT_THAT(segments[1].parameters, UnorderedElementsAre("w1", "w2", "w3"));
  EXPECT_LT(self_test(model, {0}), 1e-6);
  EXPECT_LT(self_test(model, {1}), 1e-6);
  EXPECT_LT(self_test(model, {0, 1}), 1e-6);
  EXPECT_EQ(erase_segments(Graph(model), segments, {0, 1}).graph.nodes.size(), 1u);
}

TEST(Segments, ASumKeepsAnInput) {
  const OnnxModel model = model_of({node("Conv", {"x", "w1"}, "a"), node("Conv", {"x", "w2"}, "b"),
                                    node("Add", {"a", "b"}, "c"), node("Relu", {"c"}, "y")});
  const Graph graph(model);
  const auto segments = segments_of(model);
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_TRUE(can_erase(graph, segments, {1}));
  EXPECT_FALSE(can_erase(graph, segments, {0, 1}));
  EXPECT_EQ(thrown_by([&] { (void)erase_segments(graph, segments, {0, 1}); }).reason(), "NOTHING_LEFT");
}

TEST(Segments, AnOutputThatDependsOnNoInputIsNoNetwork) {
  // By hand, since what depends on no input is no joint's other operand for find_segments().
  const OnnxModel model =
      model_of({node("Conv", {"x", "w1"}, "a"), node("Mul", {"g", "s"}, "b"), node("Add", {"a", "b"}, "y")});
  const Graph graph(model);
  EXPECT_TRUE(segments_of(model).empty());
  EXPECT_FALSE(can_erase(graph, {{2, 0, {0}, {"w1"}}}, {0}));
  EXPECT_TRUE(can_erase(graph, {{2, 1, {1}, {"g", "s"}}}, {0}));
}

std::size_t count_behind(std::vector<OnnxNode> branch) {
  branch.push_back(node("Add", {"x", "b"}, "c"));
  branch.push_back(node("Relu", {"c"}, "y"));
  return segments_of(model_of(std::move(branch))).size();
}

TEST(Segments, ABranchIsErasedOnlyWhereItsParametersAtZeroMakeItZero) {
  EXPECT_EQ(count_behind({node("Conv", {"x", "w1"}, "a"), node("Tanh", {"a"}, "b")}), 1u);
  EXPECT_EQ(count_behind({node("Conv", {"x", "w1"}, "a"), node("Sigmoid", {"a"}, "b")}), 0u);
  EXPECT_EQ(count_behind(
                {node("Conv", {"x", "w1"}, "a"), node("Sigmoid", {"x"}, "d"), node("Mul", {"a", "d"}, "b")}),
            1u);
  EXPECT_EQ(count_behind({node("Conv", {"x", "w1"}, "a"), node("Add", {"a", "g"}, "b")}), 1u);
  EXPECT_EQ(count_behind({node("Conv", {"x", "w1"}, "a"), node("Div", {"a", "g"}, "b")}), 0u);
  EXPECT_EQ(count_behind({node("Conv", {"x", "w1"}, "a"), node("Cos", {"a"}, "b")}), 0u);
}

TEST(Segments, WhatAnotherReadsTooStays) {
  // a is read outside the branch, so that only b's convolution leaves; w2 is read by two.
  const auto segments = segments_of(
      model_of({node("Conv", {"x", "w1"}, "a"), node("Conv", {"a", "w2"}, "b"), node("Add", {"a", "b"}, "c"),
                node("Conv", {"c", "w3"}, "d"), node("Mul", {"d", "a"}, "e"), node("Relu", {"e"}, "y")}));
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_THAT(segments[0].parameters, ElementsAre("w2"));
  EXPECT_EQ(segments_of(model_of({node("Conv", {"x", "w1"}, "a"), node("Conv", {"a", "w1"}, "b"),
                                  node("Add", {"a", "b"}, "y")}))
                .size(),
            0u);
  EXPECT_EQ(segments_of(model_of({node("Conv", {"x", "w1"}, "a"), node("Add", {"a", "a"}, "y")})).size(), 0u);
}

TEST(Segments, ASumWhoseRestWouldHaveAnotherShapeStays) {
  const auto segments =
      segments_of(model_of({node("Conv", {"x", "w1"}, "a"), node("GlobalAveragePool", {"x"}, "p"),
                            node("Conv", {"p", "w2"}, "b"), node("Add", {"a", "b"}, "y")}));
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_THAT(segments[0].parameters, ElementsAre("w2"));
}

}  // namespace
}  // namespace wring
