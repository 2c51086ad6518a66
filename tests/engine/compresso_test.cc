// Compresso against PyTorch with gates on activations (make_compresso_goldens.py), and what must hold of a
// stage.
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/files.h"
#include "engine/calibrate/calibrate.h"
#include "engine/methods/method.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "engine/train/losses.h"
#include "engine/train/training_loop.h"
#include "tests/engine/golden_llama.h"
#include "tests/engine/killer.h"
#include "tests/engine/random_family.h"
#include "tests/engine/wave_llama.h"

namespace wring {
namespace {

const Calibration& random_texts() {
  at::manual_seed(11);
  static const Calibration calibration{at::randint(64, {40, 16}, at::kLong), {}};
  return calibration;
}

double weights_of(const std::set<const Layer*>& layers) {
  double weights = 0;
  for (const Layer* layer : layers)
    weights += static_cast<double>(layer->weight().rows() * layer->weight().columns());
  return weights;
}

const Json kUnchanged = Json::object();
const Json kParams{{"ratio", 0.3},
                   {"types", "heads-intermediate-hidden"},
                   {"steps", 60},
                   {"prefinetune", 0.1},
                   {"recovery", 0.2},
                   {"ramp", 0.5},
                   {"drop_rate", 0.01},
                   {"gate_learning_rate", 0.5},
                   {"multiplier_learning_rate", 0.03},
                   {"tolerance", 0.005},
                   {"multiple", 1},
                   {"hidden_multiple", 1},
                   {"batch", 4},
                   {"learning_rate", 1e-3},
                   {"recovery_learning_rate", 1e-3},
                   {"clip", 1.0},
                   {"rank", 2},
                   {"alpha", 2.0},
                   {"adapters", "q-v"},
                   {"value_dtype", "source"}};

struct Pruned {
  std::unique_ptr<Model> model;
  Json report;
};

Pruned prune(const Json& changes, Progress& progress, Snapshot& snapshot, std::uint64_t seed = 5,
             const Json& config = Json::object()) {
  Json params = kParams;
  params.update(changes);
  Pruned pruned{random_family::llama(random_family::llama_config(config), true), {}};
  const auto targets = random_family::linear_layers(*pruned.model);
  const auto method = make_method("compresso", Params(params, "params"));
  method->check_model(*pruned.model, targets);
  pruned.report = method->run({*pruned.model, targets, random_texts(), progress, snapshot, nullptr, seed});
  return pruned;
}

Pruned prune(const Json& changes = kUnchanged, std::uint64_t seed = 5, const Json& config = Json::object()) {
  NoProgress quiet;
  Snapshot none;
  return prune(changes, quiet, none, seed, config);
}

TEST(Compresso, EqualsPyTorchWithGatesOnActivations) {
  const Json golden = golden_llama::read("compresso_goldens.json");
  const auto model = wave_llama::model(golden, 2, 0.0);
  const Calibration calibration{wave_llama::texts(golden), {}};
  Json params = golden.at("params");
  params["value_dtype"] = "source";
  NoProgress quiet;
  Snapshot none;
  const Json report = make_method("compresso", Params(params, "params"))
                          ->run({*model, random_family::linear_layers(*model), calibration, quiet, none,
                                 nullptr, golden.at("seed").get<std::uint64_t>()});
  const auto near = [](const Json& found, const Json& wanted, double within) {
    const auto ours = found.get<std::vector<double>>(), theirs = wanted.get<std::vector<double>>();
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], within) << i;
  };
  near(report.at("training").at("loss"), golden.at("losses"), 5e-4);
  near(report.at("sparsity").at("curve"), golden.at("curve"), 2e-5);
  EXPECT_NEAR(report.at("training").at("held_out_after").get<double>(),
              golden.at("held_out_after").get<double>(), 5e-4);
  for (const char* name : {"chosen_step", "settled_groups"})
    EXPECT_EQ(report.at("sparsity").at(name), golden.at(name)) << name;
  for (const char* name : {"rounded", "final"})
    EXPECT_NEAR(report.at("sparsity").at(name).get<double>(), golden.at(name).get<double>(), 1e-9) << name;
  Json kept = Json::array();  // heads and channels of block 0, of block 1; hidden channels
  for (const auto& line : report.at("layers"))
    kept.push_back(line.contains("kv_heads") ? line.at("kv_heads") : line.at("channels"));
  kept.push_back(report.at("hidden_channels").at("kept"));
  EXPECT_EQ(kept, golden.at("kept"));
}

TEST(Compresso, EndsAtTheTargetByTheWeightsOfTheCutModel) {
  for (const double ratio : {0.15, 0.3, 0.5}) {
    const auto model = random_family::llama(random_family::llama_config(), true);
    const double before = weights_of(random_family::linear_layers(*model));
    const auto pruned = prune({{"ratio", ratio}});
    const double left = weights_of(random_family::linear_layers(*pruned.model));
    const auto& sparsity = pruned.report.at("sparsity");
    EXPECT_NEAR(1 - left / before, ratio, 0.005) << sparsity;
    EXPECT_DOUBLE_EQ(sparsity.at("final").get<double>(), 1 - left / before);
  }
}

TEST(Compresso, TakesGatesWhoseExpectedShareIsTheTarget) {
  const auto sparsity = prune({{"steps", 240}, {"multiplier_learning_rate", 0.1}}).report.at("sparsity");
  EXPECT_GE(sparsity.at("chosen_step").get<int>(), 24 + 168 / 2) << "after the ramp";
  const auto curve = sparsity.at("curve").get<std::vector<double>>();
  EXPECT_NEAR(curve.at(sparsity.at("chosen_step").get<std::size_t>() - 24), 0.3, 0.005);
  EXPECT_NEAR(curve.back(), 0.3, 0.05) << sparsity;
  EXPECT_NEAR(sparsity.at("rounded").get<double>(), 0.3, 0.04) << sparsity;
}

TEST(Compresso, GivesAsTheCutModelWhatTheGatedOneGaveInTraining) {
  for (const bool tied : {false, true}) {
    const auto pruned = prune(kUnchanged, 5, {{"tie_word_embeddings", tied}});
    const at::Tensor held_out = random_texts().ids.narrow(0, 38, 2);
    EXPECT_NEAR(next_token_loss(pruned.model->forward(held_out), held_out).item<double>(),
                pruned.report.at("training").at("held_out_after").get<double>(), 1e-4);
  }
}

TEST(Compresso, CutsWhatTypesNamesAndNothingElse) {
  for (const std::string types : {"heads", "intermediate", "hidden", "heads-intermediate", "heads-hidden"}) {
    SCOPED_TRACE(types);
    const auto pruned = prune({{"types", types}, {"ratio", 0.2}});
    const auto names = [&](const char* kind) { return types.find(kind) != std::string::npos; };
    bool heads = false, channels = false;
    for (const auto& line : pruned.report.at("layers")) {
      heads = heads || line.value("kv_heads", 2) < 2;
      channels = channels || line.value("channels", 40) < 40;
    }
    EXPECT_TRUE(names("heads") || !heads);
    EXPECT_EQ(channels, names("intermediate"));
    EXPECT_EQ(pruned.model->hidden_size() < 48, names("hidden"));
    EXPECT_EQ(pruned.report.contains("hidden_channels"), names("hidden"));
  }
}

TEST(Compresso, LeavesWidthsThatAreMultiples) {
  const auto pruned = prune({{"multiple", 16}, {"hidden_multiple", 6}});
  EXPECT_EQ(pruned.model->hidden_size() % 6, 0);
  for (const auto& line : pruned.report.at("layers")) {
    const int channels = line.value("channels", 40);
    EXPECT_TRUE(channels == 16 || channels == 32 || channels == 40) << line;
  }
  EXPECT_NEAR(pruned.report.at("sparsity").at("final").get<double>(), 0.3, 0.03);  // half a lot of 35,712
}

TEST(Compresso, HangsOnTheSeedAlone) {
  const auto first = prune(), second = prune(), other = prune(kUnchanged, 6);
  EXPECT_EQ(first.report, second.report);
  EXPECT_NE(first.report, other.report);
}

TEST(Compresso, AfterAKillAtAnyPhaseTheBitsAreThoseOfAnUninterruptedRun) {
  const Json small{{"steps", 20}};  // gates from 2, fixed from 16 on
  const auto whole = prune(small);
  set_seconds_between_snapshots(0);
  for (const std::uint64_t killed : {0, 1, 2, 3, 9, 15, 16, 17, 19, 20}) {
    const TempDir folder;
    Killer killer(killed), observer(Killer::kNever);
    Snapshot first(folder.path());
    EXPECT_THROW(prune(small, killer, first), Error);
    Snapshot second(folder.path());
    const auto resumed = prune(small, observer, second);
    EXPECT_EQ(observer.first(), std::min<std::uint64_t>(killed, 19)) << "steps were run again";
    EXPECT_EQ(resumed.report, whole.report) << killed;
    for (const Layer* layer : whole.model->layers())
      EXPECT_TRUE(at::equal(layer->weight().decode(at::kFloat),
                            resumed.model->find_layer(layer->name())->weight().decode(at::kFloat)))
          << layer->name() << " killed at " << killed;
  }
  set_seconds_between_snapshots(60);
}

void expect_refusal(const Json& changes, const std::string& left_out, const std::string& reason,
                    const std::string& field) {
  Json params = kParams;
  params.update(changes);
  const auto model = random_family::llama(random_family::llama_config(), false);
  auto targets = random_family::linear_layers(*model);
  std::erase_if(targets, [&](const Layer* layer) {
    return !left_out.empty() && layer->name().find(left_out) != std::string::npos;
  });
  try {
    make_method("compresso", Params(params, "params"))->check_model(*model, targets);
    ADD_FAILURE() << "not refused: " << reason;
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), reason) << error.what();
    EXPECT_EQ(error.field(), field);
  }
}

TEST(Compresso, RefusesWhatCannotBeDone) {
  expect_refusal({{"prefinetune", 0.6}, {"recovery", 0.6}}, "", "OUT_OF_RANGE", "params.steps");
  expect_refusal(kUnchanged, "layers.1.mlp.", "PARTLY_TARGETED", "model.layers.1.mlp.gate_proj");
  expect_refusal(kUnchanged, "q_proj", "PARTLY_TARGETED", "model.layers.0.self_attn.q_proj");
  expect_refusal({{"types", "heads"}}, "self_attn", "NOTHING_TO_CUT", "targets");
}

}  // namespace
}  // namespace wring
