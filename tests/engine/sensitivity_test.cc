// Sensitivity against layers that are compressed one by one by hand.
#include <gtest/gtest.h>

#include <fstream>

#include "common/error.h"
#include "common/files.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/eval/layer_sensitivity.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "recipe/levels.h"
#include "tests/common/thrown_by.h"
#include "tests/engine/killer.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

using small_model::kBlocks, small_model::kVocabulary;

at::Tensor tokens() {
  at::manual_seed(11);
  return at::randint(kVocabulary, {6, 48}, at::kLong);
}

at::Tensor kl_tokens() {
  return tokens().narrow(0, 0, 2).narrow(1, 0, 32).contiguous();
}

std::vector<Level> levels(const std::string& text) {
  return make_levels(Params({{"levels", check_levels(text, "levels", Source{})}}, "params"), "levels");
}

constexpr const char* kLevels =
    "rtn(bits=4, group_size=16, ignore=[]) | gptq(bits=2, group_size=16, ignore=[]) | "
    "gptq(bits=3, group_size=16, targets='re:.*down_proj') | rtn(bits=4, group_size=64, ignore=[])";

Json measure(Model& model, Progress& progress, Snapshot& snapshot,
             std::shared_ptr<const StoredStatistics> stored = nullptr, const std::string& text = kLevels) {
  const auto targets = statistics_targets(model);
  Calibration calibration{stored ? at::Tensor() : tokens(), {}, Propagate::kDense};
  calibration.stored = std::move(stored);
  return layer_sensitivity(levels(text), kl_tokens())->run({model, targets, calibration, progress, snapshot});
}

Json measure(Model& model) {
  NoProgress quiet;
  Snapshot none;
  return measure(model, quiet, none);
}

// Inputs of every layer of a dense forward.
struct Inputs final : InputObserver {
  void on_input(const Layer& layer, const at::Tensor& x) override { of[layer.name()].push_back(x.clone()); }
  std::map<std::string, std::vector<at::Tensor>> of;
};

std::map<std::string, at::Tensor> inputs_of(Model& model) {
  Inputs inputs;
  at::Tensor hidden = model.embed(tokens(), at::kFloat);
  for (std::size_t block = 0; block < model.block_count(); ++block)
    hidden = model.run_block(block, hidden, {{}, nullptr, &inputs});
  model.head(model.final_norm(hidden), &inputs);
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, parts] : inputs.of) {
    std::vector<at::Tensor> rows;
    for (const auto& part : parts) rows.push_back(part.reshape({-1, part.size(-1)}));
    all[name] = at::cat(rows, 0).to(at::kDouble);
  }
  return all;
}

TEST(Sensitivity, IsTheShareOfTheOutputsEnergyThatIsLost) {
  const auto model = small_model::make();
  const Json table = measure(*model);
  const auto inputs = inputs_of(*model);
  const auto reference = levels(kLevels);
  ASSERT_EQ(table["layers"].size(), 7u * kBlocks + 1);
  for (const auto& row : table["layers"]) {
    const Layer& layer = *model->find_layer(row["layer"].get<std::string>());
    const at::Tensor w = layer.weight().decode(at::kDouble);
    at::Tensor x = inputs.at(layer.name());
    for (const auto& at : row["levels"]) {
      if (at["level"] != 0) continue;  // rtn, which needs no statistics
      Json report;
      const auto held = reference[0].method->compress({layer}, report);
      const at::Tensor lost = x.matmul((w - held->decode(at::kDouble)).t()), whole = x.matmul(w.t());
      const double share = (lost.square().sum() / whole.square().sum()).item<double>();
      EXPECT_NEAR(at["error"].get<double>(), share, 1e-4 * share) << layer.name();
      EXPECT_EQ(at["bytes"], held->stored_bytes());
    }
  }
}

at::Tensor log_probabilities(Model& model) {
  return at::log_softmax(model.forward(kl_tokens()).to(at::kDouble), -1);
}

TEST(Sensitivity, HasTheKlOfTheWholeModelWithThatLayerAloneChanged) {
  const auto model = small_model::make();
  NoProgress quiet;
  Snapshot none;
  const Json table = measure(*model, quiet, none, nullptr, "rtn(bits=3, group_size=16, ignore=[])");
  const auto three = levels("rtn(bits=3, group_size=16, ignore=[])");
  const at::Tensor dense = log_probabilities(*model);
  for (const auto& row : table["layers"]) {
    Layer& layer = *model->find_layer(row["layer"].get<std::string>());
    const auto original = layer.shared_weight();
    Json report;
    layer.set_weight(three[0].method->compress({layer}, report));
    const at::Tensor changed = log_probabilities(*model);
    layer.set_weight(original);
    const double kl = (dense.exp() * (dense - changed)).sum(-1).mean().item<double>();
    EXPECT_NEAR(row["levels"][0]["kl"].get<double>(), kl, 1e-3 * kl + 1e-7) << layer.name();
  }
}

TEST(Sensitivity, TriesEachLevelOnTheLayersThatCanTakeIt) {
  const auto model = small_model::make();
  for (const auto& row : measure(*model)["layers"]) {
    std::vector<int> tried;
    for (const auto& at : row["levels"]) tried.push_back(at["level"].get<int>());
    const auto name = row["layer"].get<std::string>();
    const bool down = name.ends_with("down_proj");  // the one of 64 columns
    EXPECT_EQ(tried, down ? std::vector({0, 1, 2, 3}) : std::vector({0, 1})) << name;
    double last = 1;
    for (const auto& at : row["levels"]) {
      EXPECT_GT(at["kl"].get<double>(), 0);
      EXPECT_NEAR(at["kl"].get<double>() / at["error"].get<double>(),
                  row["levels"][0]["kl"].get<double>() / row["levels"][0]["error"].get<double>(), 1e-6);
      last = std::min(last, at["error"].get<double>());
    }
    EXPECT_LT(last, 0.1);
  }
}

TEST(Sensitivity, LeavesTheModelAsItIs) {
  const auto model = small_model::make();
  const auto before = small_model::copy_weights(*model);
  measure(*model);
  for (const auto& [name, weight] : small_model::copy_weights(*model))
    EXPECT_TRUE(at::equal(weight, before.at(name))) << name;
}

TEST(Sensitivity, IsTheSameFromStoredStatisticsAndAfterAKillAtAnyBlock) {
  const auto model = small_model::make();
  const Json expected = measure(*model);
  const TempDir folder;
  const auto targets = statistics_targets(*model);
  const Calibration calibration{tokens(), {}, Propagate::kDense};
  NoProgress quiet;
  Snapshot kept(folder.path() / "statistics");
  gather_statistics({Statistic::kHessian}, folder.path() / "out")
      ->run({*model, targets, calibration, quiet, kept});
  const auto stored = std::make_shared<StoredStatistics>(FileTree::on_disk(folder.path() / "out"),
                                                         std::set{Statistic::kHessian}, at::kCPU);
  for (std::uint64_t block = 0; block <= kBlocks; ++block) {
    const auto path = folder.path() / std::to_string(block);
    Killer killer(block);
    Snapshot first(path);
    EXPECT_EQ(thrown_by([&] { measure(*model, killer, first, stored); }).reason(), "CANCELLED");
    Snapshot second(path);
    EXPECT_EQ(second.state().has_value(), block > 0);
    EXPECT_EQ(measure(*model, quiet, second, stored), expected) << block;
  }
}

TEST(Mixed, IsEachLayersLevelAlone) {
  const std::string text =
      "gptq(bits=2, group_size=16, targets='re:.*mlp.*') | gptq(bits=4, group_size=16, "
      "targets='re:.*self_attn.*')";
  const auto run = [](Model& model, const std::string& recipe) {
    const auto stage = parse_recipe(recipe).stages[0];
    std::set<const Layer*> targets;
    for (const Layer* layer : model.layers())
      if (stage.takes(layer->name(), layer->class_name())) targets.insert(layer);
    const auto method = make_method(stage.method, Params(stage.params, "params"));
    method->check_model(model, targets);
    const Calibration calibration{tokens(), {}, Propagate::kDense};
    NoProgress quiet;
    Snapshot none;
    method->run({model, targets, calibration, quiet, none});
  };
  const auto mixed = small_model::make(), two = small_model::make(), four = small_model::make();
  run(*mixed, "mixed-levels(levels=\"" + text + "\")");
  run(*two, "gptq(bits=2, group_size=16, targets='re:.*mlp.*')");
  run(*four, "gptq(bits=4, group_size=16, targets='re:.*self_attn.*')");
  for (const Layer* layer : mixed->layers()) {
    if (layer->name().find("layers") == std::string::npos) continue;
    const auto& other = layer->name().find("mlp") == std::string::npos ? *four : *two;
    EXPECT_TRUE(at::equal(layer->weight().decode(at::kFloat),
                          const_cast<Model&>(other).find_layer(layer->name())->weight().decode(at::kFloat)))
        << layer->name();
  }
  const auto untaken = small_model::make();
  const auto error = thrown_by(
      [&] { run(*untaken, "mixed-levels(levels='gptq(group_size=16, targets=lm_head, ignore=[])')"); });
  EXPECT_EQ(error.reason(), "NO_LEVEL");
}

}  // namespace
}  // namespace wring
