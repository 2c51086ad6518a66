// An estimate leaves the model alone and knows exactly what a stage will store.
#include "engine/calibrate/estimate.h"

#include <gtest/gtest.h>

#include "common/clock.h"
#include "engine/graph/classifier.h"
#include "engine/run/graph_forecast.h"
#include "engine/run/progress.h"
#include "engine/run/room.h"
#include "engine/run/snapshot.h"
#include "recipe/recipe.h"
#include "tests/common/thrown_by.h"
#include "tests/engine/small_classifier.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

struct Stage {
  const char* method;
  Json params;
};

const Stage kStages[] = {{"rtn",
                          {{"bits", 4},
                           {"group_size", 16},
                           {"symmetric", true},
                           {"scale_dtype", "float16"},
                           {"scale_search", "minmax"}}},
                         {"gptq",
                          {{"bits", 3},
                           {"group_size", 16},
                           {"symmetric", false},
                           {"scale_dtype", "float16"},
                           {"scale_search", "mse"},
                           {"activation_order", true},
                           {"damping", 0.01}}},
                         {"wanda", {{"pattern", 0.5}, {"value_dtype", "source"}}}};

TEST(Estimate, StoredBytesAreThoseOfTheStageAndTheModelStaysAsItWas) {
  for (const auto& stage : kStages)
    for (const bool with_head : {false, true}) {
      const auto model = small_model::make();
      const auto method = make_method(stage.method, Params(stage.params, "params"));
      const auto targets = small_model::linear_layers(*model, with_head);
      const Calibration calibration{at::randint(small_model::kVocabulary, {6, 48}, at::kLong)};
      const auto before = small_model::copy_weights(*model);
      const auto estimate = estimate_stage(*model, *method, targets, calibration);
      const auto after = small_model::copy_weights(*model);
      ASSERT_EQ(before.size(), after.size());
      for (const auto& [name, weight] : before) EXPECT_TRUE(at::equal(weight, after.at(name))) << name;

      NoProgress quiet;
      Snapshot none;
      method->run({*model, targets, calibration, quiet, none});
      std::uint64_t stored = 0;
      for (const Layer* layer : targets) stored += layer->weight().stored_bytes();
      EXPECT_EQ(estimate.stored_bytes, stored) << stage.method << (with_head ? " with the head" : "");
      EXPECT_GT(estimate.seconds, 0);
    }
}

TEST(Estimate, MoreTokensTakeMoreMemory) {
  const auto model = small_model::make();
  const auto method = make_method("wanda", Params({{"pattern", 0.5}, {"value_dtype", "source"}}, "params"));
  const auto targets = small_model::linear_layers(*model, false);
  const auto working = [&](std::int64_t sequences) {
    const Calibration calibration{at::zeros({sequences, 64}, at::kLong)};
    return estimate_stage(*model, *method, targets, calibration).working_bytes;
  };
  const std::uint64_t hidden_of_more = (100'000 - 100) * 64 * small_model::kHidden * 4ull;
  EXPECT_GE(working(100'000), hidden_of_more);
  EXPECT_LT(working(100), hidden_of_more);
}

TEST(Room, AStageIsCountedOnWhatTheStageBeforeItStores) {
  const Body body(small_model::make());
  std::vector<std::string> names;
  for (const Layer* layer : small_model::linear_layers(body.model(), false)) names.push_back(layer->name());
  const JobSpec spec;
  Room room(spec, body);
  StageEstimate dense, packed;
  dense.stored_bytes = 900'000'000;
  packed.stored_bytes = 100'000'000;
  packed.streams = true;
  const auto first = room.add_stage("widens", 0, names, dense),
             second = room.add_stage("packs", 1, names, packed);
  EXPECT_EQ(first.bytes_after, 900'000'000u);
  // Shares of layers are rounded down.
  EXPECT_NEAR(static_cast<double>(second.bytes_before), 9e8, static_cast<double>(names.size()));
  EXPECT_LT(second.peak_bytes, first.peak_bytes) << "the wide weights leave as the packed ones come";
}

TEST(Room, TheReferenceIsCountedAsTheStageThatMakesItStoresIt) {
  const Body body(small_model::make());
  std::vector<std::string> names;
  for (const Layer* layer : small_model::linear_layers(body.model(), false)) names.push_back(layer->name());
  const JobSpec spec;
  const auto peak_of = [&](std::optional<std::size_t> reference) {
    Room room(spec, body);
    StageEstimate wide, packed, path;
    wide.stored_bytes = 900'000'000;
    packed.stored_bytes = 100'000'000;
    path.stored_bytes = 10'000'000;
    path.adds = true;
    (void)room.add_stage("widens", 0, names, wide);
    (void)room.add_stage("packs", 1, names, packed);
    return room.add_stage("compensates", 2, names, path, reference).peak_bytes;
  };
  EXPECT_NEAR(static_cast<double>(peak_of(0)) - static_cast<double>(peak_of(std::nullopt)), 9e8, 2e7)
      << "the input is small";
}

TEST(Room, BehindACutNothingIsCountedOfWhatWasCutOut) {
  const Body body(small_model::make());
  std::vector<std::string> names;
  for (const Layer* layer : small_model::linear_layers(body.model(), false)) names.push_back(layer->name());
  const JobSpec spec;
  Room cut_room(spec, body), whole_room(spec, body);
  StageEstimate cut, packed;
  cut.stored_bytes = 750'000'000;
  cut.weights_kept = 0.75;
  packed.stored_bytes = 100'000'000;
  packed.working_bytes = 400'000'000;
  packed.seconds = 8;
  const auto before = cut_room.add_stage("cuts", 0, names, cut);
  const auto behind = cut_room.add_stage("packs", 1, names, packed),
             whole = whole_room.add_stage("packs", 0, names, packed);
  const auto layers = static_cast<double>(names.size());  // shares of layers are rounded down
  EXPECT_EQ(before.weights, whole.weights);
  EXPECT_NEAR(static_cast<double>(behind.weights), 0.75 * static_cast<double>(whole.weights), layers);
  EXPECT_NEAR(static_cast<double>(behind.bytes_after), 75e6, 1e6);
  EXPECT_NEAR(behind.seconds, 6, 0.1);
  EXPECT_LT(behind.peak_bytes, whole.peak_bytes);
}

TEST(Room, AnExportTakesWhatItsFormatStoresOfEachWeight) {
  const Body body(small_model::make());
  std::vector<std::string> names;
  std::uint64_t weights = 0;
  for (const Layer* layer : small_model::linear_layers(body.model(), false)) {
    names.push_back(layer->name());
    weights += static_cast<std::uint64_t>(layer->weight().rows() * layer->weight().columns());
  }
  const JobSpec spec;
  StageEstimate half, quarter;  // of a byte a weight
  half.stored_bytes = weights / 2;
  quarter.stored_bytes = weights / 4;
  const auto exported = [&](const char* method, const StageEstimate& estimate, const char* to) {
    Room room(spec, body);
    (void)room.add_stage(method, 0, names, estimate);
    const auto before = room.add_export(parse_export("compressed-tensors")).bytes_after;
    return static_cast<double>(room.add_export(parse_export(to)).bytes_after) - static_cast<double>(before);
  };
  const auto values = static_cast<double>(weights), rounding = static_cast<double>(names.size());
  const double rest = exported("rtn", half, "onnx");  // integers stay; embeddings and the head become fp32
  EXPECT_NEAR(exported("magnitude", half, "onnx") - rest, 3.5 * values, rounding);
  EXPECT_NEAR(exported("fp4", half, "onnx") - rest, 3.5 * values, rounding);
  EXPECT_NEAR(exported("rtn", quarter, "onnx(weights=plain)") - rest, 3.75 * values, rounding);
}

TEST(GraphForecast, IsTheFirstStepsTimesTheirNumberAndLeavesTheRestUndone) {
  const StageSpec stage =
      parse_recipe("train-classifier(steps=1000000, batch=16, learning_rate=0.01)").stages.at(0);
  const auto method = make_graph_method(stage.method, Params(stage.params, "params"));
  Graph graph(small_classifier::model());
  NoProgress quiet;
  Snapshot none;
  const auto data = [](const Normalisation&) { return small_classifier::batches(240); };
  const Stopwatch watch;
  const GraphEstimate estimate = estimate_graph_stage(*method, {graph, data, quiet, none, 5});
  EXPECT_GT(estimate.seconds, 100 * watch.seconds());
  EXPECT_GT(estimate.resident_bytes, 1'000'000u);
}

// What a method of several inputs does.
class ReadsArrays final : public GraphMethod {
 public:
  void check(const Graph&) const override {}
  OnnxModel run(const GraphStage& stage, Json&) const override {
    EXPECT_EQ(stage.arrays().at("x").numel(), 3);
    return stage.graph.to_onnx();
  }
};

TEST(GraphForecast, HandsOnTheArraysOfMethodsThatReadThem) {
  Graph graph(small_classifier::model());
  NoProgress quiet;
  Snapshot none;
  const auto arrays = [] { return NamedValues{{"x", at::ones({3})}}; };
  EXPECT_GT(estimate_graph_stage(ReadsArrays(), {graph, {}, quiet, none, 5, arrays}).resident_bytes, 0u);
}

TEST(GraphForecast, BlankExamplesAreOfTheNetworksSizeAndAreNotMadeWhereItIsFree) {
  const Graph graph(small_classifier::model());
  const Batches blank = blank_batches(Classifier(graph), "train", {{0.5}, {0.5}, "mean"});
  EXPECT_EQ(blank.inputs(at::arange(2)).sizes(), (std::vector<std::int64_t>{2, 1, 8, 8}));
  OnnxModel model = small_classifier::model();
  (*model.graph.inputs.front().shape)[2] = {std::nullopt, "height"};
  const Graph free(model);
  const Error error = thrown_by([&] { (void)blank_batches(Classifier(free), "train", {}); });
  EXPECT_EQ(error.reason(), "NO_FORECAST");
  EXPECT_EQ(error.field(), "data.train");
}

}  // namespace
}  // namespace wring
