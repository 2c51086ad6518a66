// Graphs as int8: where codes lie, what they are by hand, and that gradients pass as PyTorch's fake
// quantisation lets them.
#include <ATen/ops/fake_quantize_per_channel_affine.h>
#include <ATen/ops/fake_quantize_per_tensor_affine.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/graph/classifier.h"
#include "engine/graph/fold.h"
#include "engine/graph/rounding.h"
#include "engine/methods/graph/value_ranges.h"
#include "engine/methods/graph_method.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "recipe/recipe.h"
#include "tests/common/thrown_by.h"
#include "tests/engine/small_classifier.h"

namespace wring {
namespace {

using small_classifier::node;
using testing::Pair;
using testing::UnorderedElementsAre;

// With norms that do something.
OnnxModel classifier_model() {
  OnnxModel model = small_classifier::model();
  at::manual_seed(8);
  for (auto& tensor : model.graph.initializers)
    if (tensor.name.size() == 4 && tensor.name[1] == 'n') {  // an.g, bn.m, ...
      const at::Tensor noise = at::rand(tensor.shape) + 0.5;
      tensor = to_onnx(tensor.name, tensor.name.ends_with("v") ? noise : to_tensor(tensor, "") + noise * 0.3);
    }
  return model;
}

at::Tensor value(const OnnxModel& model, const std::string& name) {
  for (const auto& tensor : model.graph.initializers)
    if (tensor.name == name) return to_tensor(tensor, name);
  ADD_FAILURE() << name << " is not there";
  return {};
}

struct Made {
  OnnxModel model;
  Json report = Json::object();
};

Made run(const std::string& line, const OnnxModel& model, std::int64_t examples = 96,
         std::function<NamedValues()> arrays = {}) {
  const StageSpec stage = parse_recipe(line).stages.at(0);
  const auto method = make_graph_method(stage.method, Params(stage.params, "stages[0].params"));
  Graph graph(model);
  method->check(graph);
  NoProgress quiet;
  Snapshot none;
  const auto data = [&](const Normalisation&) { return small_classifier::batches(examples); };
  Made made;
  made.model = method->run({graph, data, quiet, none, 5, std::move(arrays), GraphTargets(stage, "stages[0]")},
                           made.report);
  return made;
}

OnnxModel rounding_model(const at::Tensor& scale, const at::Tensor& zero_point, std::int64_t axis) {
  OnnxModel model;
  model.opsets = {{"", 17}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{{}, "n"}, {3, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}, {"codes", std::nullopt, std::nullopt}};
  model.graph.nodes = {node("QuantizeLinear", {"x", "s", "z"}, "codes", {{"axis", axis}}),
                       node("DequantizeLinear", {"codes", "s", "z"}, "y", {{"axis", axis}})};
  model.graph.initializers = {to_onnx("s", scale), to_onnx("z", zero_point)};
  return model;
}

// Runs the model on values of which some lie beyond the codes; the outputs, and the gradient of x.
std::pair<NamedValues, at::Tensor> with_gradient(const OnnxModel& model, const at::Tensor& values) {
  const at::Tensor x = values.clone().set_requires_grad(true);
  const NamedValues outputs = Graph(model).run({{"x", x}});
  (outputs.at("y") * values).sum().backward();
  return {outputs, x.grad()};
}

TEST(QuantizeLinear, PassesGradientsAsPyTorchsFakeQuantisation) {
  at::manual_seed(4);
  const at::Tensor values = at::randn({40, 3}) * 2;
  const auto [outputs, gradient] =
      with_gradient(rounding_model(at::scalar_tensor(0.01F), at::scalar_tensor(100, at::kByte), 1), values);
  at::Tensor x = values.clone().set_requires_grad(true);
  const at::Tensor expected = at::fake_quantize_per_tensor_affine(x, 0.01, 100, 0, 255);
  (expected * values).sum().backward();
  EXPECT_TRUE(at::allclose(outputs.at("y"), expected, 0, 1e-6));
  EXPECT_TRUE(at::allclose(gradient, x.grad(), 0, 1e-6));
  EXPECT_GT((gradient == 0).sum().item<int>(), 10);
}

TEST(QuantizeLinear, PassesGradientsOfAScaleAChannelToo) {
  at::manual_seed(5);
  const at::Tensor values = at::randn({40, 3}) * 2;
  const at::Tensor scale = at::tensor({0.01F, 0.002F, 0.1F});
  const auto [outputs, gradient] = with_gradient(rounding_model(scale, at::zeros({3}, at::kChar), 1), values);
  at::Tensor x = values.clone().set_requires_grad(true);
  const at::Tensor expected =
      at::fake_quantize_per_channel_affine(x, scale, at::zeros({3}, at::kInt), 1, -128, 127);
  (expected * values).sum().backward();
  EXPECT_TRUE(at::allclose(outputs.at("y"), expected, 0, 1e-6));
  EXPECT_TRUE(at::allclose(gradient, x.grad(), 0, 1e-6));
}

TEST(QuantizeLinear, GivesIntegersWhereNoGradientIsWanted) {
  const OnnxModel model = rounding_model(at::scalar_tensor(0.5F), at::scalar_tensor(3, at::kByte), 1);
  const NamedValues outputs = Graph(model).run({{"x", at::tensor({-9.F, 0.8F, 200.F}).unsqueeze(0)}});
  EXPECT_TRUE(at::equal(outputs.at("codes"), at::tensor({0, 5, 255}, at::kByte).unsqueeze(0)));
}

TEST(FoldBatchNorms, LeavesNoneAndTheSameOutputs) {
  OnnxModel model = classifier_model();
  const NamedValues inputs{{"x", at::randn({4, 1, 8, 8})}};
  const at::Tensor before = Graph(model).run(inputs).at("y");
  fold_batch_norms(model.graph);
  for (const auto& each : model.graph.nodes) EXPECT_NE(each.operation, "BatchNormalization");
  for (const auto& tensor : model.graph.initializers)
    EXPECT_FALSE(tensor.name.ends_with(".v")) << tensor.name;
  EXPECT_TRUE(at::allclose(Graph(model).run(inputs).at("y"), before, 1e-5, 1e-5));
}

TEST(FoldBatchNorms, LeavesANormWhoseInputOthersRead) {
  OnnxModel model = classifier_model();
  model.graph.nodes.push_back(node("Add", {"cn", "c"}, "more"));
  model.graph.outputs.push_back({"more", OnnxType::kFloat, std::nullopt});
  const NamedValues inputs{{"x", at::randn({4, 1, 8, 8})}};
  const at::Tensor before = Graph(model).run(inputs).at("more");
  fold_batch_norms(model.graph);
  EXPECT_TRUE(at::allclose(Graph(model).run(inputs).at("more"), before, 1e-5, 1e-5));
}

TEST(FoldMovedInitializers, MakesAWeightOfATransposedOne) {
  OnnxModel model;
  model.opsets = {{"", 17}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{2, ""}, {3, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = {node("Transpose", {"w"}, "t"), node("MatMul", {"x", "t"}, "y")};
  const at::Tensor w = at::arange(12, at::kFloat).reshape({4, 3});
  model.graph.initializers = {to_onnx("w", w)};
  fold_moved_initializers(model);
  ASSERT_EQ(model.graph.nodes.size(), 1u);
  EXPECT_TRUE(at::equal(value(model, "t"), w.t()));
  EXPECT_EQ(model.graph.initializers.size(), 1u);
}

TEST(PlanRounding, TakesWhatOperatorsOnCodesReadAndMake) {
  OnnxModel model = classifier_model();
  fold_batch_norms(model.graph);
  const RoundingPlan plan = plan_rounding(model.graph);
  EXPECT_THAT(plan.values,
              UnorderedElementsAre(Pair("x", "x"), Pair("ar", "ar"), Pair("br", "br"), Pair("cn", "cn"),
                                   Pair("dr", "dr"), Pair("p", "p"), Pair("f", "p")));
  EXPECT_THAT(plan.made, UnorderedElementsAre("ar", "br", "cn", "dr", "p", "f"));
  EXPECT_EQ(plan.weights.size(), 4u);
}

TEST(PlanRounding, LeavesInFloatsWhatIsNotTaken) {
  OnnxModel model = classifier_model();
  fold_batch_norms(model.graph);
  const RoundingPlan plan = plan_rounding(
      model.graph, [](const OnnxNode& each) { return each.name != "the_a" && each.name != "the_y"; });
  EXPECT_THAT(plan.values, UnorderedElementsAre(Pair("ar", "ar"), Pair("br", "br"), Pair("cn", "cn")));
  EXPECT_EQ(plan.weights.size(), 2u);
}

TEST(Ptq, KeepsTheFirstAndTheLastLayerInFloatsWhereTheyAreIgnored) {
  const OnnxModel model = classifier_model();
  const Made made = run("ptq(examples=32, ignore=[a.w, h.w])", model);
  std::vector<std::string> rounded;
  for (const auto& line : made.report.at("layers")) rounded.push_back(line.at("layer"));
  EXPECT_THAT(rounded, UnorderedElementsAre("b.w", "c.w"));
  EXPECT_EQ(value(made.model, "h.w").scalar_type(), at::kFloat);
  EXPECT_EQ(value(made.model, "a.w").scalar_type(), at::kFloat);
  EXPECT_EQ(thrown_by([&] { (void)run("ptq(examples=32, targets=[LSTM])", model); }).reason(), "NO_TARGETS");
}

TEST(PlanRounding, LeavesASumThatOnlyFloatsRead) {
  OnnxModel model;
  model.opsets = {{"", 17}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{2, ""}, {3, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = {node("MatMul", {"x", "w"}, "m"), node("Add", {"m", "x"}, "a"),
                       node("Softmax", {"a"}, "y")};
  model.graph.initializers = {to_onnx("w", at::ones({3, 3}))};
  const RoundingPlan plan = plan_rounding(model.graph);
  EXPECT_THAT(plan.values, UnorderedElementsAre(Pair("x", "x")));
  EXPECT_TRUE(plan.made.empty());
}

TEST(PercentileRange, LeavesOutHalfOfTheRestAtEachEnd) {
  const ValueRange range = percentile_range({{0, 32}, at::ones({16}, at::kDouble)}, 87.5);
  EXPECT_EQ(range.low, 2);
  EXPECT_EQ(range.high, 30);
}

TEST(EntropyRange, KeepsWhatIsEvenAndClipsAFewFarValues) {
  const ValueRange even = entropy_range({{-1, 1}, at::ones({2048}, at::kDouble)});
  EXPECT_EQ(even.low, -1);
  EXPECT_EQ(even.high, 1);
  const at::Tensor x = (at::arange(2048, at::kDouble) + 0.5) / 64 - 16;
  at::Tensor counts = (at::exp(-x * x / 2) * 1e6).floor();
  counts[0] = 1;
  counts[2047] = 1;
  const ValueRange range = entropy_range({{-16, 16}, counts});
  EXPECT_GT(range.high, 3);
  EXPECT_LT(range.high, 8);
  EXPECT_EQ(range.low, -range.high);
}

TEST(EntropyRange, ZerosBehindAReluDoNotNarrowIt) {
  const at::Tensor x = (at::arange(2048, at::kDouble) + 0.5) / 2048 * 5;
  at::Tensor counts = (at::exp(-x * x / 2) * 1e6).floor();
  const ValueRange plain = entropy_range({{0, 5}, counts});
  counts[0] = 1e9;
  const ValueRange range = entropy_range({{0, 5}, counts});
  EXPECT_NEAR(range.high, plain.high, 0.1);
  EXPECT_GT(range.high, 2.5);
}

TEST(Ptq, StoresWeightsAndBiasesAsTheirScalesSay) {
  const OnnxModel model = classifier_model();
  const Made made = run("ptq", model);
  // Of the last convolution, with its norm in it.
  const at::Tensor factor = value(model, "cn.g") / (value(model, "cn.v") + 1e-5).sqrt();
  const at::Tensor weight = value(model, "c.w") * factor.view({-1, 1, 1, 1});
  const at::Tensor bias = value(model, "cn.b") - value(model, "cn.m") * factor;
  const at::Tensor scale = weight.flatten(1).abs().amax(1) / 127;
  EXPECT_TRUE(at::allclose(value(made.model, "c.w/scale"), scale, 1e-5));
  const at::Tensor codes = value(made.model, "c.w/codes");
  EXPECT_EQ(codes.scalar_type(), at::kChar);
  EXPECT_LE((codes.to(at::kFloat) - weight / scale.view({-1, 1, 1, 1})).abs().max().item<double>(), 0.501);
  const at::Tensor step = scale * value(made.model, "br/scale");
  const at::Tensor sums = value(made.model, "c.w/bias/codes");
  EXPECT_EQ(sums.scalar_type(), at::kInt);
  EXPECT_LE((sums.to(at::kDouble) - bias.to(at::kDouble) / step).abs().max().item<double>(), 1);
  EXPECT_LT(made.report.at("relative_error").get<double>(), 0.03);
  EXPECT_GT(made.report.at("relative_error").get<double>(), 0);
  EXPECT_EQ(Graph(made.model).parameter_count(), 72u + 864 + 864 + 24 + 8 + 12 + 8 + 3);
}

TEST(Ptq, CodesOfValuesReachFromTheLeastToTheGreatestSeen) {
  const OnnxModel model = classifier_model();
  const Batches all = small_classifier::batches(96);
  const at::Tensor x = all.inputs(at::arange(96, at::kLong));
  const double least = x.min().item<double>(), greatest = x.max().item<double>();
  const Made made = run("ptq(examples=96)", model), other = run("ptq(examples=96, activations=int8)", model);
  EXPECT_NEAR(value(made.model, "x/scale").item<double>(), (greatest - least) / 255, 1e-7);
  const double zero = std::round(-least / ((greatest - least) / 255));
  EXPECT_EQ(value(made.model, "x/zero_point").item<double>(), zero);
  EXPECT_EQ(value(other.model, "x/zero_point").item<double>(), zero - 128);
  EXPECT_EQ(value(made.model, "ar/zero_point").item<double>(), 0);  // behind a Relu
  EXPECT_EQ(value(other.model, "ar/zero_point").item<double>(), -128);
}

TEST(Ptq, ABiasThatDoesNotFitRaisesItsChannelsScale) {
  OnnxModel model = classifier_model();
  for (auto& tensor : model.graph.initializers) {
    if (tensor.name != "cn.g") continue;
    at::Tensor gain = to_tensor(tensor, "").clone();
    gain[2] = 1e-12;  // next to no weights, but a shift
    tensor = to_onnx(tensor.name, gain);
  }
  const Made made = run("ptq", model);
  const double step =
      value(made.model, "br/scale").item<double>() * value(made.model, "c.w/scale")[2].item<double>();
  const double bias = value(model, "cn.b")[2].item<double>() - value(model, "cn.m")[2].item<double>() * 1e-12;
  EXPECT_NEAR(value(made.model, "c.w/bias/codes")[2].item<double>() * step, bias, std::abs(bias) * 1e-5);
  EXPECT_LT(made.report.at("relative_error").get<double>(), 0.03);
}

TEST(Ptq, TakesAnArrayForEachInput) {
  OnnxModel model;
  model.opsets = {{"", 17}};
  for (const char* name : {"a", "b"})
    model.graph.inputs.push_back({name, OnnxType::kFloat, {{{{}, "n"}, {4, ""}}}});
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = {node("Sub", {"a", "b"}, "d"), node("MatMul", {"d", "w"}, "y")};
  model.graph.initializers = {to_onnx("w", at::randn({4, 5}))};
  const NamedValues arrays{{"a", at::ones({50, 4})},
                           {"b", at::arange(200, at::kFloat).reshape({50, 4}) / 100}};
  const Made made = run("ptq(examples=50)", model, 1, [&] { return arrays; });
  EXPECT_NEAR(value(made.model, "d/scale").item<double>(), 1.99 / 255, 1e-7);  // from 1 to -0.99
  EXPECT_EQ(value(made.model, "w/scale").numel(), 5);
}

TEST(Ptq, FewerBitsMakeALargerError) {
  const OnnxModel model = classifier_model();
  double last = 0;
  for (const int bits : {8, 6, 4, 2}) {
    const Made made = run("ptq(weight_bits=" + std::to_string(bits) + ")", model);
    const double error = made.report.at("relative_error").get<double>();
    EXPECT_GT(error, last) << bits;
    last = error;
    EXPECT_LE(value(made.model, "b.w/codes").abs().max().item<int>(), (1 << (bits - 1)) - 1);
  }
}

TEST(Ptq, OldOpsetsAndWhatIsQuantisedAlreadyAreRefused) {
  OnnxModel old = classifier_model();
  old.opsets[""] = 12;
  EXPECT_EQ(thrown_by([&] { (void)run("ptq", old); }).reason(), "OLD_OPSET");
  const OnnxModel done = run("ptq", classifier_model()).model;
  EXPECT_EQ(thrown_by([&] { (void)run("ptq", done); }).reason(), "NOTHING_TO_QUANTIZE");
  EXPECT_EQ(thrown_by([&] { (void)run("train-classifier(steps=1)", done); }).reason(), "NOTHING_TO_TRAIN");
}

double accuracy(const OnnxModel& model) {
  const Graph graph(model);
  return Classifier(graph).score(small_classifier::batches(240), at::arange(240, at::kLong)).accuracy();
}

TEST(Qat, WinsBackWhatTwoBitsCost) {
  const OnnxModel trained =
      run("train-classifier(steps=120, batch=16, learning_rate=0.05)", small_classifier::model(), 240).model;
  const double dense = accuracy(trained);
  const double rounded = accuracy(run("ptq(weight_bits=2)", trained, 240).model);
  const Made made = run("qat(weight_bits=2, steps=120, batch=16, learning_rate=0.02)", trained, 240);
  EXPECT_GT(dense, 0.9);
  EXPECT_LT(rounded, dense - 0.05);
  EXPECT_GT(accuracy(made.model), (dense + rounded) / 2);
  // What is stored computes what was trained.
  EXPECT_NEAR(made.report.at("training").at("held_out_accuracy_after").get<double>(), accuracy(made.model),
              0.2);
  const at::Tensor codes = value(made.model, "b.w/codes");
  EXPECT_EQ(codes.scalar_type(), at::kChar);
  EXPECT_EQ(codes.abs().max().item<int>(), 1);
}

}  // namespace
}  // namespace wring
