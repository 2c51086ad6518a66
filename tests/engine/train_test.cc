// The trainer against PyTorch's own loop (make_training_goldens.py), and what must hold at its edges.
#include <gtest/gtest.h>

#include <cmath>

#include "common/error.h"
#include "common/files.h"
#include "engine/calibrate/calibrate.h"
#include "engine/math/linear_gradient.h"
#include "engine/math/matmul.h"
#include "engine/methods/method.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "engine/train/trainer.h"
#include "tests/engine/golden_llama.h"
#include "tests/engine/killer.h"
#include "tests/engine/random_family.h"
#include "tests/engine/wave_llama.h"

namespace wring {
namespace {

const Json& golden() {
  static const Json values = golden_llama::read("training_goldens.json");
  return values;
}

std::unique_ptr<Model> golden_model(std::int64_t blocks, double phase) {
  return wave_llama::model(golden(), blocks, phase);
}

const Calibration& golden_calibration() {
  static const Calibration calibration{wave_llama::texts(golden()), {}};
  return calibration;
}

Json with_defaults(Json params) {
  params["value_dtype"] = "source";
  return params;
}

struct Trained {
  std::unique_ptr<Model> model;
  Json report;
};

Trained train_golden(const Json& test, Progress& progress, Snapshot& snapshot) {
  Trained trained{golden_model(2, 0.0), {}};
  const auto teacher = golden_model(test.value("teacher_blocks", 2), 0.7);
  const auto method =
      make_method(test.at("method").get<std::string>(), Params(with_defaults(test.at("params")), "params"));
  const auto targets = random_family::linear_layers(*trained.model);
  method->check_model(*trained.model, targets);
  trained.report = method->run({*trained.model, targets, golden_calibration(), progress, snapshot,
                                teacher.get(), golden().at("seed").get<std::uint64_t>()});
  return trained;
}

Trained train_golden(const Json& test) {
  NoProgress quiet;
  Snapshot none;
  return train_golden(test, quiet, none);
}

at::Tensor value_of(Model& model, const std::string& name) {
  if (const Parameter* parameter = model.find_parameter(name)) return parameter->value;
  return model.find_layer(name.substr(0, name.rfind('.')))->weight().decode(at::kFloat);
}

const Json& golden_case(const std::string& method) {
  for (const auto& test : golden().at("cases"))
    if (test.at("method") == method) return test;
  throw std::logic_error("no case of " + method);
}

TEST(Train, EqualsPyTorchsOwnLoop) {
  for (const auto& test : golden().at("cases")) {
    SCOPED_TRACE(test.at("method").get<std::string>() + " " + test.at("params").dump());
    const auto trained = train_golden(test);
    const auto losses = trained.report.at("training").at("loss").get<std::vector<double>>(),
               expected = test.at("losses").get<std::vector<double>>();
    ASSERT_EQ(losses.size(), expected.size());
    for (std::size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i], expected[i], 2e-5) << i;
    for (const auto& [name, values] : test.at("weights").items()) {
      const at::Tensor found = value_of(*trained.model, name).reshape({-1}),
                       wanted = at::tensor(values.get<std::vector<double>>(), at::kDouble).to(at::kFloat);
      EXPECT_LT((found - wanted).abs().max().item<double>(), 2e-4) << name;
    }
  }
}

TEST(Train, ProductsInBfloat16GiveNearlyTheSameLosses) {
  const Json& test = golden_case("finetune");
  const auto losses_in = [&](at::ScalarType dtype) {
    const auto model = golden_model(2, 0.0);
    const auto targets = random_family::linear_layers(*model);
    Calibration calibration = golden_calibration();
    calibration.forward = dtype;
    NoProgress quiet;
    Snapshot none;
    return make_method("finetune", Params(with_defaults(test.at("params")), "params"))
        ->run({*model, targets, calibration, quiet, none, nullptr, golden().at("seed")})
        .at("training")
        .at("loss")
        .get<std::vector<double>>();
  };
  const auto narrow = losses_in(at::kBFloat16), wide = losses_in(at::kFloat);
  EXPECT_NE(narrow, wide);
  for (std::size_t i = 0; i < wide.size(); ++i) EXPECT_NEAR(narrow[i], wide[i], 0.02 * wide[i]) << i;
}

TEST(Train, TeachesTheHeldOutTextToo) {
  const auto training = train_golden(golden_case("finetune")).report.at("training");
  EXPECT_LT(training.at("held_out_after").get<double>(), training.at("held_out_before").get<double>());
}

// Cancels where step `last` is about to be run.
class TrainResume : public testing::TestWithParam<const char*> {};

TEST_P(TrainResume, AfterAKillAtAnyStepTheBitsAreThoseOfAnUninterruptedRun) {
  Json test = golden_case(GetParam());
  const auto whole = train_golden(test);
  const auto model = golden_model(2, 0.0), teacher = golden_model(2, 0.7);
  const auto steps = test.at("params").at("steps").get<std::uint64_t>();
  set_seconds_between_snapshots(0);
  for (std::uint64_t killed = 0; killed <= steps; ++killed) {
    const TempDir folder;
    Killer killer(killed), observer(Killer::kNever);
    Snapshot first(folder.path());
    EXPECT_THROW(train_golden(test, killer, first), Error);
    Snapshot second(folder.path());
    const auto resumed = train_golden(test, observer, second);
    EXPECT_EQ(observer.first(), std::min(killed, steps - 1)) << "steps were run again";
    EXPECT_EQ(resumed.report, whole.report);
    for (const Layer* layer : whole.model->layers())
      EXPECT_TRUE(at::equal(layer->weight().decode(at::kFloat),
                            resumed.model->find_layer(layer->name())->weight().decode(at::kFloat)))
          << layer->name() << " killed at " << killed;
  }
  set_seconds_between_snapshots(60);
}

INSTANTIATE_TEST_SUITE_P(Methods, TrainResume, testing::Values("finetune", "distill", "gradual-magnitude"));

TEST(GradualMagnitude, EndsAtTheSparsityOfEachLayerToTheElement) {
  const Json& test = golden_case("gradual-magnitude");
  const auto trained = train_golden(test);
  const double share = test.at("params").at("sparsity").get<double>();
  for (const Layer* layer : random_family::linear_layers(*trained.model)) {
    EXPECT_EQ(layer->weight().format(), "masked") << layer->name();
    const at::Tensor weight = layer->weight().decode(at::kFloat);
    EXPECT_EQ(weight.eq(0).sum().item<std::int64_t>(),
              static_cast<std::int64_t>(share * static_cast<double>(weight.numel())));
  }
}

// Masks what is small of the targets; returns what is left of each.
std::map<std::string, at::Tensor> mask_small(Model& model, const std::set<const Layer*>& targets) {
  std::map<std::string, at::Tensor> keep;
  for (Layer* layer : model.layers()) {
    if (!targets.contains(layer)) continue;
    const at::Tensor weight = layer->weight().decode(at::kFloat);
    keep[layer->name()] = weight.abs() > 0.2;
    layer->set_weight(masked_rep(weight, keep[layer->name()]));
  }
  return keep;
}

TEST(GradualMagnitude, BringsNothingBackThatAnEarlierStageLeftOut) {
  for (const std::string scope : {"layer", "global"})
    for (const double share : {0.01, 0.9}) {
      const auto model = golden_model(2, 0.0);
      const auto targets = random_family::linear_layers(*model);
      auto keep = mask_small(*model, targets);
      Json params = with_defaults(golden_case("gradual-magnitude").at("params"));
      params["sparsity"] = share;
      params["scope"] = scope;
      NoProgress quiet;
      Snapshot none;
      make_method("gradual-magnitude", Params(params, "params"))
          ->run({*model, targets, golden_calibration(), quiet, none, nullptr, 1});
      std::int64_t zeros = 0, all = 0;
      for (const Layer* layer : targets) {
        const at::Tensor held = layer->weight().decode(at::kFloat).ne(0), given = keep.at(layer->name());
        EXPECT_FALSE(held.logical_and(given.logical_not()).any().item<bool>()) << layer->name();
        if (share < 0.5) EXPECT_TRUE(at::equal(held, given)) << layer->name();
        zeros += held.logical_not().sum().item<std::int64_t>();
        all += held.numel();
      }
      if (share > 0.5)
        EXPECT_NEAR(static_cast<double>(zeros) / static_cast<double>(all), share, 0.01) << scope;
    }
}

TEST(Finetune, LeavesWhatIsMaskedAtZero) {
  const auto model = golden_model(2, 0.0);
  const auto targets = random_family::linear_layers(*model);
  auto keep = mask_small(*model, targets);
  Json params = with_defaults(golden_case("finetune").at("params"));
  params["weight_decay"] = 0.1;
  NoProgress quiet;
  Snapshot none;
  make_method("finetune", Params(params, "params"))
      ->run({*model, targets, golden_calibration(), quiet, none, nullptr, 1});
  for (const Layer* layer : targets) {
    EXPECT_EQ(layer->weight().format(), "masked");
    EXPECT_TRUE(at::equal(layer->weight().decode(at::kFloat).ne(0), keep[layer->name()])) << layer->name();
  }
}

TEST(Distill, OfAModelByItselfChangesNothing) {
  Json test = golden_case("distill");
  const auto model = golden_model(2, 0.0), teacher = golden_model(2, 0.0);
  const auto targets = random_family::linear_layers(*model);
  NoProgress quiet;
  Snapshot none;
  const Json report = make_method("distill", Params(with_defaults(test.at("params")), "params"))
                          ->run({*model, targets, golden_calibration(), quiet, none, teacher.get(), 1});
  EXPECT_NEAR(report.at("training").at("loss")[0].get<double>(), 0, 1e-6);
}

void expect_refusal(const std::string& method, const Json& changes, const std::string& reason,
                    const std::string& field) {
  Json params = with_defaults(golden_case(method).at("params"));
  params.update(changes);
  const auto model = golden_model(2, 0.0), teacher = golden_model(2, 0.7);
  const auto targets = random_family::linear_layers(*model);
  NoProgress quiet;
  Snapshot none;
  try {
    const auto stage = make_method(method, Params(params, "params"));
    stage->check_model(*model, targets);
    stage->run({*model, targets, golden_calibration(), quiet, none, teacher.get(), 1});
    ADD_FAILURE() << "not refused: " << reason;
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), reason) << error.what();
    EXPECT_EQ(error.field(), field);
  }
}

TEST(Train, RefusesWhatCannotBeDone) {
  expect_refusal("distill", {{"logits", 0.0}, {"hidden", 0.0}}, "OUT_OF_RANGE", "params.logits");
  expect_refusal("gradual-magnitude", {{"begin", 0.9}, {"end", 0.1}}, "OUT_OF_RANGE", "params.end");
  expect_refusal("finetune", {{"learning_rate", 1e30}, {"warmup", 0.0}, {"clip", 0.0}}, "DIVERGED",
                 "params.learning_rate");
}

TEST(Train, RefusesAQuantisedTarget) {
  const auto model = golden_model(2, 0.0);
  const auto targets = random_family::linear_layers(*model);
  Layer* first = model->find_layer("model.layers.0.self_attn.q_proj");
  first->set_weight(low_rank_rep(at::randn({2, 16}), at::randn({16, 2})));
  try {
    check_trainable(targets);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "NOT_TRAINABLE");
    EXPECT_EQ(error.field(), first->name());
  }
}

TEST(LinearWithGradient, EqualsAtensOwnGradients) {
  at::manual_seed(3);
  for (const std::int64_t rows : {1, 7, 64})
    for (const bool with_bias : {false, true}) {
      const auto leaf = [](at::IntArrayRef shape) { return at::randn(shape).requires_grad_(true); };
      const at::Tensor x = leaf({2, rows, 24}), weight = leaf({40, 24}), bias = leaf({40}),
                       factor = at::randn({2, rows, 40});
      const auto gradients = [&](const at::Tensor& y) {
        (y * factor).sum().backward();
        std::vector<at::Tensor> found{x.grad().clone(), weight.grad().clone()};
        if (with_bias) found.push_back(bias.grad().clone());
        for (const auto& t : {x, weight, bias}) t.mutable_grad() = at::Tensor();
        return found;
      };
      const at::Tensor used = with_bias ? bias : at::Tensor();
      const auto ours = gradients(linear_with_gradient(x, weight, used)),
                 theirs = gradients(at::linear(x, weight, used));
      for (std::size_t i = 0; i < ours.size(); ++i)
        EXPECT_TRUE(at::allclose(ours[i], theirs[i], 1e-4, 1e-4)) << rows << " rows, gradient " << i;
    }
}

TEST(LearningRate, RisesThenFallsToATenth) {
  const LearningRate cosine{2.0, 11, 2, LearningRate::Decay::kCosine};
  EXPECT_DOUBLE_EQ(cosine.at(0), 2.0 / 3);
  EXPECT_DOUBLE_EQ(cosine.at(1), 4.0 / 3);
  EXPECT_DOUBLE_EQ(cosine.at(2), 2.0);
  EXPECT_DOUBLE_EQ(cosine.at(6), 2.0 * (0.1 + 0.9 * 0.5));  // half way
  EXPECT_DOUBLE_EQ(cosine.at(10), 0.2);
  const LearningRate line{1.0, 5, 0, LearningRate::Decay::kLinear};
  EXPECT_DOUBLE_EQ(line.at(1), 0.1 + 0.9 * 0.75);
  const LearningRate constant{1.0, 5, 0, LearningRate::Decay::kConstant};
  EXPECT_DOUBLE_EQ(constant.at(4), 1.0);
}

TEST(SparsityRamp, IsTheCubicOfThePaper) {
  const SparsityRamp ramp{0.8, 10, 50, 10, 3};
  EXPECT_DOUBLE_EQ(ramp.at(9), 0);
  EXPECT_DOUBLE_EQ(ramp.at(10), 0);
  EXPECT_DOUBLE_EQ(ramp.at(30), 0.8 * (1 - 0.125));
  EXPECT_DOUBLE_EQ(ramp.at(50), 0.8);
  EXPECT_DOUBLE_EQ(ramp.at(99), 0.8);
  EXPECT_TRUE(ramp.changes_at(20) && ramp.changes_at(50));
  EXPECT_FALSE(ramp.changes_at(9) || ramp.changes_at(25) || ramp.changes_at(60));
}

}  // namespace
}  // namespace wring
