// AWQ's scaling leaves the model's function alone, and its exponents are those of a search written from the
// paper's formulas in float64.
#include <gtest/gtest.h>

#include <limits>

#include "common/error.h"
#include "engine/calibrate/calibrate.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

constexpr std::int64_t kGroup = 8, kSteps = 10, kKvHeads = 2;

// A model whose channels differ in size, as those of trained ones do.
std::unique_ptr<Model> uneven_model(at::ScalarType gains = at::kFloat) {
  auto model = small_model::make(kKvHeads);
  at::manual_seed(3);
  for (auto& parameter : model->parameters())
    parameter.value = (parameter.value * at::exp(at::randn(parameter.value.sizes()))).to(gains);
  return model;
}

Calibration calibration() {
  at::manual_seed(11);
  return {at::randint(small_model::kVocabulary, {6, 48}, at::kLong), {}, Propagate::kDense};
}

std::vector<Json> scale(Model& model, const char* taps = "all", const std::string& only = "") {
  const auto method = make_method("awq-scaling", Params({{"bits", 3},
                                                         {"group_size", kGroup},
                                                         {"symmetric", false},
                                                         {"scale_dtype", "float32"},
                                                         {"scale_search", "minmax"},
                                                         {"search_steps", kSteps},
                                                         {"taps", taps}},
                                                        "params"));
  auto targets = small_model::linear_layers(model, true);
  std::erase_if(targets, [&](const Layer* layer) { return !layer->name().starts_with(only); });
  const auto text = calibration();
  NoProgress quiet;
  Snapshot none;
  return method->run({model, targets, text, quiet, none}).at("layers").get<std::vector<Json>>();
}

at::Tensor logits(const Model& model) {
  return model.forward(calibration().ids);
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

// Rounds each group of kGroup columns to eight levels between its ends, zero among them.
at::Tensor rounded(const at::Tensor& w) {
  const at::Tensor groups = w.reshape({w.size(0), -1, kGroup});
  const at::Tensor low = groups.amin(2, true).clamp_max(0), high = groups.amax(2, true).clamp_min(0);
  const at::Tensor scale = (high - low) / 7, zero = (-low / scale).round();
  return (((groups / scale + zero).round().clamp(0, 7) - zero) * scale).reshape(w.sizes());
}

TEST(AwqScaling, LeavesTheFunctionAsItWas) {
  for (const char* taps : {"norms", "all"}) {
    const auto model = uneven_model();
    const auto before = logits(*model);
    const auto weights = small_model::copy_weights(*model);
    const auto reports = scale(*model, taps);
    EXPECT_EQ(reports.size(), small_model::kBlocks * (std::string(taps) == "all" ? 4u : 2u));
    EXPECT_LT(relative(logits(*model), before), 1e-5) << taps;
    const auto now = small_model::copy_weights(*model);
    for (const char* changed :
         {"model.layers.1.self_attn.q_proj.weight", "model.layers.1.input_layernorm.weight"})
      EXPECT_FALSE(at::equal(now.at(changed), weights.at(changed))) << changed;
    EXPECT_EQ(at::equal(now.at("model.layers.1.mlp.down_proj.weight"),
                        weights.at("model.layers.1.mlp.down_proj.weight")),
              std::string(taps) == "norms");
  }
}

TEST(AwqScaling, LeavesBlocksWithoutTargetsAsTheyAre) {
  const auto model = uneven_model();
  const auto before = small_model::copy_weights(*model);
  const auto reports = scale(*model, "all", "model.layers.0.");
  ASSERT_EQ(reports.size(), 4u);
  for (const auto& report : reports) EXPECT_EQ(report.at("layer").get<std::string>().substr(0, 3), "L0.");
  const auto now = small_model::copy_weights(*model);
  for (const auto& [name, weight] : before)
    if (!name.starts_with("model.layers.0.")) EXPECT_TRUE(at::equal(now.at(name), weight)) << name;
}

TEST(AwqScaling, AGainOf16BitsIsUndoneAsItWasRounded) {
  const auto model = uneven_model(at::kBFloat16);
  const auto before = logits(*model);
  scale(*model, "norms");
  EXPECT_EQ(model->parameters().front().value.scalar_type(), at::kBFloat16);
  EXPECT_LT(relative(logits(*model), before), 1e-5);
}

TEST(AwqScaling, FindsTheExponentsOfATextbookSearch) {
  const auto model = uneven_model();
  const auto text = calibration();
  const at::Tensor hidden =
      model->embed(text.ids, at::kFloat).to(at::kDouble).reshape({-1, small_model::kHidden});
  const at::Tensor gain = model->parameters().front().value.to(at::kDouble);
  const at::Tensor x = hidden / (hidden.square().mean(1, true) + 1e-6).sqrt() * gain;
  std::vector<at::Tensor> rows;
  for (const char* name : {"q_proj", "k_proj", "v_proj"})
    rows.push_back(
        model->find_layer(std::string("model.layers.0.self_attn.") + name)->weight().decode(at::kDouble));
  const at::Tensor w = at::cat(rows, 0), magnitude = x.square().mean(0).sqrt();
  double best = 0, plain = 0, least = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kSteps; ++step) {
    at::Tensor s = magnitude.pow(static_cast<double>(step) / kSteps);
    s = s / (s.max() * s.min()).sqrt();
    const auto loss = at::matmul(x, (rounded(w * s) / s - w).t()).square().sum().item<double>();
    if (step == 0) plain = loss;
    if (loss < least) best = static_cast<double>(step) / kSteps;
    least = std::min(least, loss);
  }
  const auto report = scale(*model).front();
  EXPECT_EQ(report.at("layer"), "L0.attention_input");
  EXPECT_DOUBLE_EQ(report.at("alpha").get<double>(), best);
  EXPECT_GT(best, 0);
  EXPECT_NEAR(report.at("error").get<double>(), least / plain, 1e-4);
}

TEST(AwqScaling, RefusesWhatIsCompressedAlready) {
  const auto model = uneven_model();
  Layer* const layer = model->find_layer("model.layers.2.mlp.up_proj");
  const auto weight = layer->weight().decode(at::kFloat);
  layer->set_weight(masked_rep(weight, weight > 0));
  try {
    scale(*model);
    FAIL() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "ALREADY_COMPRESSED");
    EXPECT_EQ(error.field(), layer->name());
  }
}

}  // namespace
}  // namespace wring
