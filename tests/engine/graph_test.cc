// Graphs: what cannot run is refused by the name of its node, values are worked out by hand, and parameters
// are those that training moves.
#include "engine/graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/files.h"
#include "common/random.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/graph/small_nodes.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

OnnxNode node(const std::string& operation, std::vector<std::string> inputs, std::vector<std::string> outputs,
              std::vector<OnnxAttribute> attributes = {}) {
  return {"the_" + outputs.front(), operation,          "",
          std::move(inputs),        std::move(outputs), std::move(attributes)};
}

// x [2, 3] float -> y.
OnnxModel model_of(std::vector<OnnxNode> nodes, std::vector<OnnxTensor> initializers = {},
                   std::int64_t opset = 17) {
  OnnxModel model;
  model.opsets = {{"", opset}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{2, ""}, {3, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = std::move(nodes);
  model.graph.initializers = std::move(initializers);
  return model;
}

OnnxTensor tensor(const std::string& name, std::vector<float> values, std::vector<std::int64_t> shape) {
  return to_onnx(name, at::tensor(values).reshape(shape));
}

const at::Tensor kX = at::arange(6, at::kFloat).reshape({2, 3});

std::vector<float> run(OnnxModel model) {
  const Graph graph(std::move(model));
  const at::Tensor y = graph.run({{"x", kX}}).at("y").contiguous();
  return {y.const_data_ptr<float>(), y.const_data_ptr<float>() + y.numel()};
}

TEST(Graph, NodesRunInAnOrderInWhichTheyCanWhateverTheFilesOrder) {
  EXPECT_THAT(run(model_of({node("Add", {"a", "x"}, {"y"}), node("Neg", {"b"}, {"a"}),
                            node("Add", {"x", "x"}, {"b"})})),
              ElementsAre(0, -1, -2, -3, -4, -5));
}

TEST(Graph, ACycleIsRefusedByTheNodesOnIt) {
  const Error error = thrown_by([] {
    const Graph graph(
        model_of({node("Add", {"x", "b"}, {"a"}), node("Neg", {"a"}, {"b"}), node("Relu", {"b"}, {"y"})}));
  });
  EXPECT_EQ(error.reason(), "BAD_GRAPH");
  EXPECT_THAT(error.message(), HasSubstr("the_a -> the_b -> the_a"));
}

TEST(Graph, AValueThatNobodyMakesOrTwoMakeIsRefused) {
  const auto error_for = [](std::vector<OnnxNode> nodes) {
    return thrown_by([&] { const Graph graph(model_of(nodes)); });
  };
  EXPECT_EQ(error_for({node("Relu", {"nothing"}, {"y"})}).field(), "the_y");
  EXPECT_THAT(error_for({node("Relu", {"nothing"}, {"y"})}).message(), HasSubstr("reads nothing"));
  EXPECT_THAT(error_for({node("Relu", {"x"}, {"y"}), node("Neg", {"x"}, {"y"})}).message(),
              HasSubstr("makes y"));
  EXPECT_THAT(error_for({node("Relu", {"x"}, {"z"})}).message(), HasSubstr("nobody makes"));
}

TEST(Graph, AnOperatorOrDomainThatIsNotSupportedIsNamedWithThoseThatAre) {
  OnnxNode other = node("Relu", {"x"}, {"y"});
  other.domain = "com.example";
  const Error error = thrown_by([&] { const Graph graph(model_of({other})); });
  EXPECT_EQ(error.reason(), "UNSUPPORTED_OPERATOR");
  EXPECT_THAT(error.message(), HasSubstr("com.example"));
  EXPECT_THAT(error.hint(), HasSubstr("Relu"));
  EXPECT_EQ(thrown_by([&] { const Graph graph(model_of({node("Frobnicate", {"x"}, {"y"})})); }).field(),
            "the_y");
}

TEST(Graph, AnInputOfAnotherShapeOrTypeOrNoneIsNamed) {
  const Graph graph(model_of({node("Relu", {"x"}, {"y"})}));
  EXPECT_EQ(thrown_by([&] { graph.run({}); }).reason(), "MISSING_INPUT");
  EXPECT_EQ(thrown_by([&] { graph.run({{"x", at::zeros({2, 4})}}); }).reason(), "SHAPE_MISMATCH");
  EXPECT_EQ(thrown_by([&] { graph.run({{"x", at::zeros({2, 3}, at::kLong)}}); }).reason(), "DTYPE_MISMATCH");
}

TEST(Graph, ANodeThatCannotComputeIsNamedWithItsShapes) {
  const Graph graph(model_of({node("MatMul", {"x", "x"}, {"y"})}));
  const Error error = thrown_by([&] { graph.run({{"x", kX}}); });
  EXPECT_EQ(error.field(), "the_y");
  EXPECT_THAT(error.message(), HasSubstr("Float[2, 3]"));
  const Graph missing(model_of({node("Add", {"x", ""}, {"y"})}));
  EXPECT_EQ(thrown_by([&] { missing.run({{"x", kX}}); }).reason(), "MISSING_INPUT");
}

TEST(Graph, NanInAnInitializerIsRefusedByItsName) {
  const auto bad = tensor("w", {1, std::nanf(""), 1}, {3});
  EXPECT_EQ(thrown_by([&] {
              const Graph graph(model_of({node("Add", {"x", "w"}, {"y"})}, {bad}));
            }).field(),
            "w");
  auto branch = std::make_shared<OnnxGraph>();
  branch->initializers = {bad};
  branch->nodes = {node("Add", {"x", "w"}, {"z"})};
  branch->outputs = {{"z", std::nullopt, std::nullopt}};
  const OnnxNode choice = node(
      "If", {"c"}, {"y"}, {{"then_branch", branch}, {"else_branch", std::make_shared<OnnxGraph>(*branch)}});
  EXPECT_EQ(thrown_by([&] {
              const Graph graph(model_of({choice}, {to_onnx("c", at::scalar_tensor(true))}));
            }).field(),
            "w");
}

// x [2, 3] through a norm of 3 channels as exporters write one that is being trained.
OnnxModel norm_in_training(std::int64_t opset, std::size_t outputs) {
  OnnxNode norm = node("BatchNormalization", {"x", "g", "b", "m", "v"}, {"z"}, {{"epsilon", 0.0F}});
  for (std::size_t i = 1; i < outputs; ++i) norm.outputs.push_back("moved" + std::to_string(i));
  if (opset >= 14) norm.attributes.push_back({"training_mode", std::int64_t{1}});
  return model_of({norm, node("Dropout", {"z", "ratio", "trains"}, {"y"})},
                  {tensor("g", {1, 1, 1}, {3}), tensor("b", {0, 0, 0}, {3}), tensor("m", {1, 1, 1}, {3}),
                   tensor("v", {4, 4, 4}, {3}), to_onnx("ratio", at::scalar_tensor(0.5F)),
                   to_onnx("trains", at::scalar_tensor(true))},
                  opset);
}

TEST(Graph, WhatWasExportedInTrainingIsRunAndWrittenAsItIsToBeServed) {
  for (const auto& [opset, outputs] : {std::pair{17, 3}, {14, 1}, {13, 5}}) {
    const OnnxModel model = norm_in_training(opset, static_cast<std::size_t>(outputs));
    EXPECT_THAT(run(model), ElementsAre(-0.5, 0, 0.5, 1, 1.5, 2))
        << "by the running statistics, opset " << opset;
    const OnnxModel written = Graph(model).to_onnx();
    EXPECT_EQ(written.graph.nodes[0].outputs, std::vector<std::string>{"z"});
    const auto* mode = written.graph.nodes[0].find("training_mode");
    EXPECT_TRUE(!mode || std::get<std::int64_t>(mode->value) == 0);
    EXPECT_EQ(written.graph.nodes[1].inputs, (std::vector<std::string>{"z", "ratio"}));
  }
  OnnxModel read = norm_in_training(17, 3);
  read.graph.outputs.push_back({"moved1", OnnxType::kFloat, std::nullopt});
  const OnnxModel kept = Graph(read).to_onnx();
  EXPECT_EQ(kept.graph.nodes[0].outputs.size(), 3u) << "who reads what moves wants training";
  EXPECT_EQ(std::get<std::int64_t>(kept.graph.nodes[0].find("training_mode")->value), 1);
}

TEST(Graph, AnInitializerThatIsListedAsAnInputIsNone) {
  OnnxModel model = model_of({node("Add", {"x", "w"}, {"y"})}, {tensor("w", {1, 2, 3}, {3})}, 9);
  model.ir_version = 3;
  model.graph.inputs.push_back({"w", OnnxType::kFloat, {{{3, ""}}}});
  EXPECT_THAT(run(model), ElementsAre(1, 3, 5, 4, 6, 8));
  const OnnxModel written = Graph(model).to_onnx();
  EXPECT_EQ(written.graph.inputs.size(), 1u);
  EXPECT_EQ(written.ir_version, 4) << "from which they need not be";
}

TEST(Graph, TheBranchOfAnIfSeesTheScopeAroundIt) {
  const auto branch = [](const std::string& operation) {
    auto graph = std::make_shared<OnnxGraph>();
    graph->nodes = {node(operation, {"x", "w"}, {"z"})};
    graph->outputs = {{"z", std::nullopt, std::nullopt}};
    return graph;
  };
  const auto with = [&](bool condition) {
    return run(
        model_of({node("If", {"c"}, {"y"}, {{"then_branch", branch("Add")}, {"else_branch", branch("Sub")}})},
                 {tensor("w", {1, 1, 1}, {3}), to_onnx("c", at::scalar_tensor(condition, at::kBool))}));
  };
  EXPECT_THAT(with(true), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(with(false), ElementsAre(-1, 0, 1, 2, 3, 4));
}

TEST(Graph, LeavesTheBranchesOfTheModelThatItWasMadeOfAsTheyAre) {
  const auto branch = std::make_shared<OnnxGraph>();
  branch->nodes = {node("Constant", {}, {"k"}, {{"value_float", 2.0F}}), node("Add", {"x", "k"}, {"z"})};
  branch->outputs = {{"z", std::nullopt, std::nullopt}};
  const OnnxModel model =
      model_of({node("If", {"c"}, {"y"}, {{"then_branch", branch}, {"else_branch", branch}})},
               {to_onnx("c", at::scalar_tensor(true, at::kBool))});
  EXPECT_THAT(run(model), ElementsAre(2, 3, 4, 5, 6, 7));
  EXPECT_EQ(branch->nodes.size(), 2u);  // the constant was lifted in a copy
  EXPECT_THAT(run(model), ElementsAre(2, 3, 4, 5, 6, 7));
}

TEST(Graph, SoftmaxBeforeOpset13TakesAllAxesFromItsOwnAsOne) {
  const auto sums = [](std::int64_t opset) {
    const Graph graph(model_of({node("Softmax", {"x"}, {"y"}, {{"axis", std::int64_t{0}}})}, {}, opset));
    return graph.run({{"x", kX}}).at("y").sum().item<float>();
  };
  EXPECT_NEAR(sums(12), 1, 1e-5);
  EXPECT_NEAR(sums(13), 3, 1e-5);
}

TEST(Graph, ParametersAreWeightsAndGainsButNotStatisticsOrScalars) {
  const auto one = [](const char* name) { return tensor(name, {1, 1, 1}, {3}); };
  const Graph graph(model_of({node("BatchNormalization", {"x", "gain", "shift", "mean", "variance"}, {"a"}),
                              node("Mul", {"a", "half"}, {"b"}), node("Add", {"b", "table"}, {"c"}),
                              node("Gemm", {"c", "weight"}, {"y"}, {{"transB", std::int64_t{1}}})},
                             {one("gain"), one("shift"), one("mean"), one("variance"),
                              tensor("half", {0.5}, {}), one("table"), tensor("weight", {1, 2, 3}, {1, 3})}));
  std::vector<std::string> names;
  for (const auto& parameter : graph.parameters()) names.push_back(parameter.name);
  EXPECT_THAT(names, ElementsAre("gain", "shift", "table", "weight"));
  EXPECT_EQ(graph.parameter_count(), 12u);
}

TEST(Graph, TrainingMovesRunningStatisticsByTheShareThatMomentumLeaves) {
  const auto all = [](const char* name, float value) { return tensor(name, {value, value, value}, {3}); };
  const Graph graph(
      model_of({node("BatchNormalization", {"x", "g", "b", "m", "v"}, {"y"}, {{"momentum", 0.75f}})},
               {all("g", 1), all("b", 0), all("m", 0), all("v", 1)}));
  graph.run({{"x", kX}}, GraphMode::kTraining);
  const at::Tensor mean = graph.constants().at("m");  // batch means 1.5, 2.5, 3.5
  EXPECT_NEAR(mean[0].item<float>(), 0.25 * 1.5, 1e-6);
  EXPECT_NEAR(mean[2].item<float>(), 0.25 * 3.5, 1e-6);
}

// Exporters merge initializers that are equal: "one" is a gain and two variances, "zero" a shift and two
// means.
TEST(Graph, TrainingMovesTheStatisticsOfEachNormAndNothingThatLookedLikeThem) {
  const auto all = [](const char* name, float value) { return tensor(name, {value, value, value}, {3}); };
  const Graph graph(model_of({node("Identity", {"zero"}, {"same"}),
                              node("BatchNormalization", {"x", "one", "zero", "same", "one"}, {"a"}),
                              node("Mul", {"a", "two"}, {"b"}),
                              node("BatchNormalization", {"b", "one", "zero", "zero", "one"}, {"y"})},
                             {all("one", 1), all("zero", 0), all("two", 2)}));
  graph.run({{"x", kX}}, GraphMode::kTraining);
  for (const auto& parameter : graph.parameters()) {
    const float before = parameter.name == "one" ? 1 : parameter.name == "two" ? 2 : 0;
    EXPECT_TRUE(at::equal(parameter.value, at::full({3}, before))) << parameter.name;
  }
  const auto& nodes = graph.nodes().nodes;
  const at::Tensor first = graph.constants().at(nodes.at(1).inputs.at(3)),
                   second = graph.constants().at(nodes.at(3).inputs.at(3));
  EXPECT_NEAR(first[0].item<float>(), 0.1 * 1.5, 1e-6);  // of the batch 0, 3
  EXPECT_NEAR(second[0].item<float>(), 0, 1e-6);         // of the first norm's output
}

// One node without the graph's input.
at::Tensor constant(OnnxNode only, std::vector<OnnxTensor> initializers) {
  return Graph(model_of({std::move(only)}, std::move(initializers), 21)).run({{"x", kX}}).at("y");
}

TEST(Graph, IntegersStayExactInClipAndRange) {
  const std::int64_t large = (std::int64_t{1} << 60) + 1;
  const auto number = [](const char* name, std::int64_t value) {
    return to_onnx(name, at::scalar_tensor(value, at::kLong));
  };
  const OnnxTensor many = to_onnx("many", at::full({300}, large + 9, at::kLong));  // more than is folded
  const at::Tensor clipped =
      constant(node("Clip", {"many", "", "high"}, {"y"}), {many, number("high", large)});
  EXPECT_EQ(to_integers(clipped).front(), large);
  const at::Tensor range = constant(node("Range", {"from", "to", "step"}, {"y"}),
                                    {number("from", large), number("to", large + 2), number("step", 1)});
  EXPECT_THAT(to_integers(range), ElementsAre(large, large + 1));
}

// None of them is computed when the graph is read.
TEST(Graph, AFileOfFewBytesCannotAskForAnyMemory) {
  const auto numbers = [](const char* name, std::vector<std::int64_t> values) {
    return to_onnx(name, at::tensor(values, at::kLong));
  };
  const std::int64_t many = std::int64_t{1} << 45;
  const auto number = [](const char* name, std::int64_t value) {
    return to_onnx(name, at::scalar_tensor(value, at::kLong));
  };
  const OnnxTensor one = numbers("one", {1}), size = numbers("size", {many});
  const std::vector<std::pair<OnnxNode, std::vector<OnnxTensor>>> nodes{
      {node("ConstantOfShape", {"size"}, {"y"}, {{"value", numbers("", {1})}}), {size}},
      {node("Tile", {"one", "size"}, {"y"}), {one, size}},
      {node("Pad", {"one", "pads"}, {"y"}, {{"mode", std::string("edge")}}),
       {one, numbers("pads", {0, many})}},
      {node("OneHot", {"one", "size", "pair"}, {"y"}), {one, size, numbers("pair", {0, 1})}},
      {node("Range", {"from", "to", "step"}, {"y"}),
       {number("from", 0), number("to", many), number("step", 1)}}};
  for (const auto& [one_node, initializers] : nodes) {
    const Graph graph(model_of({one_node}, initializers, 21));
    EXPECT_EQ(graph.nodes().nodes.size(), 1u) << one_node.operation;
    Tensors inputs;
    for (const auto& initializer : initializers) inputs.push_back(to_tensor(initializer, initializer.name));
    EXPECT_FALSE(takes_little(one_node, inputs)) << one_node.operation;
  }
}

// Sizes, pads and repeats that are folded when the file is read, with any byte of them changed.
TEST(Graph, ADamagedFileIsReadOrRefused) {
  const auto numbers = [](const char* name, std::vector<std::int64_t> values) {
    return to_onnx(name, at::tensor(values, at::kLong));
  };
  const OnnxModel model = model_of(
      {node("Expand", {"two", "three"}, {"a"}), node("Tile", {"a", "two"}, {"b"}),
       node("Pad", {"b", "pads"}, {"c"}), node("ConstantOfShape", {"c"}, {"d"}),
       node("OneHot", {"two", "three", "pair"}, {"e"}), node("Sum", {"a", "b", "c"}, {"f"}),
       node("Reshape", {"x", "shape"}, {"g"}, {{"allowzero", std::int64_t{0}}}), node("Relu", {"g"}, {"y"})},
      {numbers("two", {2}), numbers("three", {3}), numbers("pads", {1, 1}), numbers("pair", {0, 1}),
       numbers("shape", {3, 2})});
  const TempDir folder;
  const auto file = folder.path() / "net.onnx";
  write_onnx(file, model, kOnnxInlineBytes, Durability::kProcess);
  const std::string whole = read_file(file);
  Random random(5);
  std::size_t read = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = whole;
    for (std::size_t k = 0; k <= random.below(3); ++k)
      damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
    write_file_atomic(file, damaged, Durability::kProcess);
    try {
      const Graph graph(read_onnx(file));
      ++read;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(read, 0u);
  EXPECT_LT(read, 2000u);
}

TEST(Graph, ARangeAgainstItsStepIsEmpty) {
  const auto number = [](const char* name, float value) { return tensor(name, {value}, {}); };
  EXPECT_EQ(constant(node("Range", {"from", "to", "step"}, {"y"}),
                     {number("from", 3), number("to", 1), number("step", 0.5)})
                .numel(),
            0);
}

TEST(Graph, WithoutATypeOfItsOwnAnOperatorKeepsTheTypeThatOnnxSays) {
  const OnnxTensor matrix = to_onnx("m", at::full({2, 2}, 7, at::kInt)),
                   scalar = to_onnx("m", at::scalar_tensor(7, at::kInt));
  EXPECT_EQ(constant(node("EyeLike", {"m"}, {"y"}), {matrix}).scalar_type(), at::kInt);
  EXPECT_EQ(constant(node("ReduceSum", {"m"}, {"y"}), {scalar}).scalar_type(), at::kInt);
  const at::Tensor codes =
      constant(node("QuantizeLinear", {"m", "s"}, {"y"}, {{"output_dtype", std::int64_t{0}}}),
               {matrix, tensor("s", {0.5}, {})});
  EXPECT_EQ(codes.scalar_type(), at::kByte);
  EXPECT_THAT(to_integers(codes), ElementsAre(14, 14, 14, 14));
}

TEST(Graph, ConstantNodesBecomeInitializersThatAreWritten) {
  const Graph graph(model_of({node("Constant", {}, {"w"}, {{"value", tensor("", {1, 2, 3}, {3})}}),
                              node("Add", {"x", "w"}, {"y"})}));
  const OnnxModel written = graph.to_onnx();
  ASSERT_EQ(written.graph.initializers.size(), 1u);
  EXPECT_EQ(written.graph.initializers[0].data.data.size(), 12u);
  EXPECT_THAT(run(written), ElementsAre(1, 3, 5, 4, 6, 8));
}

}  // namespace
}  // namespace wring
