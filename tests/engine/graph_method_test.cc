// Methods of graphs: what they learn, that units leave as they promise, and that a run goes on after a kill.
#include "engine/methods/graph_method.h"

#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "engine/graph/classifier.h"
#include "engine/graph/macs.h"
#include "engine/methods/graph/saliency.h"
#include "engine/methods/graph/units.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "engine/train/adamw.h"
#include "engine/train/sgd.h"
#include "engine/train/training_loop.h"
#include "recipe/recipe.h"
#include "tests/common/thrown_by.h"
#include "tests/engine/killer.h"
#include "tests/engine/small_classifier.h"

namespace wring {
namespace {

using small_classifier::kUnits;

std::unique_ptr<GraphMethod> method_of(const std::string& line) {
  const StageSpec stage = parse_recipe(line).stages.at(0);
  return make_graph_method(stage.method, Params(stage.params, "stages[0].params"));
}

struct Made {
  OnnxModel model;
  Json report = Json::object();
};

GraphTargets targets_of(const std::string& line) {
  return {parse_recipe(line).stages.at(0), "stages[0]"};
}

std::unique_ptr<Graph> untrained() {
  return std::make_unique<Graph>(small_classifier::model());
}

Made run(const std::string& line, Progress& progress, Snapshot& snapshot,
         const OnnxModel& model = small_classifier::model()) {
  Graph graph(model);
  const auto data = [](const Normalisation&) { return small_classifier::batches(240); };
  Made made;
  made.model = method_of(line)->run({graph, data, progress, snapshot, 5, {}, targets_of(line), untrained},
                                    made.report);
  return made;
}

Made run(const std::string& line) {
  NoProgress quiet;
  Snapshot none;
  return run(line, quiet, none);
}

bool equal(const OnnxModel& a, const OnnxModel& b) {
  for (std::size_t i = 0; i < a.graph.initializers.size(); ++i)
    if (a.graph.initializers[i].data.text() != b.graph.initializers[i].data.text()) return false;
  return a.graph.initializers.size() == b.graph.initializers.size();
}

const std::string kShort = "steps=60, batch=16, learning_rate=0.05";

TEST(TrainClassifier, LearnsWhatItIsShown) {
  const Made made = run("train-classifier(steps=120, batch=16, learning_rate=0.05)");
  const Json& training = made.report.at("training");
  EXPECT_LT(training.at("held_out_accuracy_before").get<double>(), 0.7);
  EXPECT_GT(training.at("held_out_accuracy_after").get<double>(), 0.9);
  const Graph trained(made.model);
  const Batches others = small_classifier::batches(90);
  const Scored scored = Classifier(trained).score(others, at::arange(90, at::kLong));
  EXPECT_EQ(scored.count, 90u);
  EXPECT_GT(scored.accuracy(), 0.9);
}

// Trained by that line on data whose labels are all wrong, beside `reference`.
Graph taught_wrongly(const std::string& line, const std::function<std::unique_ptr<Graph>()>& reference) {
  Graph graph(small_classifier::model());
  const auto data = [](const Normalisation&) {
    LabelledData wrong = small_classifier::data(240);
    wrong.labels = (wrong.labels + 1).remainder(small_classifier::kClasses);
    return Batches(wrong, {{0.3}, {0.2}, "mean"}, {1, small_classifier::kSide, small_classifier::kSide},
                   "data.train");
  };
  NoProgress quiet;
  Snapshot none;
  Json report = Json::object();
  return Graph(method_of(line)->run({graph, data, quiet, none, 5, {}, targets_of(line), reference}, report));
}

TEST(DistillClassifier, LearnsItsReferencesClassesOrTheLabelsAsTheyAreWeighed) {
  const OnnxModel teacher = run("train-classifier(steps=120, batch=16, learning_rate=0.05)").model;
  const auto accuracy = [&](const std::string& line) {
    const Graph made = taught_wrongly(line, [&] { return std::make_unique<Graph>(teacher); });
    return Classifier(made).score(small_classifier::batches(90), at::arange(90, at::kLong)).accuracy();
  };
  const std::string longer = "steps=120, batch=16, learning_rate=0.05";
  EXPECT_GT(accuracy("distill-classifier(" + longer + ")"), 0.9);
  EXPECT_LT(accuracy("distill-classifier(logits=0.001, labels=1, " + longer + ")"), 0.1);
}

TEST(DistillClassifier, AReferenceOfOtherClassesOrInputsIsRefused) {
  OnnxModel classes = small_classifier::model();
  auto& tensors = classes.graph.initializers;
  tensors.resize(tensors.size() - 2);
  tensors.push_back(to_onnx("h.w", at::zeros({2, 8})));
  tensors.push_back(to_onnx("h.b", at::zeros({2})));
  OnnxModel sides = small_classifier::model();
  (*sides.graph.inputs[0].shape)[2].size = 12;
  for (const OnnxModel& model : {classes, sides, small_classifier::model(1)}) {
    const Error error = thrown_by([&] {
      (void)taught_wrongly("distill-classifier(" + kShort + ")",
                           [&] { return std::make_unique<Graph>(model); });
    });
    EXPECT_EQ(error.reason(), "REFERENCE_MISMATCH");
    EXPECT_EQ(error.field(), "reference");
  }
}

TEST(Hesso, RemovesExactlyItsShareOfTheUnitsAndTheCutGivesWhatTheZeroedGraphGives) {
  for (const double target : {0.3, 0.5, 0.7, 0.85}) {
    const Made made = run("hesso(" + kShort + ", pruning=0.5, pruning_periods=5, target_group_sparsity=" +
                          std::to_string(target) + ")");
    EXPECT_EQ(made.report.at("units"), kUnits);
    EXPECT_EQ(made.report.at("removed"), std::floor(kUnits * target)) << target;
    EXPECT_LE(made.report.at("difference").get<double>(), 1e-4);
    EXPECT_LT(made.report.at("macs").at("after"), made.report.at("macs").at("before"));
    EXPECT_EQ(Graph(made.model).parameter_count(), made.report.at("parameters").at("after"));
  }
}

TEST(Hesso, LeavesEachFamilyAMultiple) {
  const Made made =
      run("hesso(" + kShort + ", target_group_sparsity=0.5, pruning_periods=4, group_divisible=4)");
  for (const auto& family : made.report.at("layers"))
    EXPECT_EQ(family.at("units").get<int>() % 4, 0) << family;
  EXPECT_GT(made.report.at("removed"), 0);
}

TEST(HessoCric, WalksItsSuspectsBackAndRemovesItsShare) {
  const Made made =
      run("hesso-cric(" + kShort + ", target_group_sparsity=0.5, sampling_steps=10, max_cycle_period=3)");
  EXPECT_EQ(made.report.at("removed"), 10);
  EXPECT_GE(made.report.at("examined"), 10);
  EXPECT_GE(made.report.at("cycles"), 1);
  EXPECT_LE(made.report.at("cycles"), 3);
  EXPECT_LE(made.report.at("difference").get<double>(), 1e-4);
}

// Sees the graph's parameters at each step of each training: a second one begins with the first one's last
// step.
class Watcher final : public Progress {
 public:
  explicit Watcher(Graph& graph) : graph_(graph) {}
  void report(std::uint64_t done, std::uint64_t, const std::string& unit, const std::string&,
              double) override {
    if (unit != "steps") return;
    if (!seen_.empty() && done <= last_) ++training_;
    last_ = done;
    for (const char* name : {"a.w", "b.w"})
      seen_[{training_, done, name}] = graph_.find_tensor(name)->detach().clone();
  }
  const at::Tensor& at(int training, std::uint64_t done, const char* name) const {
    return seen_.at({training, done, name});
  }

 private:
  Graph& graph_;
  int training_ = 0;
  std::uint64_t last_ = 0;
  std::map<std::tuple<int, std::uint64_t, std::string>, at::Tensor> seen_;
};

TEST(HessoCric, TrainsFromWhereItWasBeforeTheCycleThatWalkedSuspectsToZero) {
  Graph graph(small_classifier::model());
  std::map<std::string, at::Tensor> before;
  for (const auto& parameter : graph.parameters()) before[parameter.name] = parameter.value.clone();
  Watcher watcher(graph);
  Snapshot none;
  Json report;
  const auto data = [](const Normalisation&) { return small_classifier::batches(240); };
  (void)method_of("hesso-cric(" + kShort +
                  ", target_group_sparsity=0.5, sampling_steps=10, max_cycle_period=1)")
      ->run({graph, data, watcher, none, 5}, report);
  std::int64_t walked = 0;
  for (const char* name : {"a.w", "b.w"}) {
    walked += (watcher.at(0, 10, name).flatten(1).norm(2, 1) == 0).sum().item<std::int64_t>();
    EXPECT_TRUE(at::equal(watcher.at(1, 10, name), before.at(name))) << name;
  }
  EXPECT_EQ(walked, 10);  // half of the units; each lies in one of the two
}

// Ends the run when it has reported so often.
class Counter final : public Progress {
 public:
  explicit Counter(int most) : most_(most) {}
  void report(std::uint64_t, std::uint64_t, const std::string&, const std::string&, double) override {
    if (++count_ == most_) throw Error(ErrorCode::kCancelled, "CANCELLED", "killed");
  }
  int count() const { return count_; }

 private:
  int most_, count_ = 0;
};

TEST(HessoCric, ARunThatWasKilledInACycleDoesNotRunThoseBeforeItAgain) {
  const std::string line = "hesso-cric(" + kShort + ", sampling_steps=10, max_cycle_period=3)";
  Counter whole(-1), killed(6 + 11 + 5), resumed(-1);  // probes, a cycle, some steps of the second
  Snapshot none;
  const Made expected = run(line, whole, none);
  const TempDir folder;
  {
    Snapshot snapshot(folder.path() / "stage");
    EXPECT_THROW((void)run(line, killed, snapshot), Error);
  }
  Snapshot snapshot(folder.path() / "stage");
  const Made made = run(line, resumed, snapshot);
  EXPECT_TRUE(equal(expected.model, made.model));
  EXPECT_EQ(expected.report, made.report);
  EXPECT_EQ(resumed.count(), whole.count() - 6 - 11);
}

TEST(Otov2, DrivesItsShareOfTheUnitsToExactZeroAndNoMoreThanItsCandidates) {
  const Made made = run("otov2(steps=400, batch=16, learning_rate=0.2, target_group_sparsity=0.4, lambda=1)");
  EXPECT_GE(made.report.at("removed"), 8);
  EXPECT_LE(made.report.at("removed"), 9);
  EXPECT_LE(made.report.at("difference").get<double>(), 1e-4);
}

TEST(Otov2, GoesOnUntilTheShareIsReachedWhereUnitsDoNotDivideSo) {
  const Made made =
      run("otov2(steps=400, batch=16, learning_rate=0.2, target_group_sparsity=0.43, lambda=1)");
  EXPECT_GE(made.report.at("removed").get<double>() / kUnits, 0.43) << "8 of 20 are not enough";
}

TEST(Otov2, LeavesEachFamilyAMultiple) {
  const Made made =
      run("otov2(steps=400, batch=16, learning_rate=0.2, target_group_sparsity=0.5, lambda=1, "
          "group_divisible=4)");
  for (const auto& family : made.report.at("layers"))
    EXPECT_EQ(family.at("units").get<int>() % 4, 0) << family;
}

TEST(Hesso, PeriodsThatDoNotFitAreRefused) {
  const Error error = thrown_by([] { (void)method_of("hesso(steps=20, pruning=0.4, pruning_periods=10)"); });
  EXPECT_EQ(error.reason(), "OUT_OF_RANGE");
  EXPECT_EQ(error.field(), "stages[0].params.pruning");
}

TEST(GraphTraining, AFileThatFixesAnotherBatchIsRefused) {
  const Graph graph(small_classifier::model(1));
  const Error error = thrown_by([&] { method_of("train-classifier(batch=8)")->check(graph); });
  EXPECT_EQ(error.reason(), "FIXED_BATCH");
  EXPECT_EQ(error.field(), "stages[0].params.batch");
}

// Ends the run as a kill would, when step `last` is about to be run.
TEST(GraphTraining, ARunThatWasKilledEndsWithTheBitsOfOneThatWasNot) {
  set_seconds_between_snapshots(0);
  for (const auto& [method, cycles] : std::initializer_list<std::pair<std::string, std::uint64_t>>{
           {"hesso(pruning_periods=4, optimizer=sgd, ", 0},
           {"hesso(optimizer=adamw, ", 0},
           {"hesso-cric(sampling_steps=10, max_cycle_period=2, ", 20},  // steps
           {"otov2(lambda=1, ", 0},
           {"distill-classifier(labels=0.5, ", 0},
           {"qat(weight_bits=4, examples=32, ", 0}}) {
    const std::string line = method + kShort + ", shift=1, mirror=true)";
    const Made whole = run(line);
    const TempDir folder;
    for (const std::uint64_t last : {12u, 17u, 40u}) {  // before, within and behind the pruning
      Killer killer(cycles + last);
      Snapshot snapshot(folder.path() / "stage");
      EXPECT_THROW((void)run(line, killer, snapshot), Error);
    }
    NoProgress quiet;
    Snapshot snapshot(folder.path() / "stage");
    ASSERT_TRUE(snapshot.state());
    const Made resumed = run(line, quiet, snapshot);
    EXPECT_EQ(snapshot.resumed_at(), 40u);
    EXPECT_TRUE(equal(whole.model, resumed.model));
    EXPECT_EQ(whole.report, resumed.report);
  }
  set_seconds_between_snapshots(60);
}

TEST(GraphTraining, WhatDropoutDropsHangsOnTheSeedAndTheStepAlone) {
  set_seconds_between_snapshots(0);
  OnnxModel model = small_classifier::model();
  OnnxNode head = std::move(model.graph.nodes.back());
  head.inputs[0] = "kept";
  model.graph.nodes.back() = small_classifier::node("Dropout", {"f"}, "kept");
  model.graph.nodes.push_back(std::move(head));
  const std::string line = "train-classifier(" + kShort + ")";
  NoProgress quiet;
  Snapshot none;
  const Made whole = run(line, quiet, none, model);
  const TempDir folder;
  {
    Killer killer(25);
    Snapshot snapshot(folder.path() / "stage");
    EXPECT_THROW((void)run(line, killer, snapshot, model), Error);
  }
  at::rand({7});  // what else has drawn meanwhile is of no matter
  Snapshot snapshot(folder.path() / "stage");
  EXPECT_TRUE(equal(whole.model, run(line, quiet, snapshot, model).model));
  EXPECT_EQ(snapshot.resumed_at(), 25u);
  set_seconds_between_snapshots(60);
}

TEST(MagnitudeUnits, CutsTheUnitsOfLeastNorm) {
  OnnxModel model = small_classifier::model();
  for (auto& tensor : model.graph.initializers)
    if (tensor.name == "b.w" || tensor.name == "bn.g") {  // every other channel of b is faint
      at::Tensor values = to_tensor(tensor, tensor.name).clone();
      values.slice(0, 0, 12, 2).mul_(1e-3);
      tensor = to_onnx(tensor.name, values);
    }
  Graph graph(model);
  NoProgress quiet;
  Snapshot none;
  Made made;
  made.model = method_of("magnitude-units(target_group_sparsity=0.5)")
                   ->run({graph, [](const auto&) { return small_classifier::batches(1); }, quiet, none, 5},
                         made.report);
  EXPECT_EQ(made.report.at("removed"), 10);
  EXPECT_LE(made.report.at("difference").get<double>(), 1e-5);
  for (const auto& tensor : made.model.graph.initializers) {
    if (tensor.name != "b.w") continue;
    EXPECT_EQ(tensor.shape, (std::vector<std::int64_t>{6, 4, 3, 3}));
    EXPECT_GT(to_tensor(tensor, tensor.name).flatten(1).norm(2, 1).min().item<float>(), 0.1);
  }
}

Json cut_by(const std::string& line, Graph& graph, OnnxModel& model, std::int64_t examples = 240) {
  NoProgress quiet;
  Snapshot none;
  Json report;
  const auto data = [&](const Normalisation&) { return small_classifier::batches(examples); };
  model = method_of(line)->run({graph, data, quiet, none, 5}, report);
  return report;
}

// Which of b's channels a one-shot method keeps, by their gains, which are all different.
std::vector<double> kept_gains(const OnnxModel& model) {
  std::vector<double> kept;
  for (const auto& tensor : model.graph.initializers)
    if (tensor.name == "bn.g") {
      const at::Tensor values = to_tensor(tensor, tensor.name);
      for (std::int64_t i = 0; i < values.size(0); ++i) kept.push_back(values[i].item<double>());
    }
  return kept;
}

TEST(MagnitudeUnits, CutsTheLeastGainsWhateverTheWeights) {
  OnnxModel model = small_classifier::model();
  const at::Tensor gains = at::tensor({5., -1., 9., 2., -8., 3., 12., 4., 6., 7., 10., 11.}, at::kFloat);
  for (auto& tensor : model.graph.initializers)
    if (tensor.name == "bn.g") tensor = to_onnx(tensor.name, gains);
  Graph graph(model);
  OnnxModel made;
  const Json report = cut_by("magnitude-units(norm=bn-scale)", graph, made);
  EXPECT_EQ(report.at("removed"), 10);
  EXPECT_THAT(kept_gains(made), testing::ElementsAre(9, -8, 12, 7, 10, 11));
}

// Two convolutions of one by one; the second's weights are 1: the family "inside" is a's output and b's
// input.
OnnxModel two_convolutions(const at::Tensor& first) {
  OnnxModel model;
  model.opsets = {{"", 17}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{1, ""}, {1, ""}, {1, ""}, {1, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = {small_classifier::node("Conv", {"x", "a"}, "h"),
                       small_classifier::node("Conv", {"h", "b"}, "y")};
  model.graph.initializers = {to_onnx("a", first.reshape({2, 1, 1, 1})),
                              to_onnx("b", at::ones({1, 2, 1, 1}))};
  return model;
}

TEST(MagnitudeUnits, CountsTheColumnsThatReadAUnitWhereItIsAskedTo) {
  OnnxModel model = two_convolutions(at::tensor({2., 1.5}, at::kFloat));
  model.graph.initializers[1] = to_onnx("b", at::tensor({0.1, 3.}, at::kFloat).reshape({1, 2, 1, 1}));
  const auto kept = [&](const std::string& norm) {
    Graph graph(model);
    OnnxModel made;
    (void)cut_by("magnitude-units(norm=" + norm + ")", graph, made);
    return to_tensor(made.graph.initializers[0], "a").item<float>();
  };
  EXPECT_EQ(kept("l2"), 2.F);
  EXPECT_EQ(kept("group-l2"), 1.5F) << "4 + 0.01 are less than 2.25 + 9";
}

TEST(MagnitudeUnits, WithoutNormsTheirScalesAreNoMeasure) {
  Graph graph(two_convolutions(at::ones({2})));
  OnnxModel made;
  EXPECT_EQ(thrown_by([&] { (void)cut_by("magnitude-units(norm=bn-scale)", graph, made); }).field(),
            "stages[0].params.norm");
}

// What autograd says of the loss when each channel behind b's norm is scaled by a gate: the change, to first
// order, of taking it away by its gain and shift, which here are all that the unit has besides b's weights.
TEST(TaylorUnits, CutsWhatTheLossHangsOnLeast) {
  OnnxModel model = small_classifier::model();
  for (auto& tensor : model.graph.initializers)
    if (tensor.name == "bn.g") tensor = to_onnx(tensor.name, at::arange(12, at::kFloat) / 4 + 0.5);
  Graph graph(model);
  const Batches batches = small_classifier::batches(240);
  std::map<std::string, at::Tensor> x;
  graph.track_gradients(true);
  for (const auto& parameter : graph.parameters()) x[parameter.name] = parameter.value;
  const at::Tensor logits = graph.run({{"x", batches.inputs(at::arange(240, at::kLong))}}).at("y");
  at::cross_entropy_loss(logits, batches.labels(at::arange(240, at::kLong))).backward();
  at::Tensor change = at::zeros({12});
  for (const char* name : {"b.w", "bn.g", "bn.b"})
    change += (x.at(name) * x.at(name).grad()).detach().reshape({12, -1}).sum(1);
  const at::Tensor order = change.square().argsort();
  std::vector<double> expected;
  for (std::int64_t i = 6; i < 12; ++i) expected.push_back(x.at("bn.g")[order[i]].item<double>());
  std::sort(expected.begin(), expected.end());
  graph.track_gradients(false);
  OnnxModel made;
  const Json report = cut_by("taylor-units(scope=family, examples=240, batch=240)", graph, made);
  EXPECT_EQ(report.at("removed"), 10);
  EXPECT_THAT(kept_gains(made), testing::ElementsAreArray(expected));
}

struct TwoUnits {
  TwoUnits() {
    graph = std::make_unique<Graph>(two_convolutions(at::tensor({3., -4.}, at::kFloat)));
    labels = infer_labels(*graph, {{"x", at::ones({1, 1, 1, 1})}});
  }
  std::unique_ptr<Graph> graph;
  GraphLabels labels;
};

TEST(Saliency, IsTheCardsMixtureOfFiveCriteria) {
  TwoUnits two;
  ASSERT_EQ(two.labels.units.size(), 2u);
  const UnitValues values(*two.graph, two.labels);
  GraphWeights weights(*two.graph);
  // y = 3 * 1 * x - 4 * 1 * x, loss = y: the gradient of a is b = (1, 1).
  two.graph->run({{"x", at::ones({1, 1, 1, 1})}}).at("y").sum().backward();
  const Sgd optimizer(weights.leaves(), {0.9, 0});
  const auto score = [&](bool released) { return saliency(values, weights, optimizer, {released, false}); };
  // |x| = 3, 4; length 1; cos = 1, -1; <x, d> = 3, -4.
  const auto mean = [](double x, double cosine, double all_cosines, double half_square) {
    return (x / 5 + x / 5 + cosine / all_cosines + x / 5 + half_square / std::hypot(4.5, 8)) / 5;
  };
  const at::Tensor kept = score(false), released = score(true);
  EXPECT_NEAR(kept[0].item<double>(), mean(3, 0, 2, 4.5), 1e-6);
  EXPECT_NEAR(kept[1].item<double>(), mean(4, 2, 2, 8), 1e-6);
  EXPECT_NEAR(released[0].item<double>(), mean(3, 2, 2, 4.5), 1e-6);
  EXPECT_NEAR(released[1].item<double>(), mean(4, 0, 2, 8), 1e-6);
}

TEST(ChooseUnits, KeepsOneOfEachFamilyAndFillsUpElsewhere) {
  GraphLabels labels;
  labels.units.resize(6);
  labels.families = {{{0, 1}}, {{2, 3, 4, 5}}};
  std::vector<bool> removed(6);
  const at::Tensor scores = at::tensor({0., 1., 2., 3., 4., 5.}, at::kDouble);
  EXPECT_THAT(choose_units(labels, scores, 3, 1, removed), testing::ElementsAre(0, 2, 3));
  std::vector<bool> by_two(6);
  EXPECT_THAT(choose_units(labels, scores, 3, 2, by_two), testing::ElementsAre(2, 3));
}

TEST(Optimizers, GoAlongTheirDirection) {
  const auto moved_by = [](Optimizer& optimizer, at::Tensor& x, double rate) {
    const at::Tensor before = x.detach().clone();
    (x * x).sum().backward();
    const at::Tensor direction = optimizer.direction(0);
    optimizer.step(rate);
    optimizer.clear_gradients();
    EXPECT_TRUE(at::allclose(before - rate * direction, x.detach(), 1e-5, 1e-7));
    return direction;
  };
  at::Tensor x = at::tensor({1., -2.}, at::kFloat).set_requires_grad(true);
  Sgd sgd({x}, {0.5, 0.1});
  // d = 2 x + 0.1 x = (2.1, -4.2), x = (0.79, -1.58); then 0.5 d + 2.1 x.
  EXPECT_TRUE(at::allclose(moved_by(sgd, x, 0.1), at::tensor({2.1, -4.2}, at::kFloat)));
  EXPECT_TRUE(at::allclose(moved_by(sgd, x, 0.1), at::tensor({2.709, -5.418}, at::kFloat)));
  at::Tensor z = at::tensor({1., -2.}, at::kFloat).set_requires_grad(true);
  AdamW adam({z}, {});
  EXPECT_TRUE(at::allclose(moved_by(adam, z, 0.1), at::tensor({1., -1.}, at::kFloat)));
  for (int i = 0; i < 3; ++i) (void)moved_by(adam, z, 0.1);
}

std::vector<std::string> layers_of(const Made& made) {
  std::vector<std::string> layers;
  for (const auto& line : made.report.at("layers")) layers.push_back(line.at("layer"));
  return layers;
}

TEST(GraphTargets, AFamilyIsCutWhereAllLayersThatMakeItAreTargeted) {
  const auto cut = [](const std::string& parameters) {
    return layers_of(run("magnitude-units(target_group_sparsity=0.5" + parameters + ")"));
  };
  EXPECT_THAT(cut(""), testing::UnorderedElementsAre("a.w", "b.w"));
  EXPECT_THAT(cut(", targets=Conv"), testing::UnorderedElementsAre("a.w", "b.w"));
  EXPECT_THAT(cut(", targets='re:b'"), testing::ElementsAre("b.w"));  // the weight
  EXPECT_THAT(cut(", targets=the_b"), testing::ElementsAre("b.w"));   // the node
  EXPECT_THAT(cut(", ignore='re:a'"), testing::ElementsAre("b.w"));   // a and c make the stream
  EXPECT_THAT(cut(", ignore=[the_c]"), testing::ElementsAre("b.w"));
  EXPECT_THAT(cut(", ignore=[b.w]"), testing::ElementsAre("a.w"));
  EXPECT_EQ(thrown_by([&] { (void)cut(", targets=[the_a]"); }).reason(), "NO_TARGETS");  // half of the stream
  EXPECT_EQ(run("magnitude-units(target_group_sparsity=0.5, ignore=[a.w])").report.at("removed"), 6);
}

TEST(GraphTargets, OfTrainedMethodsAndUdfcToo) {
  for (const std::string& line :
       {std::string("taylor-units(targets=[b.w])"), "hesso(" + kShort + ", targets=[b.w])",
        "otov2(" + kShort + ", targets=[b.w])", std::string("udfc(targets=[b.w])")}) {
    const Made made = run(line);
    EXPECT_THAT(layers_of(made), testing::ElementsAre("b.w")) << line;
    EXPECT_EQ(made.report.at("layers").at(0).at("of"), 12) << line;
  }
}

TEST(GraphTargets, AGraphWithoutSuchALayerIsRefused) {
  const Graph graph(small_classifier::model());
  const Error error = thrown_by([&] { targets_of("ptq(targets=[nothing])").check(graph); });
  EXPECT_EQ(error.reason(), "NO_TARGETS");
  EXPECT_EQ(error.field(), "stages[0].targets");
  EXPECT_THAT(error.hint(), testing::HasSubstr("h.w"));
  EXPECT_NO_THROW(targets_of("ptq(targets=[Gemm])").check(graph));
  EXPECT_FALSE(method_of("train-classifier")->takes_targets());
}

// The classifier with a second branch beside its stream, of 8 channels inside.
OnnxModel two_branches(double scale) {
  OnnxModel model = small_classifier::model();
  for (auto& each : model.graph.nodes)
    if (each.outputs.front() == "b" || each.outputs.front() == "d")
      std::replace(each.inputs.begin(), each.inputs.end(), std::string("ar"), std::string("er"));
  small_classifier::add_conv(model.graph, "ar", "e", 8, 8);
  model.graph.nodes.push_back(small_classifier::node("Add", {"ar", "e"}, "er"));
  for (auto& tensor : model.graph.initializers)
    if (tensor.name == "e.w") tensor = to_onnx("e.w", to_tensor(tensor, "e.w") * scale);
  return model;
}

// Of the network with the values at zero of which `name` is one.
double loss_without(const OnnxModel& model, const std::set<std::string>& zeros) {
  Graph graph(model);
  for (const auto& name : zeros) graph.find_tensor(name)->zero_();
  const Batches batches = small_classifier::batches(240);
  return Classifier(graph).score(batches, at::arange(240, at::kLong)).mean_loss();
}

TEST(EraseSegments, TakesTheBranchWhoseLossRisesLeastForTheMultiplyAddsThatItSpares) {
  const std::uint64_t outer = 2 * 64 * 12 * 8 * 9, inner = 64 * 8 * 8 * 9;
  std::set<std::string> first;
  for (const double scale : {1e-4, 1.0, 3.0}) {
    const OnnxModel model = two_branches(scale);
    const double dense = loss_without(model, {});
    const double without_e = loss_without(model, {"e.w"}), without_b = loss_without(model, {"cn.g", "cn.b"});
    const bool takes_e = (without_e - dense) / double(inner) < (without_b - dense) / double(outer);
    NoProgress quiet;
    Snapshot none;
    const Made one = run("erase-segments(target_macs=0.9, examples=240)", quiet, none, model);
    ASSERT_THAT(layers_of(one), testing::ElementsAre(takes_e ? "e.w" : "b.w")) << scale;
    EXPECT_NEAR(one.report.at("layers").at(0).at("loss").get<double>(), takes_e ? without_e : without_b,
                1e-4);
    EXPECT_NEAR(one.report.at("loss_before").get<double>(), dense, 1e-4);
    EXPECT_EQ(one.report.at("macs").at("before").get<std::uint64_t>() -
                  one.report.at("macs").at("after").get<std::uint64_t>(),
              takes_e ? inner : outer);
    EXPECT_LE(one.report.at("difference").get<double>(), 1e-5);
    first.insert(layers_of(one).front());
    const Made both = run("erase-segments(target_macs=0.01, examples=64)", quiet, none, model);
    EXPECT_EQ(both.report.at("removed"), 2);
  }
  EXPECT_EQ(first.size(), 2u) << "the scales should make one and the other the cheaper one";
}

at::Tensor outputs_of(const OnnxModel& model) {
  const c10::NoGradGuard unrecorded;
  const at::Tensor images = small_classifier::batches(240).inputs(at::arange(240, at::kLong));
  return Graph(model).run({{"x", images}}).at("y");
}

TEST(EraseSegments, SolvesTheLayersBehindWhatLeftWhereItIsAsked) {
  NoProgress quiet;
  Snapshot none;
  const OnnxModel whole = two_branches(1);
  const Made erased = run("erase-segments(target_macs=0.01, examples=64)", quiet, none, whole),
             solved = run("erase-segments(target_macs=0.01, examples=64, solve_on=240)", quiet, none, whole);
  EXPECT_EQ(layers_of(solved), layers_of(erased));
  const at::Tensor exact = outputs_of(whole);
  const double lost = (outputs_of(erased.model) - exact).norm().item<double>(),
               left = (outputs_of(solved.model) - exact).norm().item<double>();
  EXPECT_LT(left, 0.7 * lost);
  ASSERT_EQ(solved.report.at("solved").size(), 2) << "the first convolution and the head";
  EXPECT_LE(solved.report.at("solved")[0].at("relative_error").get<double>(), 1e-9)
      << "nothing changed before it";
  EXPECT_GT(solved.report.at("solved")[1].at("relative_error").get<double>(), 0);
}

TEST(EraseSegments, LeavesBranchesWithALayerThatIsIgnored) {
  NoProgress quiet;
  Snapshot none;
  const Made made =
      run("erase-segments(target_macs=0.01, examples=64, ignore=[the_c])", quiet, none, two_branches(1));
  EXPECT_EQ(made.report.at("segments"), 1);
  EXPECT_THAT(layers_of(made), testing::ElementsAre("e.w"));
}

TEST(EraseSegments, OfAGraphWithoutSumsThereIsNothingToErase) {
  NoProgress quiet;
  Snapshot none;
  OnnxModel model = small_classifier::model();
  for (auto& each : model.graph.nodes)
    if (each.operation == "Add") each.operation = "Mul";
  EXPECT_EQ(thrown_by([&] { (void)run("erase-segments", quiet, none, model); }).reason(), "NOTHING_TO_CUT");
}

TEST(Measure, TellsOfEachNodeTheBytesOfTheValuesThatLieInMemoryWhenItEnds) {
  const Graph graph(small_classifier::model());
  const auto costs = graph.measure({{"x", at::zeros({2, 1, 8, 8})}});
  std::vector<std::uint64_t> bytes;
  for (const auto& node : costs) bytes.push_back(node.alive_bytes);
  // Channels of 2 x 64 floats: 512 bytes. The residual stream waits while the block of 12 channels runs; what
  // Flatten makes is a view of what it reads.
  const std::uint64_t c = 512;
  EXPECT_THAT(bytes,
              testing::ElementsAre((1 + 8) * c, 16 * c, 16 * c, (8 + 12) * c, (8 + 24) * c, (8 + 24) * c,
                                   (8 + 12 + 8) * c, 24 * c, 24 * c, 16 * c, 8 * c + 64, 64, 64 + 24));
  EXPECT_EQ(costs.front().name, "the_a");
  EXPECT_EQ(costs.back().operation, "Gemm");
  double seconds = 0;
  for (const auto& node : costs) seconds += node.seconds;
  EXPECT_GT(seconds, 0);
}

TEST(Macs, AreOutputsTimesWhatEachTakes) {
  const Graph graph(small_classifier::model());
  const auto macs = count_macs(graph, {{"x", at::zeros({2, 1, 8, 8})}});
  std::vector<std::uint64_t> counts;
  for (const auto& node : macs) counts.push_back(node.macs);
  EXPECT_THAT(counts,
              testing::ElementsAre(2 * 64 * 8 * 9, 2 * 64 * 12 * 8 * 9, 2 * 64 * 8 * 12 * 9, 2 * 3 * 8));
}

// x [2, 3] of one node with `w` [3, 4] as its second input.
std::uint64_t macs_of_one(const OnnxNode& only, const at::Tensor& w = at::ones({3, 4})) {
  OnnxModel model;
  model.opsets = {{"", 17}, {"com.microsoft", 1}};
  model.graph.inputs = {{"x", OnnxType::kFloat, {{{2, ""}, {3, ""}}}}};
  model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
  model.graph.nodes = {only};
  model.graph.initializers = {to_onnx("w", w), to_onnx("c", at::scalar_tensor(true, at::kBool))};
  const Graph graph(model);
  const auto macs = count_macs(graph, {{"x", at::ones({2, 3})}});
  return macs.empty() ? 0 : macs.front().macs;
}

TEST(Macs, OfAnEinsumAreTheProductOfAllItsAxes) {
  const auto einsum = [](const char* equation) {
    return node("Einsum", {"x", "w"}, "y", {{"equation", std::string(equation)}});
  };
  EXPECT_EQ(macs_of_one(einsum("ij,jk->ik")), 2u * 3 * 4);
  EXPECT_EQ(macs_of_one(einsum(" i j , k j -> k "), at::ones({4, 3})), 2u * 3 * 4);
  EXPECT_EQ(macs_of_one(einsum("...j,...jk->...k"), at::ones({5, 2, 3, 4})), 5u * 2 * 3 * 4);
  EXPECT_EQ(macs_of_one(node("Einsum", {"x"}, "y", {{"equation", std::string("ij->ji")}})), 0u);
}

TEST(Macs, OfAnIfAreThoseOfTheBranchThatItTakes) {
  const auto branch = [](const char* operation) {
    auto graph = std::make_shared<OnnxGraph>();
    graph->nodes = {node(operation, {"x", "w"}, "z")};
    graph->outputs = {{"z", std::nullopt, std::nullopt}};
    return graph;
  };
  const auto choice = [&](const char* then, const char* other) {
    return node("If", {"c"}, "y", {{"then_branch", branch(then)}, {"else_branch", branch(other)}});
  };
  EXPECT_EQ(macs_of_one(choice("MatMul", "Add")), 2u * 3 * 4);
  EXPECT_EQ(macs_of_one(choice("Add", "MatMul"), at::ones({3})), 0u);
}

TEST(Macs, ParametersAreThoseOfTheNodeThatReadsThemFirst) {
  const Graph graph(small_classifier::model());
  const auto counts = graph.parameter_counts();
  EXPECT_THAT(counts,
              testing::ElementsAre(8 * 9, 16, 0, 12 * 8 * 9, 24, 0, 8 * 12 * 9, 16, 0, 0, 0, 0, 3 * 8 + 3));
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}), graph.parameter_count());
}

}  // namespace
}  // namespace wring
