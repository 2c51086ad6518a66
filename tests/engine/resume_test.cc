// A calibrated stage that was cut off at any block and goes on from its snapshot ends with the same bits.
#include <gtest/gtest.h>

#include <fstream>

#include "common/error.h"
#include "common/files.h"
#include "engine/calibrate/calibrate.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "tests/engine/killer.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using small_model::kBlocks, small_model::kVocabulary;

struct Stage {
  const char* method;
  Json params;
  Propagate propagate;
  bool with_head;
};

struct Result {
  std::vector<Json> reports;
  std::map<std::string, at::Tensor> weights;
  bool operator==(const Result& other) const {
    return reports == other.reports && weights.size() == other.weights.size() &&
           std::all_of(weights.begin(), weights.end(), [&](const auto& named) {
             return at::equal(named.second, other.weights.at(named.first));
           });
  }
};

// Something to put back for a method that looks at the reference.
void drop_small_weights(Model& model, const std::set<const Layer*>& targets) {
  for (Layer* layer : model.layers()) {
    if (!targets.contains(layer)) continue;
    const at::Tensor weight = layer->weight().decode(at::kFloat);
    layer->set_weight(masked_rep(weight.to(at::kHalf), weight.abs() > 0.1));
  }
}

// The stage on a fresh model. Throws where `progress` does.
Result run(const Stage& stage, Progress& progress, Snapshot snapshot) {
  const auto model = small_model::make();
  const auto method = make_method(stage.method, Params(stage.params, "params"));
  const auto targets = small_model::linear_layers(*model, stage.with_head);
  const auto reference = small_model::make();
  if (method->needs_reference()) drop_small_weights(*model, targets);
  at::manual_seed(11);
  Calibration calibration{at::randint(kVocabulary, {6, 48}, at::kLong), {}, stage.propagate};
  Result result;
  result.reports = method
                       ->run({*model, targets, calibration, progress, snapshot,
                              method->needs_reference() ? reference.get() : nullptr})
                       .at("layers")
                       .get<std::vector<Json>>();
  result.weights = small_model::copy_weights(*model);
  return result;
}

const Json kGptq{{"bits", 4},
                 {"group_size", 16},
                 {"symmetric", false},
                 {"scale_dtype", "float16"},
                 {"scale_search", "mse"},
                 {"activation_order", true},
                 {"damping", 0.01}};
const Json kWanda{{"pattern", 0.5}, {"value_dtype", "source"}};
const Json kEora{{"rank", 4}, {"bits", 0}, {"factor_dtype", "float16"}, {"weighting", "eigenspace"}};
const Json kFlap{{"ratio", 0.4},  {"metric", "WIFV"}, {"structure", "AL-AM"},     {"bias", true},
                 {"min_keep", 1}, {"multiple", 1},    {"square_attention", true}, {"attention_ratio", -1.0}};

const Json kAwqScaling{{"bits", 4},
                       {"group_size", 16},
                       {"symmetric", false},
                       {"scale_dtype", "float16"},
                       {"scale_search", "minmax"},
                       {"search_steps", 5},
                       {"taps", "all"}};

const Json kBitstack{
    {"levels", 3}, {"rank", 2}, {"scaling", true}, {"order", "residual"}, {"order_samples", 2}};

const Json kModegpt{
    {"ratio", 0.4},  {"modules", "mlp-qk-vo"}, {"allocation", "uniform"}, {"temperature", 0.1},
    {"most", 0.8},   {"leverage_ridge", 0.01}, {"value_ridge", 1e-4},     {"refit", true},
    {"multiple", 1}, {"head_multiple", 2}};

class Resume : public testing::TestWithParam<Stage> {};

TEST_P(Resume, AfterAKillAtAnyBlockTheBitsAreThoseOfAnUninterruptedRun) {
  NoProgress quiet;
  const auto whole = run(GetParam(), quiet, Snapshot());
  for (std::uint64_t killed = 0; killed <= kBlocks; ++killed) {
    const TempDir folder;
    Killer killer(killed);
    EXPECT_THROW(run(GetParam(), killer, Snapshot(folder.path())), Error);
    Killer observer(Killer::kNever);
    EXPECT_EQ(run(GetParam(), observer, Snapshot(folder.path())), whole) << killed;
    EXPECT_EQ(observer.first(), killed) << "a finished block was run again";
  }
}

TEST_P(Resume, KilledAtEveryBlockInTurnItStillEnds) {
  NoProgress quiet;
  const auto whole = run(GetParam(), quiet, Snapshot());
  const TempDir folder;
  for (std::uint64_t killed = 1; killed <= kBlocks; ++killed) {
    Killer killer(killed);
    EXPECT_THROW(run(GetParam(), killer, Snapshot(folder.path())), Error);
    EXPECT_EQ(killer.first(), killed - 1);
  }
  EXPECT_EQ(run(GetParam(), quiet, Snapshot(folder.path())), whole);
}

TEST_P(Resume, ADamagedSnapshotIsNotTakenUp) {
  NoProgress quiet;
  const auto whole = run(GetParam(), quiet, Snapshot());
  const TempDir folder;
  const auto cut_off = [&] {
    Killer killer(2);
    EXPECT_THROW(run(GetParam(), killer, Snapshot(folder.path())), Error);
  };
  const auto starts_anew = [&](const char* how) {
    Killer observer(Killer::kNever);
    EXPECT_EQ(run(GetParam(), observer, Snapshot(folder.path())), whole) << how;
    EXPECT_EQ(observer.first(), 0u) << how;
    fs::remove_all(folder.path());
  };
  for (const char* part : {"block-0", "block-1", "hidden"}) {
    cut_off();
    for (const auto& entry : fs::directory_iterator(folder.path()))
      if (entry.path().filename().string().starts_with(part))
        fs::resize_file(entry.path(), entry.file_size() / 2);
    starts_anew(part);
  }
  cut_off();
  std::ofstream(folder.path() / "state.json") << "{";
  starts_anew("no state");
  cut_off();
  auto record = parse_json(read_file(folder.path() / "state.json"), "state");
  record["boot"] = "an earlier one";
  std::ofstream(folder.path() / "state.json") << record;
  starts_anew("an earlier boot");
}

INSTANTIATE_TEST_SUITE_P(Stages, Resume,
                         testing::Values(Stage{"gptq", kGptq, Propagate::kCompressed, false},
                                         Stage{"gptq", kGptq, Propagate::kDense, true},
                                         Stage{"wanda", kWanda, Propagate::kCompressed, true},
                                         Stage{"awq-scaling", kAwqScaling, Propagate::kDense, false},
                                         Stage{"bitstack", kBitstack, Propagate::kDense, false},
                                         Stage{"eora", kEora, Propagate::kReference, true},
                                         Stage{"flap", kFlap, Propagate::kDense, false},
                                         Stage{"wanda-sp", kFlap, Propagate::kCompressed, false},
                                         Stage{"wanda-sp", kFlap, Propagate::kDense, false},
                                         Stage{"modegpt", kModegpt, Propagate::kDense, false},
                                         Stage{"modegpt", kModegpt, Propagate::kCompressed, false},
                                         Stage{"block-drop", {{"blocks", 2}}, Propagate::kDense, false}));

TEST(Snapshot, HoldsWhatTheLastCommitTookAndNothingElse) {
  const TempDir folder;
  {
    Snapshot snapshot(folder.path());
    EXPECT_EQ(snapshot.state(), std::nullopt);
    snapshot.put("a", {{"x", at::full({2}, 1.0)}}, {{"n", 1}});
    snapshot.commit({{"step", 1}});
    snapshot.put("a", {{"x", at::full({2}, 2.0)}}, {{"n", 2}});
    snapshot.commit({{"step", 2}});
    snapshot.put("a", {{"x", at::full({2}, 3.0)}}, {{"n", 3}});
  }
  const Snapshot found(folder.path());
  EXPECT_EQ(found.state().value(), (Json{{"step", 2}}));
  EXPECT_EQ(found.part("a").attributes, (Json{{"n", 2}}));
  EXPECT_TRUE(at::equal(found.part("a").tensors.at("x"), at::full({2}, 2.0)));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 2);
}

TEST(Snapshot, ThatCannotBeWrittenKeepsNothingAndDoesNotFail) {
  const TempDir folder;
  std::ofstream(folder.path() / "file") << "in the way";
  Snapshot snapshot(folder.path() / "file" / "below");
  snapshot.put("a", {{"x", at::ones({2})}});
  snapshot.commit({{"step", 1}});
  EXPECT_EQ(snapshot.state(), std::nullopt);
}

}  // namespace
}  // namespace wring
