// Low-rank factors and what stores them: the minimum that they promise, their bytes, and stages that add
// them.
#include <gtest/gtest.h>

#include "common/error.h"
#include "engine/calibrate/block_stream.h"
#include "engine/calibrate/estimate.h"
#include "engine/export/exporter.h"
#include "engine/methods/lowrank/factors.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

Json params_of(std::int64_t rank, const char* dtype = "float32", double bits = 0) {
  return {{"rank", rank}, {"bits", bits}, {"factor_dtype", dtype}, {"weighting", "eigenspace"}};
}

Layer layer_of(std::shared_ptr<const WeightRep> weight) {
  return {"blocks.0.up", Layer::Operator::kLinear, std::move(weight), {}, {"out", "in"}, "tap"};
}

std::shared_ptr<const WeightRep> rounded(const at::Tensor& weight) {
  const at::Tensor codes = (weight * 4 + 8).round().clamp(0, 15).to(at::kByte);
  return packed_int_rep({4, weight.size(1), codes, at::full({weight.size(0), 1}, 0.25), {}});
}

FactorSpec spec_of(const Json& params) {
  return FactorSpec::from(Params(params, "stages[1].params"));
}

double frobenius(const at::Tensor& matrix) {
  return matrix.to(at::kDouble).square().sum().sqrt().item<double>();
}

// The error that is left is the part of D X beyond its first `rank` singular values (Eckart and Young).
TEST(BestFactors, LeaveTheTailOfTheSingularValuesOfTheOutputsError) {
  at::manual_seed(1);
  const auto options = at::TensorOptions().dtype(at::kDouble);
  for (const auto& [out, in] : {std::pair<std::int64_t, std::int64_t>{20, 50}, {30, 30}, {50, 20}})
    for (const std::int64_t rows : {200, 12}) {  // 12: fewer than features, so that the moment is singular
      const at::Tensor d = at::randn({out, in}, options),
                       x = at::randn({rows, in}, options) * at::logspace(-3, 1, in, 10.0, options);
      const at::Tensor singular = std::get<1>(at::linalg_svd(at::mm(d, x.t()), false));
      for (const std::int64_t rank : {1, 7, 12}) {
        const auto [a, b] = best_factors(d, at::mm(x.t(), x) * 3.5, rank);
        const double left = frobenius(at::mm(d - at::mm(b, a), x.t()));
        EXPECT_NEAR(left, frobenius(singular.narrow(0, rank, singular.size(0) - rank)),
                    1e-6 * frobenius(singular))
            << out << " x " << in << ", " << rows << " rows, rank " << rank;
      }
    }
}

TEST(BestFactors, OfFullRankAreTheMatrixAndShareItsNorms) {
  at::manual_seed(2);
  for (const auto& [out, in] : {std::pair<std::int64_t, std::int64_t>{9, 14}, {14, 9}}) {
    const at::Tensor d = at::randn({out, in}, at::kDouble);
    const auto [a, b] = best_factors(d, at::rand({in}, at::kDouble) + 0.1, 9);
    EXPECT_LT(frobenius(at::mm(b, a) - d), 1e-10);
    EXPECT_LT(frobenius(a.square().sum(1) - b.square().sum(0)), 1e-10);
  }
}

TEST(FactorSpec, TakesARankOrTheBitsOfItsFactors) {
  const Layer layer = layer_of(dense_rep(at::zeros({576, 576})));
  const auto rank_of = [&](const Json& params) { return spec_of(params).rank_of(layer.weight()); };
  EXPECT_EQ(rank_of(params_of(32)), 32);
  EXPECT_EQ(rank_of(params_of(32, "float16", 0.89)),
            16);  // 16 x 1152 numbers of 16 bits for 576 x 576 weights
  EXPECT_EQ(rank_of(params_of(32, "float32", 1.78)), 16);
  EXPECT_EQ(rank_of(params_of(32, "float16", 32)), 576);
}

TEST(FactorSpec, NamesTheParameterOfARankThatALayerDoesNotHave) {
  const Layer layer = layer_of(dense_rep(at::zeros({192, 576})));
  EXPECT_NO_THROW(spec_of(params_of(192)).check(layer));
  const auto field = [&](const Json& params) {
    try {
      spec_of(params).check(layer);
    } catch (const Error& e) {
      EXPECT_EQ(e.reason(), "RANK");
      EXPECT_NE(e.message().find("blocks.0.up"), std::string::npos);
      return e.field();
    }
    return std::string();
  };
  EXPECT_EQ(field(params_of(193)), "stages[1].params.rank");
  EXPECT_EQ(field(params_of(32, "float16", 0.05)), "stages[1].params.bits");
}

TEST(FactorSpec, SaysWhichDtypeHoldsFactorsBeyondFloat16) {
  const Factors factors{at::full({1, 4}, 1e6), at::ones({3, 1})};
  EXPECT_NO_THROW(spec_of(params_of(1, "bfloat16")).rep(factors));
  try {
    spec_of(params_of(1, "float16")).rep(factors);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "FACTOR_RANGE");
    EXPECT_NE(e.hint().find("bfloat16"), std::string::npos);
  }
}

TEST(Compensation, KeepsTheBaseInItsStorageAndAWeightThatLostNothingAsItIs) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({24, 32});
  const auto base = rounded(weight), same = rounded(weight), reference = dense_rep(weight);
  const auto spec = spec_of(params_of(4, "float16"));
  const Layer layer = layer_of(base);
  Json report = Json::object();
  const auto result = compensated({layer, nullptr, reference.get()}, {}, spec, report);
  EXPECT_EQ(result->format(), "sum");
  EXPECT_TRUE(result->tensors()[0].tensor.is_same(base->tensors()[0].tensor));
  EXPECT_EQ(result->stored_bytes(), base->stored_bytes() + 2 * 4 * (24 + 32));
  EXPECT_EQ(compensated({layer, nullptr, same.get()}, {}, spec, report), base);
  EXPECT_EQ(report, Json({{"rank", 0}}));
}

// Weights of `model` rounded to 4 bits a row.
void round_weights(Model& model, const std::set<const Layer*>& targets) {
  for (Layer* layer : model.layers())
    if (targets.contains(layer)) layer->set_weight(rounded(layer->weight().decode(at::kFloat)));
}

struct Ran {
  std::unique_ptr<Model> model;
  Json report;
};

Ran run_eora(Propagate propagate, Model& reference) {
  Ran ran{small_model::make(), {}};
  const auto targets = small_model::linear_layers(*ran.model, false);
  round_weights(*ran.model, targets);
  at::manual_seed(11);
  const Calibration calibration{at::randint(small_model::kVocabulary, {6, 48}, at::kLong), {}, propagate};
  NoProgress quiet;
  Snapshot none;
  const auto method = make_method("eora", Params(params_of(4), "p"));
  ran.report = method->run({*ran.model, targets, calibration, quiet, none, &reference});
  return ran;
}

TEST(Eora, LowersTheErrorOfEveryLayerThatItReports) {
  const auto reference = small_model::make();
  for (const auto propagate : {Propagate::kReference, Propagate::kCompressed, Propagate::kDense}) {
    const auto layers = run_eora(propagate, *reference).report.at("layers");
    ASSERT_EQ(layers.size(), 7u * small_model::kBlocks);
    for (const auto& layer : layers)
      EXPECT_LT(layer.at("error").get<double>(), 0.8 * layer.at("error_before").get<double>());
  }
}

// The first block's inputs are the embedding's, whatever was compressed: its factors must be those of
// statistics that the reference model itself gives.
TEST(Eora, PropagatedByTheReferenceSeesItsActivationsWithinABlock) {
  const auto reference = small_model::make();
  at::manual_seed(11);
  const Calibration calibration{at::randint(small_model::kVocabulary, {6, 48}, at::kLong), {}};
  const auto layers = small_model::linear_layers(*reference, false);
  TapObserver observer(layers, {Statistic::kHessian});
  BlockStream(*reference, calibration).observe(0, observer);
  const std::string name = "model.layers.0.mlp.down_proj";
  const Layer& original = *reference->find_layer(name);
  const at::Tensor weight = original.weight().decode(at::kFloat), base = rounded(weight)->decode(at::kFloat);
  const auto [a, b] = best_factors(weight - base, observer.of(original)->hessian(), 4);
  const at::Tensor expected = base + at::mm(b, a).to(at::kFloat);
  const auto result = [&](Propagate propagate) {
    return run_eora(propagate, *reference).model->find_layer(name)->weight().decode(at::kFloat);
  };
  EXPECT_LT(frobenius(result(Propagate::kReference) - expected), 1e-4 * frobenius(expected - base));
  EXPECT_GT(frobenius(result(Propagate::kCompressed) - expected), 1e-3 * frobenius(expected - base));
}

TEST(Eora, LeavesTheReferenceAndTheBaseAsTheyWere) {
  const auto reference = small_model::make(), untouched = small_model::make();
  const auto ran = run_eora(Propagate::kReference, *reference);
  for (const Layer* layer : small_model::linear_layers(*ran.model, false)) {
    const Layer& original = *untouched->find_layer(layer->name());
    EXPECT_TRUE(at::equal(reference->find_layer(layer->name())->weight().decode(at::kFloat),
                          original.weight().decode(at::kFloat)));
    EXPECT_TRUE(at::equal(layer->weight().tensors()[0].tensor,
                          rounded(original.weight().decode(at::kFloat))->tensors()[0].tensor));
  }
}

std::string mismatch(Model& model, Model& reference) {
  const auto targets = small_model::linear_layers(model, false);
  const Calibration calibration{at::zeros({1, 8}, at::kLong)};
  NoProgress quiet;
  Snapshot none;
  try {
    make_method("eora", Params(params_of(4), "p"))
        ->run({model, targets, calibration, quiet, none, &reference});
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "REFERENCE_MISMATCH");
    EXPECT_EQ(e.field(), "reference");
    return e.message();
  }
  return "";
}

TEST(Reference, OfAnotherShapeOrScaleIsNamedBeforeAnythingRuns) {
  const auto reference = small_model::make(), model = small_model::make();
  EXPECT_EQ(mismatch(*model, *reference), "");
  Parameter& gain = reference->parameters().front();
  gain.value = gain.value * 2;
  EXPECT_EQ(mismatch(*model, *reference), gain.name + " has other values in the reference model");
  const std::string name = "model.layers.2.mlp.down_proj";
  Layer& cut = *reference->find_layer(name);
  cut =
      Layer(name, Layer::Operator::kLinear, dense_rep(at::zeros({32, 48})), {}, cut.axes(), cut.input_tap());
  EXPECT_EQ(mismatch(*model, *reference), name + " is [32, 64], in the reference model [32, 48]");
}

TEST(Estimate, OfACompensationIsWhatItAddsToTheWeights) {
  const auto model = small_model::make();
  const auto targets = small_model::linear_layers(*model, true);
  const Calibration calibration{at::zeros({2, 16}, at::kLong)};
  const auto method = make_method("eora", Params(params_of(4, "float16"), "p"));
  const auto estimate = estimate_stage(*model, *method, targets, calibration);
  std::uint64_t added = 0;
  for (const Layer* layer : targets)
    added += static_cast<std::uint64_t>(2 * 4 * (layer->weight().rows() + layer->weight().columns()));
  EXPECT_EQ(estimate.stored_bytes, added);
  EXPECT_TRUE(estimate.adds);
}

// The spec tells people what the code does.
TEST(Methods, NeedTheReferenceWhereTheirSpecSaysSo) {
  for (const MethodSpec* spec : Catalogue::embedded().methods()) {
    if (spec->takes == std::vector<std::string>{"graph"}) continue;
    const Json defaults = parse_recipe(spec->name).stages.at(0).params;
    const bool told = std::find(spec->needs.begin(), spec->needs.end(), "reference") != spec->needs.end();
    EXPECT_EQ(make_method(spec->name, Params(defaults, "p"))->needs_reference(), told) << spec->name;
  }
}

TEST(Exports, OfIntegersRefuseALowRankPartBesideThem) {
  const auto model = small_model::make();
  const auto targets = small_model::linear_layers(*model, false);
  round_weights(*model, targets);
  Layer& layer = *model->find_layer("model.layers.1.mlp.up_proj");
  layer.set_weight(sum_rep({layer.shared_weight(), low_rank_rep(at::ones({2, 32}), at::ones({64, 2}))}));
  for (const char* format : {"compressed-tensors", "gptq-checkpoint", "awq-checkpoint"}) {
    const Params params({{"dtype", "auto"}, {"checkpoint_format", "gptq"}}, "exports[0].params");
    const FileTree none;
    Claims claims;
    try {
      find_exporter(format)({*model, none, params, "model", {}}, claims);
      FAIL() << format;
    } catch (const Error& e) {
      EXPECT_EQ(e.reason(), "NOT_EXPRESSIBLE");
      EXPECT_EQ(e.field(), layer.name());
    }
  }
}

}  // namespace
}  // namespace wring
