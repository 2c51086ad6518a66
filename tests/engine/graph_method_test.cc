// Methods of graphs: what they learn, that units leave as they promise, and that a run goes on after a kill.
#include "engine/methods/graph_method.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

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

Made run(const std::string& line, Progress& progress, Snapshot& snapshot, std::int64_t examples = 240) {
  Graph graph(small_classifier::model());
  const auto data = [&](const Normalisation&) { return small_classifier::batches(examples); };
  Made made;
  made.model = method_of(line)->run({graph, data, progress, snapshot, 5}, made.report);
  return made;
}

Made run(const std::string& line) {
  NoProgress quiet;
  Snapshot none;
  return run(line, quiet, none);
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

TEST(Otov2, DrivesItsShareOfTheUnitsToExactZeroAndNoMoreThanItsCandidates) {
  const Made made = run("otov2(steps=400, batch=16, learning_rate=0.2, target_group_sparsity=0.4, lambda=1)");
  EXPECT_GE(made.report.at("removed"), 8);
  EXPECT_LE(made.report.at("removed"), 9);
  EXPECT_LE(made.report.at("difference").get<double>(), 1e-4);
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
class Killer final : public Progress {
 public:
  explicit Killer(std::uint64_t last) : last_(last) {}
  void report(std::uint64_t done, std::uint64_t, const std::string&, const std::string&, double) override {
    if (done == last_) throw Error(ErrorCode::kCancelled, "CANCELLED", "killed");
  }

 private:
  std::uint64_t last_;
};

bool equal(const OnnxModel& a, const OnnxModel& b) {
  for (std::size_t i = 0; i < a.graph.initializers.size(); ++i)
    if (a.graph.initializers[i].data.text() != b.graph.initializers[i].data.text()) return false;
  return a.graph.initializers.size() == b.graph.initializers.size();
}

TEST(GraphTraining, ARunThatWasKilledEndsWithTheBitsOfOneThatWasNot) {
  set_seconds_between_snapshots(0);
  for (const std::string method :
       {"hesso(pruning_periods=4, optimizer=sgd, ", "hesso(optimizer=adamw, ",
        "hesso-cric(sampling_steps=10, max_cycle_period=2, ", "otov2(lambda=1, "}) {
    const std::string line = method + kShort + ", shift=1, mirror=true)";
    const Made whole = run(line);
    const TempDir folder;
    // Before, within and behind the pruning; a run with cycles reports steps below 10 more than once.
    for (const std::uint64_t last : {12u, 17u, 40u}) {
      Killer killer(last);
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

// Two convolutions' channels: the family "inside" is a's output and b's input.
struct TwoUnits {
  TwoUnits() {
    OnnxModel model;
    model.opsets = {{"", 17}};
    model.graph.inputs = {{"x", OnnxType::kFloat, {{{1, ""}, {1, ""}, {1, ""}, {1, ""}}}}};
    model.graph.outputs = {{"y", OnnxType::kFloat, std::nullopt}};
    model.graph.nodes = {small_classifier::node("Conv", {"x", "a"}, "h"),
                         small_classifier::node("Conv", {"h", "b"}, "y")};
    model.graph.initializers = {to_onnx("a", at::tensor({3., -4.}, at::kFloat).reshape({2, 1, 1, 1})),
                                to_onnx("b", at::tensor({1., 1.}, at::kFloat).reshape({1, 2, 1, 1}))};
    graph = std::make_unique<Graph>(model);
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

TEST(Macs, AreOutputsTimesWhatEachTakes) {
  const Graph graph(small_classifier::model());
  const auto macs = count_macs(graph, {{"x", at::zeros({2, 1, 8, 8})}});
  std::vector<std::uint64_t> counts;
  for (const auto& node : macs) counts.push_back(node.macs);
  EXPECT_THAT(counts,
              testing::ElementsAre(2 * 64 * 8 * 9, 2 * 64 * 12 * 8 * 9, 2 * 64 * 8 * 12 * 9, 2 * 3 * 8));
}

}  // namespace
}  // namespace wring
