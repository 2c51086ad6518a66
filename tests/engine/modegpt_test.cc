// MoDeGPT against its float64 version (make_modegpt_goldens.py), and heads that are narrower than they were.
#include <gtest/gtest.h>

#include <utility>

#include "common/error.h"
#include "engine/calibrate/estimate.h"
#include "engine/export/exporter.h"
#include "engine/methods/method.h"
#include "engine/model/load.h"
#include "engine/model/rotary_heads.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "tests/engine/golden_llama.h"

namespace wring {
namespace {

const Json& golden() {
  static const Json values = golden_llama::read("modegpt_goldens.json");
  return values;
}

Json params_with(const Json& changes) {
  Json params = golden().at("cases")[0].at("params");
  params.update(changes);
  return params;
}

Calibration calibration_of(const at::Tensor& ids, const Json& params) {
  return {ids, {}, params.at("propagate") == "dense" ? Propagate::kDense : Propagate::kCompressed};
}

Json run(Model& model, const Json& params, const at::Tensor& ids, Progress& progress, Snapshot& snapshot) {
  const auto targets = random_family::linear_layers(model);
  const auto stage = make_method("modegpt", Params(params, "stages[0].params"));
  stage->check_model(model, targets);
  const Calibration calibration = calibration_of(ids, params);
  return stage->run({model, targets, calibration, progress, snapshot});
}

Json run(Model& model, const Json& params, const at::Tensor& ids) {
  NoProgress quiet;
  Snapshot none;
  return run(model, params, ids, quiet, none);
}

at::Tensor random_ids(std::int64_t sequences = 32) {
  at::manual_seed(21);
  return at::randint(64, {sequences, 16}, at::kLong);
}

double largest(const at::Tensor& difference) {
  return difference.abs().max().item<double>();
}

std::int64_t weights_of(Model& model) {
  std::int64_t sum = 0;
  for (const Layer* layer : random_family::linear_layers(model))
    sum += layer->weight().rows() * layer->weight().columns();
  return sum;
}

std::vector<random_family::Named> decoders() {
  auto all = random_family::all();
  std::erase_if(all, [](const auto& family) { return std::string(family.name) == "bert"; });
  return all;
}

// Of the report the line about this layer.
Json line_of(const Json& report, const std::string& layer) {
  for (const Json& line : report.at("layers"))
    if (line.at("layer") == layer) return line;
  return {};
}

void expect_rows(const Model& narrowed, const Model& whole, const std::string& layer,
                 const at::Tensor& kept) {
  const auto weight = [&](const Model& model) {
    for (const Layer* l : model.layers())
      if (l->name() == layer) return l->weight().decode(at::kFloat);
    return at::Tensor();
  };
  EXPECT_TRUE(at::equal(weight(narrowed), weight(whole).index_select(0, kept))) << layer;
}

TEST(Modegpt, EqualsItsFloat64Version) {
  ASSERT_EQ(golden().at("cases").size(), 10u);
  const auto whole = golden_llama::model(golden());
  const at::Tensor ids = golden_llama::ids(golden());
  const auto hidden = golden().at("config").at("hidden_size").get<std::int64_t>();
  for (const Json& test : golden().at("cases")) {
    SCOPED_TRACE(test.at("params").dump());
    const auto model = golden_llama::model(golden());
    const Json report = run(*model, test.at("params"), ids);
    for (std::size_t i = 0; i < test.at("blocks").size(); ++i) {
      SCOPED_TRACE(i);
      const Json& block = test.at("blocks")[i];
      const std::string name = "model.layers." + std::to_string(i) + ".";
      const RotaryHeads heads = rotary_heads(*model, i);
      EXPECT_EQ(heads.query_width, block.at("query_width"));
      EXPECT_EQ(heads.value_width, block.at("value_width"));
      EXPECT_EQ(model->find_layer(name + "mlp.down_proj")->weight().columns(), block.at("ffn"));
      if (block.contains("channels")) {
        const at::Tensor kept = at::tensor(block.at("channels").get<std::vector<std::int64_t>>(), at::kLong);
        expect_rows(*model, *whole, name + "mlp.gate_proj", kept);
        expect_rows(*model, *whole, name + "mlp.up_proj", kept);
        EXPECT_NEAR(line_of(report, name + "mlp.down_proj").at("error").get<double>(), block.at("mlp_error"),
                    1e-4);
      }
      if (block.contains("pairs")) {
        const at::Tensor pairs = model->find_parameter(name + "self_attn.rope_pairs")->value;
        for (std::int64_t head = 0; head < heads.kv_heads; ++head)
          EXPECT_EQ(
              Json(std::vector<std::int64_t>(pairs[head].const_data_ptr<std::int64_t>(),
                                             pairs[head].const_data_ptr<std::int64_t>() + pairs.size(1))),
              block.at("pairs")[static_cast<std::size_t>(head)]);
      }
      if (block.contains("values_error")) {
        EXPECT_NEAR(line_of(report, name + "self_attn.o_proj").at("error").get<double>(),
                    block.at("values_error"), 1e-5);
      }
      if (test.at("params").at("allocation") == "influence" && !report.at("layers").empty()) {
        EXPECT_NEAR(line_of(report, report.at("layers")[0].at("layer")).at("influence").get<double>(),
                    test.at("influence")[0].get<double>(), 1e-5);
      }
    }
    at::Tensor outputs = model->embed(ids.narrow(0, 0, 1), at::kFloat);
    for (std::size_t i = 0; i < model->block_count(); ++i) outputs = model->run_block(i, outputs, {});
    const at::Tensor expected = golden_llama::numbers(test.at("outputs")).reshape({1, -1, hidden});
    EXPECT_LT(largest(outputs - expected), 2e-3 * largest(expected));
  }
}

TEST(Modegpt, AtRatioZeroTheModelIsAsItWas) {
  for (const auto& family : decoders()) {
    SCOPED_TRACE(family.name);
    const auto model = family.make();
    const at::Tensor before = model->forward(random_ids(2));
    const Json config = model->config();
    EXPECT_EQ(run(*model, params_with({{"ratio", 0}}), random_ids()).at("weights_removed"), 0);
    EXPECT_TRUE(at::equal(model->forward(random_ids(2)), before));
    EXPECT_EQ(model->config(), config);
  }
}

// To half a channel of the FFN, whatever the heads' widths were rounded to.
TEST(Modegpt, RemovesTheShareThatIsAskedFor) {
  for (const auto& family : decoders())
    for (const double ratio : {0.2, 0.45}) {
      SCOPED_TRACE(family.name);
      const auto model = family.make();
      const auto before = weights_of(*model);
      const Json report = run(*model, params_with({{"ratio", ratio}, {"temperature", 1}}), random_ids());
      const auto removed = before - weights_of(*model);
      EXPECT_EQ(report.at("weights_removed").get<std::int64_t>(), removed);
      EXPECT_NEAR(static_cast<double>(removed), ratio * static_cast<double>(before), 1.5 * 48);
    }
}

TEST(Modegpt, UniformlyEveryBlockGetsTheSameShapeInTheChosenMultiples) {
  const auto model = random_family::llama(random_family::llama_config(), true);
  run(*model, params_with({{"ratio", 0.4}, {"allocation", "uniform"}, {"multiple", 8}, {"head_multiple", 4}}),
      random_ids());
  EXPECT_EQ(model->config().at("intermediate_size"), 32);
  EXPECT_FALSE(model->config().contains("intermediate_size_per_layer"));
  EXPECT_EQ(model->config().at("qk_head_dim_per_layer"), Json({4, 4, 4}));
  EXPECT_EQ(model->config().at("v_head_dim_per_layer"), Json({4, 4, 4}));
  EXPECT_EQ(model->config().at("head_dim"), 8);
}

TEST(Modegpt, ReachesWhatItPromisesWhereNothingOfAModuleIsLost) {
  // Values of rank 4 behind 8 channels, and MLP channels that are a tenth of others.
  const auto model = random_family::llama(random_family::llama_config(), false);
  for (Layer* layer : model->layers()) {
    const at::Tensor weight = layer->weight().decode(at::kFloat);
    if (layer->name().ends_with("v_proj")) {
      at::Tensor heads = weight.reshape({2, 8, 48}).clone();
      heads.narrow(1, 4, 4).copy_(at::matmul(at::randn({2, 4, 4}), heads.narrow(1, 0, 4)));
      layer->set_weight(dense_rep(heads.reshape({16, 48})));
    } else if (layer->name().ends_with("gate_proj")) {
      layer->set_weight(dense_rep(at::cat({weight.narrow(0, 0, 20), weight.narrow(0, 0, 20)})));
    } else if (layer->name().ends_with("up_proj")) {
      layer->set_weight(dense_rep(at::cat({weight.narrow(0, 0, 20), 0.1 * weight.narrow(0, 0, 20)})));
    }
  }
  const at::Tensor before = model->forward(random_ids(2));
  run(*model,
      params_with(
          {{"ratio", 0.5}, {"allocation", "uniform"}, {"modules", "mlp-vo"}, {"leverage_ridge", 1e-6}}),
      random_ids());
  EXPECT_EQ(model->config().at("v_head_dim_per_layer"), Json({4, 4, 4}));
  EXPECT_EQ(model->config().at("intermediate_size"), 20);
  EXPECT_LT(largest(model->forward(random_ids(2)) - before), 2e-3 * largest(before));
}

TEST(Modegpt, RefittingTheDownProjectionLowersTheErrorOfTheOutputs) {
  const auto error = [&](bool refit) {
    const auto model = random_family::llama(random_family::llama_config(), true);
    const at::Tensor before = model->forward(random_ids());
    run(*model, params_with({{"refit", refit}, {"modules", "mlp"}}), random_ids());
    return (model->forward(random_ids()) - before).square().mean().item<double>();
  };
  EXPECT_LT(error(true), error(false));
}

TEST(Modegpt, RefusesWhatItCannotDoAndNamesTheParameter) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  const auto refused = [&](const Json& changes, const char* field) {
    try {
      make_method("modegpt", Params(params_with(changes), "p"))
          ->check_model(*model, random_family::linear_layers(*model));
      ADD_FAILURE() << changes;
    } catch (const Error& e) {
      EXPECT_EQ(e.field(), field);
      EXPECT_NE(e.hint(), "");
    }
  };
  refused({{"ratio", 0.6}, {"most", 0.5}}, "p.ratio");
  refused({{"head_multiple", 3}}, "p.head_multiple");
}

TEST(Modegpt, LeavesAloneWhatIsNotTargeted) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  auto targets = random_family::linear_layers(*model);
  std::erase_if(targets, [](const Layer* l) { return l->name().find("layers.1.") == std::string::npos; });
  NoProgress quiet;
  Snapshot none;
  const Json params = params_with({{"ratio", 0.5}});
  const Calibration calibration = calibration_of(random_ids(), params);
  make_method("modegpt", Params(params, "p"))->run({*model, targets, calibration, quiet, none});
  EXPECT_EQ(model->config().at("v_head_dim_per_layer"), Json({8, 4, 8}));
  EXPECT_EQ(model->config().at("intermediate_size_per_layer"), Json({40, 20, 40}));
}

// The influence of all blocks is measured before the first is narrowed, and once.
TEST(Modegpt, KilledAfterItMeasuredTheBlocksInfluenceGoesOnWithIt) {
  struct Counter final : Progress {
    explicit Counter(std::uint64_t kill_at) : kill_at(kill_at) {}
    void report(std::uint64_t, std::uint64_t, const std::string&, const std::string& metric,
                double) override {
      measured += metric == "influence";
      if (metric != "influence" && ++walked == kill_at)
        throw Error(ErrorCode::kCancelled, "CANCELLED", "killed");
    }
    std::uint64_t kill_at, measured = 0, walked = 0;
  };
  const auto make = [] { return random_family::llama(random_family::llama_config(), true); };
  const auto whole = make(), resumed = make(), killed = make();
  run(*whole, params_with(Json::object()), random_ids());
  const TempDir folder;
  Counter first(2), second(1000);
  {
    Snapshot snapshot(folder.path());
    EXPECT_THROW(run(*killed, params_with(Json::object()), random_ids(), first, snapshot), Error);
    EXPECT_EQ(first.measured, 3u);
  }
  Snapshot snapshot(folder.path());
  run(*resumed, params_with(Json::object()), random_ids(), second, snapshot);
  EXPECT_EQ(second.measured, 0u);
  EXPECT_EQ(second.walked, 3u);  // blocks 1 and 2, and the end
  EXPECT_TRUE(at::equal(resumed->forward(random_ids(2)), whole->forward(random_ids(2))));
}

TEST(Modegpt, ForecastsWhatItWillStore) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  const auto targets = random_family::linear_layers(*model);
  const Json params = params_with(Json::object());
  const auto before = static_cast<double>(weights_of(*model));
  const auto estimate = estimate_stage(*model, *make_method("modegpt", Params(params, "p")), targets,
                                       calibration_of(random_ids(), params));
  run(*model, params, random_ids());
  EXPECT_NEAR(estimate.weights_kept, static_cast<double>(weights_of(*model)) / before, 0.05);
}

// Heads of every decoder that have lost pairs and values which were zero: nothing has changed.
class NarrowHeads : public testing::TestWithParam<std::size_t> {
 protected:
  std::unique_ptr<Model> make() const { return decoders()[GetParam()].make(); }

  // Clears rows of q, k and v, with their biases, and cuts `narrowed` down to the others.
  static void clear_and_cut(Model& cleared, Model& narrowed) {
    for (const std::size_t block : {0, 2}) {
      const RotaryHeads heads = rotary_heads(narrowed, block);
      const std::int64_t n = heads.query_width / 4, width = heads.value_width / 2 - 1;
      at::Tensor pairs = at::empty({heads.kv_heads, n}, at::kLong);
      for (std::int64_t i = 0; i < heads.kv_heads; ++i)
        pairs[i].copy_(std::get<0>(at::sort(at::randperm(heads.query_width / 2).narrow(0, 0, n))));
      const std::string name = "model.layers." + std::to_string(block) + ".self_attn.";
      const auto clear = [&](const char* part, const at::Tensor& kept) {
        Layer* const layer = cleared.find_layer(name + part);
        const at::Tensor stay = at::zeros({layer->weight().rows(), 1}).index_fill_(0, kept, 1);
        layer->set_weight(dense_rep(layer->weight().decode(at::kFloat) * stay));
        if (layer->bias().defined()) layer->set_bias(layer->bias() * stay.reshape({-1}));
      };
      const auto rows = [](const at::Tensor& kept, std::int64_t width) {  // [heads, n] -> indices
        return (kept + width * at::arange(kept.size(0), at::kLong).unsqueeze(1)).reshape({-1});
      };
      const at::Tensor both = at::cat({pairs, pairs + heads.query_width / 2}, 1),
                       some = at::arange(width, at::kLong) + 1;
      clear("k_proj", rows(both, heads.query_width));
      clear("q_proj", rows(both.repeat_interleave(heads.heads / heads.kv_heads, 0), heads.query_width));
      const at::Tensor values = rows(some.expand({heads.kv_heads, -1}), heads.value_width),
                       outputs = rows(some.expand({heads.heads, -1}), heads.value_width);
      clear("v_proj", values);
      const at::Tensor v = heads.v->weight().decode(at::kFloat), o = heads.o->weight().decode(at::kFloat);
      const at::Tensor bias = heads.v->bias();
      replace_values(narrowed, block,
                     {dense_rep(v.index_select(0, values)), dense_rep(o.index_select(1, outputs)),
                      bias.defined() ? bias.index_select(0, values) : bias});
      keep_rotary_pairs(narrowed, block, pairs);
    }
  }
};

TEST_P(NarrowHeads, ThatLostWhatWasZeroGiveWhatTheyGave) {
  const auto cleared = make(), narrowed = make();
  const at::Tensor before = cleared->forward(random_ids(2));
  clear_and_cut(*cleared, *narrowed);
  const at::Tensor expected = cleared->forward(random_ids(2));
  EXPECT_GT(largest(expected - before), 1e-3);
  EXPECT_LT(largest(narrowed->forward(random_ids(2)) - expected), 1e-4);
  EXPECT_LT(narrowed->parameter_count(), cleared->parameter_count());
}

TEST_P(NarrowHeads, DecodeWithACacheAsWithout) {
  const auto cleared = make(), narrowed = make();
  clear_and_cut(*cleared, *narrowed);
  const at::Tensor tokens = random_ids(1), whole = narrowed->forward(tokens);
  KvCache cache;
  for (std::int64_t i = 0; i < tokens.size(1); ++i) {
    const at::Tensor step = narrowed->forward(tokens.narrow(1, i, 1), {{}, &cache});
    cache.advance(1);
    EXPECT_LT(largest(step.select(1, 0) - whole.select(1, i)), 1e-4) << i;
  }
  KvCache of_whole_heads;
  (void)cleared->forward(tokens, {{}, &of_whole_heads});
  EXPECT_LT(cache.bytes(), of_whole_heads.bytes());
}

TEST_P(NarrowHeads, CanLoseKvHeadsAndMorePairsAndAreWrittenAndReadBack) {
  const auto cleared = make(), narrowed = make();
  clear_and_cut(*cleared, *narrowed);
  const at::Tensor kept = at::ones({1}, at::kLong);
  cleared->keep_groups(cleared->coupled_groups()[0], kept);
  narrowed->keep_groups(narrowed->coupled_groups()[0], kept);
  EXPECT_LT(largest(narrowed->forward(random_ids(2)) - cleared->forward(random_ids(2))), 1e-4);
  keep_rotary_pairs(*narrowed, 0, at::zeros({1, 1}, at::kLong));
  EXPECT_EQ(rotary_heads(*narrowed, 0).query_width, 2);
  const TempDir folder;
  save_model(*narrowed, FileTree::on_disk(folder.path()), Json::array(), folder.path() / "cut",
             Durability::kProcess);
  const auto read = load_model(FileTree::on_disk(folder.path() / "cut"));
  EXPECT_TRUE(at::equal(read->forward(random_ids(2)), narrowed->forward(random_ids(2))));
  EXPECT_EQ(read->config(), narrowed->config());
  EXPECT_EQ(read->parameter_count(), narrowed->parameter_count());
  narrowed->keep_groups(narrowed->coupled_groups()[0], at::empty({0}, at::kLong));
  EXPECT_EQ(narrowed->find_parameter("model.layers.0.self_attn.rope_pairs"), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Families, NarrowHeads, testing::Range<std::size_t>(0, decoders().size()));

TEST(NarrowHeads, OfDamagedFilesAreRefused) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  keep_rotary_pairs(*model, 1, at::tensor({0, 2, 1, 3}, at::kLong).reshape({2, 2}));
  const TempDir folder;
  const auto reason = [&](const at::Tensor& pairs, const Json& widths) -> std::string {
    model->find_parameter("model.layers.1.self_attn.rope_pairs")->value = pairs;
    save_model(*model, FileTree::on_disk(folder.path()), Json::array(), folder.path() / "cut",
               Durability::kProcess);
    Json config = model->config();
    config["qk_head_dim_per_layer"] = widths;
    write_file_atomic(folder.path() / "cut" / "config.json", config.dump(), Durability::kProcess);
    try {
      load_model(FileTree::on_disk(folder.path() / "cut"));
      return "";
    } catch (const Error& e) {
      return e.reason();
    }
  };
  const auto pairs = [](std::vector<std::int64_t> values) {
    return at::tensor(values, at::kLong).reshape({2, -1});
  };
  const Json right{8, 4, 8};
  EXPECT_EQ(reason(pairs({0, 2, 1, 3}), right), "");
  EXPECT_EQ(reason(pairs({0, 4, 1, 3}), right), "BAD_ROPE_PAIRS");  // of four
  EXPECT_EQ(reason(pairs({0, 2, -1, 3}), right), "BAD_ROPE_PAIRS");
  EXPECT_EQ(reason(pairs({0, 2, 3, 3}), right), "BAD_ROPE_PAIRS");  // twice
  EXPECT_EQ(reason(pairs({0, 1, 2, 1, 2, 3}), right), "BAD_ROPE_PAIRS");
  EXPECT_EQ(reason(pairs({0, 2, 1, 3}).to(at::kFloat), right), "BAD_ROPE_PAIRS");
  EXPECT_EQ(reason(pairs({0, 2, 1, 3}), {8, 3, 8}), "BAD_CONFIG");
  EXPECT_EQ(reason(pairs({0, 2, 1, 3}), {8, 10, 8}), "BAD_CONFIG");
  EXPECT_EQ(reason(pairs({0, 2, 1, 3}), {8, 4}), "BAD_CONFIG");
}

TEST(NarrowHeads, AreNoOtherToolsAndTheFieldSaysSo) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  keep_rotary_pairs(*model, 1, at::tensor({0, 2, 1, 3}, at::kLong).reshape({2, 2}));
  const TempDir folder;
  std::filesystem::create_directories(folder.path() / "out");
  const FileTree source = FileTree::on_disk(folder.path());
  Json params{{"dtype", "float32"}, {"shard_bytes", 1'000'000'000},
              {"weights", "dense"}, {"accuracy_level", 0},
              {"inline_bytes", 0},  {"type", "f32"},
              {"products", "exact"}};
  const std::pair<const char*, bool> formats[] = {
      {"huggingface", false}, {"huggingface", true}, {"onnx", false}};
  for (const auto& [format, pad] : formats) {
    params["pad"] = pad;
    Claims claims;
    try {
      find_exporter(format)({*model, source, Params(params, "to.params"), "model", folder.path() / "out"},
                            claims);
      FAIL() << format << " was written";
    } catch (const Error& e) {
      EXPECT_EQ(e.reason(), "NOT_EXPRESSIBLE") << format << e.what();
      EXPECT_EQ(e.field(), "config.json.qk_head_dim_per_layer");
    }
  }
}

TEST(NarrowHeads, OfAnEncoderAreRefused) {
  const auto model = random_family::bert();
  EXPECT_THROW(rotary_heads(*model, 0), Error);
}

}  // namespace
}  // namespace wring
