// surgeon-units: that readers make up for what leaves, and that those units leave which they can make up for.
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "engine/methods/graph/readers.h"
#include "engine/methods/graph_method.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "recipe/recipe.h"
#include "tests/common/thrown_by.h"
#include "tests/engine/small_classifier.h"

namespace wring {
namespace {

using small_classifier::kSide;
using small_classifier::node;

OnnxModel cut_by(const std::string& line, const OnnxModel& model, Json& report) {
  const StageSpec stage = parse_recipe(line).stages.at(0);
  Graph graph(model);
  NoProgress quiet;
  Snapshot none;
  const auto data = [](const Normalisation&) { return small_classifier::batches(64); };
  return make_graph_method(stage.method, Params(stage.params, "stages[0].params"))
      ->run({graph, data, quiet, none, 5}, report);
}

at::Tensor outputs(const OnnxModel& model) {
  const c10::NoGradGuard unrecorded;
  return Graph(model).run({{"x", small_classifier::batches(64).inputs(at::arange(64, at::kLong))}}).at("y");
}

std::vector<std::int64_t> shape_of(const OnnxModel& model, const std::string& name) {
  for (const auto& tensor : model.graph.initializers)
    if (tensor.name == name) return tensor.shape;
  return {};
}

// Six channels by a convolution and a Relu, of which the last three are the first three times 2, 3 and 4, so
// that half of them can leave without a trace; then a reader of them.
OnnxModel doubled() {
  at::manual_seed(7);
  const at::Tensor half = at::randn({3, 1, 3, 3});
  OnnxModel model;
  model.opsets = {{"", 17}};
  model.graph.inputs = {
      {"x", OnnxType::kFloat, {{{std::nullopt, "batch"}, {1, ""}, {kSide, ""}, {kSide, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = {node("Conv", {"x", "a.w"}, "a", {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}}),
                       node("Relu", {"a"}, "ar")};
  model.graph.initializers = {
      to_onnx("a.w", at::cat({half, half * at::tensor({2., 3., 4.}, at::kFloat).view({3, 1, 1, 1})}))};
  return model;
}

OnnxModel with_reader(const std::string& reader) {
  OnnxModel model = doubled();
  auto& nodes = model.graph.nodes;
  auto& tensors = model.graph.initializers;
  if (reader == "Conv") {
    nodes.push_back(node("Conv", {"ar", "r.w", "r.b"}, "y",
                         {{"strides", std::vector<std::int64_t>{2, 1}},
                          {"pads", std::vector<std::int64_t>{0, 1, 2, 1}},
                          {"dilations", std::vector<std::int64_t>{1, 2}}}));
    tensors.push_back(to_onnx("r.w", at::randn({5, 6, 3, 2})));
    tensors.push_back(to_onnx("r.b", at::randn({5})));
    return model;
  }
  nodes.push_back(node("GlobalMaxPool", {"ar"}, "p"));
  nodes.push_back(node("Flatten", {reader == "Gemm of a map" ? "ar" : "p"}, "f"));
  const std::int64_t inputs = reader == "Gemm of a map" ? 6 * kSide * kSide : 6;
  if (reader == "MatMul") {
    nodes.push_back(node("MatMul", {"f", "r.w"}, "y"));
    tensors.push_back(to_onnx("r.w", at::randn({inputs, 5})));
  } else {
    nodes.push_back(node("Gemm", {"f", "r.w", "r.b"}, "y",
                         {{"transB", std::int64_t{1}}, {"alpha", 0.5F}, {"beta", 2.F}}));
    tensors.push_back(to_onnx("r.w", at::randn({5, inputs})));
    tensors.push_back(to_onnx("r.b", at::randn({5})));
  }
  return model;
}

class SurgeonUnits : public testing::TestWithParam<std::string> {};

TEST_P(SurgeonUnits, WhatIsAMultipleOfAnotherLeavesWithoutATrace) {
  const OnnxModel model = with_reader(GetParam());
  Json report;
  const OnnxModel cut =
      cut_by("surgeon-units(target_group_sparsity=0.5, examples=64, damping=1e-9, mean=0.3, std=0.2)", model,
             report);
  EXPECT_EQ(report.at("removed"), 3);
  EXPECT_EQ(shape_of(cut, "a.w"), (std::vector<std::int64_t>{3, 1, 3, 3}));
  const at::Tensor before = outputs(model), after = outputs(cut);
  EXPECT_LE(((before - after).norm() / before.norm()).item<double>(), 1e-3);
  ASSERT_EQ(report.at("solved").size(), 1);
  EXPECT_LE(report.at("solved")[0].at("relative_error").get<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Readers, SurgeonUnits, testing::Values("Conv", "Gemm", "Gemm of a map", "MatMul"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

TEST(SurgeonUnits, OfANetLosesLessThanCuttingTheSameUnitsWithoutSolving) {
  const OnnxModel model = small_classifier::model();
  Json solved, plain;
  const OnnxModel cut = cut_by("surgeon-units(examples=64, mean=0.3, std=0.2)", model, solved);
  const OnnxModel least = cut_by("magnitude-units(norm=group-l2)", model, plain);
  EXPECT_EQ(solved.at("removed"), plain.at("removed"));
  EXPECT_LE(solved.at("difference").get<double>(), 1e-4);
  EXPECT_EQ(shape_of(cut, "c.w"), shape_of(least, "c.w"));
  const at::Tensor exact = outputs(model);
  EXPECT_LT((outputs(cut) - exact).norm().item<double>(),
            0.5 * (outputs(least) - exact).norm().item<double>());
}

TEST(SurgeonUnits, LeavesEachFamilyAMultiple) {
  Json report;
  const OnnxModel cut = cut_by("surgeon-units(target_group_sparsity=0.5, group_divisible=4, examples=64)",
                               small_classifier::model(), report);
  EXPECT_EQ(shape_of(cut, "b.w"), (std::vector<std::int64_t>{8, 4, 3, 3}));
}

TEST(SurgeonUnits, AGraphWithoutSuchALayerIsRefused) {
  OnnxModel model = doubled();
  model.graph.nodes[1].outputs = {"y"};
  model.graph.initializers[0] = to_onnx("a.w", at::randn({1, 1, 3, 3}));
  Json report;
  EXPECT_EQ(thrown_by([&] { (void)cut_by("surgeon-units", model, report); }).reason(), "NOTHING_TO_CUT");
}

// Worked out by the normal equations on the columns themselves.
TEST(Readers, FittedRowsAreThoseOfLeastSquares) {
  at::manual_seed(1);
  const auto real = at::TensorOptions(at::kDouble);
  const at::Tensor x = at::randn({5, 200}, real), away = at::randn({5, 200}, real) * 0.3, now = x + away,
                   w = at::randn({4, 5}, real);
  const Grams grams{now.mm(now.t()), now.mm(x.t()), x.mm(x.t())};
  const at::Tensor expected = w.mm(x).mm(now.pinverse());
  const at::Tensor fitted = fitted_rows(w, grams, 0);
  EXPECT_LE((fitted - expected).abs().max().item<double>(), 1e-5);
  const double error =
      (fitted.mm(now) - w.mm(x)).square().sum().item<double>() / w.mm(x).square().sum().item<double>();
  EXPECT_NEAR(fit_error(fitted, w, grams), error, 1e-9);
  const Grams same{grams.was, grams.was, grams.was};
  EXPECT_LE((fitted_rows(w, same, 0.1) - w).abs().max().item<double>(), 1e-12);
}

}  // namespace
}  // namespace wring
