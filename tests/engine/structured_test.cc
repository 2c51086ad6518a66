// Structured methods against float64 versions (make_structured_goldens.py), and what must hold at their
// edges.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "common/error.h"
#include "engine/calibrate/estimate.h"
#include "engine/methods/method.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "tests/engine/golden_llama.h"
#include "tests/engine/random_family.h"

namespace wring {
namespace {

const Json& golden() {
  static const Json values = golden_llama::read("structured_goldens.json");
  return values;
}

using golden_llama::numbers;

at::Tensor indices(const Json& values) {
  return at::tensor(values.get<std::vector<std::int64_t>>(), at::kLong);
}

std::unique_ptr<Model> golden_model() {
  return golden_llama::model(golden());
}

Calibration golden_calibration(const Json& params) {
  const bool dense = params.value("propagate", "dense") == "dense";
  return {golden_llama::ids(golden()), {}, dense ? Propagate::kDense : Propagate::kCompressed};
}

Json run(Model& model, const std::string& method, const Json& params, const Calibration& calibration) {
  const auto targets = random_family::linear_layers(model);
  const auto stage = make_method(method, Params(params, "stages[0].params"));
  stage->check_model(model, targets);
  NoProgress quiet;
  Snapshot none;
  return stage->run({model, targets, calibration, quiet, none});
}

// Columns of o_proj that belong to KV heads.
at::Tensor columns_of(const at::Tensor& heads, std::int64_t width) {
  return (heads.unsqueeze(1) * width + at::arange(width, at::kLong)).reshape({-1});
}

// The layer's weight is the original's rows or columns, and its bias the golden one.
void expect_cut(Model& cut, Model& whole, const std::string& name, std::int64_t axis, const at::Tensor& kept,
                const Json& bias) {
  SCOPED_TRACE(name);
  const Layer* const layer = cut.find_layer(name);
  at::Tensor added;
  if (!layer) {
    EXPECT_EQ(kept.numel(), 0);
    const Parameter* const residue = cut.find_parameter(name + ".bias");
    if (residue) added = residue->value;
  } else {
    const at::Tensor expected = whole.find_layer(name)->weight().decode(at::kFloat).index_select(axis, kept);
    ASSERT_EQ(layer->weight().decode(at::kFloat).sizes(), expected.sizes());
    EXPECT_TRUE(at::equal(layer->weight().decode(at::kFloat), expected));
    added = layer->bias();
  }
  ASSERT_EQ(added.defined(), !bias.is_null());
  if (added.defined()) {
    EXPECT_LT((added - numbers(bias)).abs().max().item<double>(), 1e-5);
  }
}

TEST(Structured, MethodsEqualTheirFloat64Versions) {
  ASSERT_GT(golden().at("cases").size(), 150u);
  const auto whole = golden_model();
  const auto head = golden().at("config").at("head_dim").get<std::int64_t>();
  for (const auto& test : golden().at("cases")) {
    const auto method = test.at("method").get<std::string>();
    SCOPED_TRACE(method + " " + test.at("params").dump());
    const auto cut = golden_model();
    run(*cut, method, test.at("params"), golden_calibration(test.at("params")));
    for (std::size_t i = 0; i < test.at("blocks").size(); ++i) {
      const Json& block = test.at("blocks")[i];
      const std::string name = "model.layers." + std::to_string(i) + ".";
      const at::Tensor heads = indices(block.at("heads")), channels = indices(block.at("channels"));
      const Json none;
      expect_cut(*cut, *whole, name + "self_attn.q_proj", 0, columns_of(heads, 2 * head), none);
      expect_cut(*cut, *whole, name + "self_attn.v_proj", 0, columns_of(heads, head), none);
      expect_cut(*cut, *whole, name + "self_attn.o_proj", 1, columns_of(heads, 2 * head),
                 block.value("o_bias", none));
      expect_cut(*cut, *whole, name + "mlp.gate_proj", 0, channels, none);
      expect_cut(*cut, *whole, name + "mlp.down_proj", 1, channels, block.value("down_bias", none));
    }
  }
}

TEST(BlockDrop, TakesTheBlocksOfHighestCosine) {
  const auto cosines = golden().at("cosines").get<std::vector<double>>();
  std::vector<std::size_t> order(cosines.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return cosines[a] > cosines[b]; });
  for (std::size_t count = 1; count < cosines.size(); ++count) {
    const auto model = golden_model();
    const Json report = run(*model, "block-drop", {{"blocks", count}}, golden_calibration(Json::object()));
    std::vector<std::size_t> expected(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(report.at("dropped"), Json(expected));
    EXPECT_EQ(model->block_count(), cosines.size() - count);
    for (std::size_t i = 0; i < cosines.size(); ++i)
      EXPECT_NEAR(report.at("layers")[i].at("cosine").get<double>(), cosines[i], 1e-5);
  }
}

TEST(BlockDrop, OfAllBlocksIsRefusedWithTheMostThatMayGo) {
  const auto model = golden_model();
  try {
    run(*model, "block-drop", {{"blocks", 4}}, golden_calibration(Json::object()));
    FAIL() << "every block went";
  } catch (const Error& e) {
    EXPECT_EQ(e.field(), "stages[0].params.blocks");
    EXPECT_NE(e.hint().find("At most 3"), std::string::npos);
  }
}

Json flap_params(double ratio) {
  return {{"ratio", ratio}, {"metric", "WIFV"}, {"structure", "AL-AM"},     {"bias", true},
          {"min_keep", 1},  {"multiple", 1},    {"square_attention", true}, {"attention_ratio", -1.0}};
}

Calibration random_calibration(std::int64_t sequences = 8) {
  at::manual_seed(21);
  return {at::randint(64, {sequences, 16}, at::kLong), {}, Propagate::kDense};
}

at::Tensor output(const Model& model, const Calibration& calibration) {
  return model.forward(calibration.ids);
}

TEST(Structured, AtRatioZeroTheModelIsAsItWas) {
  for (const auto& family : random_family::all())
    for (const char* method : {"flap", "wanda-sp", "magnitude-sp"}) {
      SCOPED_TRACE(std::string(family.name) + " " + method);
      const auto model = family.make();
      const auto calibration = random_calibration();
      const at::Tensor before = output(*model, calibration);
      const Json config = model->config();
      const Json report = run(*model, method, flap_params(0), calibration);
      EXPECT_EQ(report.at("weights_removed"), 0);
      EXPECT_TRUE(at::equal(output(*model, calibration), before));
      EXPECT_EQ(model->config(), config);
    }
}

// Up to half a KV head: of the model where the list is one, else of each block.
TEST(Structured, RemovesTheShareThatIsAskedForFromEveryFamily) {
  for (const auto& family : random_family::all())
    for (const char* method : {"flap", "wanda-sp", "magnitude-sp"}) {
      SCOPED_TRACE(std::string(family.name) + " " + method);
      const auto model = family.make();
      const auto weights = [&] {
        std::int64_t sum = 0;
        for (const Layer* layer : random_family::linear_layers(*model))
          sum += layer->weight().rows() * layer->weight().columns();
        return sum;
      };
      const std::int64_t before = weights();
      const std::int64_t head = model->weights_per_group(model->coupled_groups().front());
      const Json report = run(*model, method, flap_params(0.3), random_calibration());
      const std::int64_t after = weights();
      EXPECT_EQ(report.at("weights_removed").get<std::int64_t>(), before - after);
      const double half_heads = 0.5 * static_cast<double>(head) * (method == std::string("flap") ? 1 : 3);
      EXPECT_NEAR(static_cast<double>(before - after), 0.3 * static_cast<double>(before), half_heads);
    }
}

TEST(Flap, RefusesAShareOfTheAttentionWhereItHasNoneOfItsOwn) {
  for (const auto& [structure, refused] : {std::pair{"UL-UM", true}, {"AL-AM", true}, {"AL-MM", false}}) {
    Json params = flap_params(0.3);
    params["structure"] = structure;
    params["attention_ratio"] = 0.1;
    std::string field;
    try {
      make_method("flap", Params(params, "params"));
    } catch (const Error& error) {
      field = error.field();
    }
    EXPECT_EQ(field, refused ? "params.attention_ratio" : "") << structure;
  }
}

// A channel of an MLP that is constant over the calibration set: its gate and up rows see nothing of the
// input but their biases.
TEST(Flap, AConstantChannelThatGoesLeavesTheOutputsAsTheyWere) {
  const auto model = random_family::llama(random_family::llama_config(), true);
  const std::vector<std::int64_t> constant{3, 17, 18, 30};
  for (std::size_t block = 0; block < 3; ++block)
    for (const char* name : {"gate_proj", "up_proj"}) {
      Layer* const layer = model->find_layer("model.layers." + std::to_string(block) + ".mlp." + name);
      layer->set_weight(
          dense_rep(layer->weight().decode(at::kFloat).index_fill(0, at::tensor(constant, at::kLong), 0)));
      layer->set_bias(layer->bias().abs() + 0.5);
    }
  const auto calibration = random_calibration();
  const at::Tensor before = output(*model, calibration);
  const double attention = 2 * 48 + 2 * 16, mlp = 3 * 40;  // weights of a block, in rows of the hidden width
  Json params = flap_params(12 * 3 / (3 * (attention + mlp)));
  params["structure"] = "UL-UM";
  const Json report = run(*model, "flap", params, calibration);
  for (std::size_t block = 0; block < 3; ++block)
    EXPECT_EQ(report.at("layers")[2 * block + 1].at("channels"), 36) << report.dump();
  EXPECT_LT((output(*model, calibration) - before).abs().max().item<double>(), 1e-5);
}

TEST(Flap, CompensationLowersTheErrorOfTheOutputs) {
  const auto calibration = random_calibration(32);
  const auto error = [&](bool bias) {
    const auto model = random_family::llama(random_family::llama_config(), true);
    const at::Tensor before = output(*model, calibration);
    Json params = flap_params(0.3);
    params["bias"] = bias;
    run(*model, "flap", params, calibration);
    return (output(*model, calibration) - before).square().mean().item<double>();
  };
  EXPECT_LT(error(true), error(false));
}

TEST(Structured, ThatTargetsAPartOfWhatIsCutTogetherIsNamed) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  auto targets = random_family::linear_layers(*model);
  targets.erase(model->find_layer("model.layers.1.self_attn.k_proj"));
  for (const char* method : {"flap", "wanda-sp", "magnitude-sp"}) {
    try {
      make_method(method, Params(flap_params(0.2), "stages[0].params"))->check_model(*model, targets);
      FAIL() << method;
    } catch (const Error& e) {
      EXPECT_EQ(e.reason(), "PARTLY_TARGETED");
      EXPECT_EQ(e.field(), "model.layers.1.self_attn.k_proj");
    }
  }
}

TEST(Structured, LeavesAloneWhatIsNotTargeted) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  auto targets = random_family::linear_layers(*model);
  std::erase_if(targets, [](const Layer* l) { return l->name().find("layers.1.mlp") == std::string::npos; });
  NoProgress quiet;
  Snapshot none;
  const auto calibration = random_calibration();
  const auto method = make_method("flap", Params(flap_params(0.5), "p"));
  method->run({*model, targets, calibration, quiet, none});
  EXPECT_EQ(model->config().at("intermediate_size_per_layer"), Json({40, 20, 40}));
  EXPECT_FALSE(model->config().contains("num_attention_heads_per_layer"));
}

TEST(Structured, ForecastsWhatItWillStore) {
  for (const char* method : {"flap", "wanda-sp", "magnitude-sp"}) {
    const auto model = random_family::llama(random_family::llama_config(), false);
    const auto targets = random_family::linear_layers(*model);
    const auto calibration = random_calibration();
    const auto stage = make_method(method, Params(flap_params(0.3), "p"));
    const auto estimate = estimate_stage(*model, *stage, targets, calibration);
    const auto weights = [&] {
      double sum = 0;
      for (const Layer* layer : random_family::linear_layers(*model))
        sum += static_cast<double>(layer->weight().rows() * layer->weight().columns());
      return sum;
    };
    const double before = weights();
    run(*model, method, flap_params(0.3), calibration);
    EXPECT_NEAR(estimate.weights_kept, weights() / before, 0.05) << method;
    std::uint64_t stored = 0;
    for (const Layer* layer : random_family::linear_layers(*model)) stored += layer->weight().stored_bytes();
    EXPECT_NEAR(static_cast<double>(estimate.stored_bytes), static_cast<double>(stored),
                0.05 * static_cast<double>(stored))
        << method;
  }
}

}  // namespace
}  // namespace wring
