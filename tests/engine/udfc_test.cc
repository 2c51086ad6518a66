// UDFC: coefficients by their normal equations, and nets that lose nothing because a channel was a sum of
// others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/methods/graph_method.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "recipe/recipe.h"
#include "tests/engine/small_classifier.h"

namespace wring {
namespace {

using small_classifier::node;

OnnxModel run(const std::string& params, const OnnxModel& model, Json& report) {
  const StageSpec stage = parse_recipe("udfc(" + params + ")").stages.at(0);
  Graph graph(model);
  NoProgress quiet;
  Snapshot none;
  return make_graph_method(stage.method, Params(stage.params, "stages[0].params"))
      ->run({graph, {}, quiet, none, 5}, report);
}

at::Tensor value(const OnnxModel& model, const std::string& name) {
  for (const auto& tensor : model.graph.initializers)
    if (tensor.name == name) return to_tensor(tensor, name);
  ADD_FAILURE() << name << " is not there";
  return {};
}

// x [1, 2, 4, 4] -> a of three channels with a bias -> y; `hidden` between them.
OnnxModel chain(const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& next, bool relu) {
  OnnxModel model;
  model.opsets = {{"", 17}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{1, ""}, {2, ""}, {4, ""}, {4, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = {node("Conv", {"x", "w", "b"}, "a"), node(relu ? "Relu" : "Identity", {"a"}, "h"),
                       node("Conv", {"h", "v"}, "y")};
  model.graph.initializers = {to_onnx("w", weight), to_onnx("b", bias), to_onnx("v", next)};
  return model;
}

at::Tensor outputs(const OnnxModel& model) {
  const at::Tensor x = at::sin(at::arange(32, at::kFloat)).reshape({1, 2, 4, 4});
  return Graph(model).run({{"x", x}}).at("y");
}

TEST(Udfc, AChannelThatIsASumOfOthersLeavesWithoutLoss) {
  at::manual_seed(2);
  at::Tensor weight = at::randn({3, 2, 3, 3}), bias = at::randn({3});
  weight[2] = 0.3 * weight[0] + 0.2 * weight[1];  // the least of the three
  bias[2] = 0.3 * bias[0] + 0.2 * bias[1];
  const OnnxModel model = chain(weight, bias, at::randn({4, 3, 1, 1}), false);
  Json report;
  const OnnxModel made = run("prune_ratio=0.34, weight_bits=16, alpha2=1e-8", model, report);
  EXPECT_EQ(value(made, "w").size(0), 2);
  EXPECT_TRUE(at::allclose(outputs(made), outputs(model), 1e-4, 1e-4));
  const OnnxModel bare = run("prune_ratio=0.34, weight_bits=16, compensation=none", model, report);
  EXPECT_EQ(value(bare, "w").size(0), 2);
  EXPECT_GT((outputs(bare) - outputs(model)).abs().max().item<double>(), 0.1);
}

TEST(Udfc, AChannelThatIsAMultipleOfAnotherMergesWithoutLossAlsoBehindARelu) {
  at::manual_seed(3);
  at::Tensor weight = at::randn({3, 2, 3, 3}), bias = at::randn({3});
  weight[1] = 0.25 * weight[0];
  bias[1] = 0.25 * bias[0];
  const OnnxModel model = chain(weight, bias, at::randn({4, 3, 1, 1}), true);
  Json report;
  const OnnxModel made = run("prune_ratio=0.34, weight_bits=16, compensation=merge", model, report);
  EXPECT_EQ(value(made, "w").size(0), 2);
  EXPECT_TRUE(at::allclose(outputs(made), outputs(model), 1e-4, 1e-4));
}

TEST(Udfc, NothingCutAndNothingRoundedChangesNothing) {
  const OnnxModel model = small_classifier::model();
  Json report;
  const OnnxModel made = run("prune_ratio=0, weight_bits=16", model, report);
  for (const auto& tensor : model.graph.initializers)
    EXPECT_TRUE(at::allclose(value(made, tensor.name), to_tensor(tensor, ""), 0, 1e-6)) << tensor.name;
}

// The weight of the first node has that one's bits, though it is the second's, too.
TEST(Udfc, OneWeightInTwoNodesIsRoundedOnce) {
  at::manual_seed(4);
  OnnxModel model = chain(at::randn({2, 2, 3, 3}), at::randn({2}), at::randn({4, 2, 1, 1}), false);
  auto& nodes = model.graph.nodes;
  nodes[0].attributes = {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}};
  nodes[1] = node("Conv", {"a", "w", "b"}, "h", nodes[0].attributes);
  Json report;
  const OnnxModel made = run("prune_ratio=0, weight_bits=4", model, report);
  const at::Tensor rows = value(model, "w").flatten(1), step = rows.abs().amax(1, true) / 127;
  EXPECT_TRUE(at::allclose(value(made, "w").flatten(1), at::round(rows / step) * step, 1e-4, 1e-5));
}

// The card's l_re for one layer, by the gradient at its minimum: what is moved into the reader must be the
// coefficients that make it zero.
TEST(Udfc, CoefficientsAreTheMinimumOfTheReconstructionError) {
  OnnxModel model = small_classifier::model();
  at::manual_seed(6);
  const auto set = [&](const std::string& name, const at::Tensor& values) {
    for (auto& tensor : model.graph.initializers)
      if (tensor.name == name) tensor = to_onnx(name, values);
  };
  set("bn.g", at::rand({12}) + 0.5);
  set("bn.b", at::randn({12}));
  set("bn.m", at::randn({12}));
  set("bn.v", at::rand({12}) + 0.5);
  Json report;
  const OnnxModel made = run("prune_ratio=0.25, weight_bits=16, alpha1=0.5, alpha2=0.1", model, report);
  const auto fp64 = [&](const OnnxModel& of, const char* name) { return value(of, name).to(at::kDouble); };
  const at::Tensor factor = fp64(model, "bn.g") / (fp64(model, "bn.v") + 1e-5).sqrt();
  const at::Tensor u = fp64(model, "b.w").flatten(1) * factor.unsqueeze(1);
  const at::Tensor b = fp64(model, "bn.b") - factor * fp64(model, "bn.m");
  const at::Tensor order = u.norm(2, 1).argsort();
  const at::Tensor gone = order.slice(0, 0, 3), kept = std::get<0>(order.slice(0, 3).sort());
  EXPECT_TRUE(at::equal(value(made, "bn.g"), value(model, "bn.g").index_select(0, kept)));
  // V' = V of what stays + S^T V of what leaves, over 8 outputs and 9 places: S by least squares from both.
  const at::Tensor before = fp64(model, "c.w").transpose(0, 1).flatten(1);
  const at::Tensor moved = fp64(made, "c.w").transpose(0, 1).flatten(1) - before.index_select(0, kept);
  const at::Tensor lost = before.index_select(0, gone);
  const at::Tensor s = at::linalg_solve(lost.matmul(lost.t()), lost.matmul(moved.t()));  // [gone, kept]
  const at::Tensor u_left = u.index_select(0, gone) - s.matmul(u.index_select(0, kept));
  const at::Tensor b_left = b.index_select(0, gone) - s.matmul(b.index_select(0, kept));
  const at::Tensor slope = -u_left.matmul(u.index_select(0, kept).t()) -
                           0.5 * b_left.unsqueeze(1) * b.index_select(0, kept).unsqueeze(0) + 0.1 * s;
  EXPECT_LT(slope.abs().max().item<double>(), 1e-4);
  EXPECT_GT(s.abs().max().item<double>(), 0.01);
}

TEST(Udfc, CutsTheBlocksInsideAndLeavesTheStreamAndNeverAddsError) {
  const OnnxModel model = small_classifier::model();
  for (const std::string compensation : {"reconstruct", "merge"}) {
    Json report;
    const OnnxModel made = run("prune_ratio=0.5, weight_bits=4, compensation=" + compensation, model, report);
    EXPECT_EQ(value(made, "b.w").sizes(), (std::vector<std::int64_t>{6, 8, 3, 3}));
    EXPECT_EQ(value(made, "a.w").size(0), 8);
    ASSERT_EQ(report.at("reconstructed").size(), 1u);
    EXPECT_LE(report.at("reconstructed")[0].at("worst_share_of_error").get<double>(), 1 + 1e-9);
    const at::Tensor rows = value(made, "b.w").flatten(1);
    const at::Tensor codes = rows / (rows.abs().amax(1, true) / 7);
    EXPECT_LE((codes - at::round(codes)).abs().max().item<double>(), 1e-4);
    EXPECT_LE(report.at("difference").get<double>(), 1e-4);
  }
}

}  // namespace
}  // namespace wring
