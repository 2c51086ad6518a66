// The one-shot methods against textbook float64 versions (make_method_goldens.py), and what must hold at
// their edges.
#include "engine/methods/method.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/error.h"
#include "common/files.h"

namespace wring {
namespace {

at::Tensor matrix(const Json& values, std::int64_t rows, std::int64_t columns) {
  return at::tensor(values.get<std::vector<double>>(), at::kDouble).to(at::kFloat).reshape({rows, columns});
}

Layer linear_layer(const at::Tensor& weight) {
  return {"blocks.0.attention.q", Layer::Operator::kLinear, dense_rep(weight), {}, {"out", "in"}, "tap"};
}

Json grid_params(int bits, std::int64_t group_size, bool symmetric, const char* search = "minmax") {
  return {{"bits", bits},           {"group_size", group_size},
          {"symmetric", symmetric}, {"scale_dtype", "float16"},
          {"scale_search", search}, {"activation_order", false},
          {"damping", 0.01}};
}

Json sparse_params(const Json& pattern, std::int64_t block_size = 128) {
  return {{"pattern", pattern}, {"damping", 0.01}, {"block_size", block_size}, {"value_dtype", "source"}};
}

std::unique_ptr<LayerMethod> layer_method(const std::string& name, const Params& params) {
  auto method = make_method(name, params);
  auto* const by_layer = dynamic_cast<LayerMethod*>(method.get());
  if (by_layer) static_cast<void>(method.release());
  return std::unique_ptr<LayerMethod>(by_layer);
}

at::Tensor compressed(const char* method, const Json& params, const at::Tensor& weight, const Statistics* x,
                      Json* report = nullptr) {
  Json ignored = Json::object();
  const auto compress = layer_method(method, Params(params, "stages[0].params"));
  return compress->compress({linear_layer(weight), x}, report ? *report : ignored)->decode(at::kFloat);
}

// H = I up to its scale: inputs whose columns are orthonormal.
std::unique_ptr<Statistics> orthonormal(std::int64_t features) {
  auto x =
      std::make_unique<Statistics>(features, std::set{Statistic::kHessian, Statistic::kInputNorm}, at::kCPU);
  x->add(at::eye(features));
  return x;
}

std::unique_ptr<Statistics> gathered(const at::Tensor& inputs) {
  auto x = std::make_unique<Statistics>(inputs.size(1), std::set{Statistic::kHessian, Statistic::kInputNorm},
                                        at::kCPU);
  x->add(inputs);
  return x;
}

double output_error(const at::Tensor& inputs, const at::Tensor& weight, const at::Tensor& result) {
  return at::mm(inputs, (weight - result).t()).square().sum().item<double>();
}

TEST(Methods, EqualTheirTextbookVersionsOnSmallLayers) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "method_goldens.json";
  const Json golden = parse_json(read_file(path), "goldens");
  const auto rows = golden["rows"].get<std::int64_t>(), columns = golden["columns"].get<std::int64_t>();
  const at::Tensor weight = matrix(golden["weight"], rows, columns);
  const auto x = gathered(matrix(golden["inputs"], golden["tokens"].get<std::int64_t>(), columns));
  ASSERT_GT(golden["cases"].size(), 25u);
  for (const auto& test : golden["cases"]) {
    const auto method = test["method"].get<std::string>();
    SCOPED_TRACE(method + " " + test["params"].dump());
    const at::Tensor expected = matrix(test["values"], rows, columns);
    const at::Tensor result = compressed(method.c_str(), test["params"], weight, x.get());
    EXPECT_TRUE(at::equal(result == 0, expected == 0));
    EXPECT_LT((result - expected).abs().max().item<double>(), 1e-4);
  }
}

TEST(Compensation, EqualsTheTextbookVersionsOnSmallLayers) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "method_goldens.json";
  const Json golden = parse_json(read_file(path), "goldens");
  const auto rows = golden["rows"].get<std::int64_t>(), columns = golden["columns"].get<std::int64_t>();
  const auto reference = dense_rep(matrix(golden["weight"], rows, columns));
  Statistics x(columns, {Statistic::kHessian, Statistic::kInputMagnitude}, at::kCPU);
  x.add(matrix(golden["inputs"], golden["tokens"].get<std::int64_t>(), columns));
  ASSERT_EQ(golden["compensations"].size(), 18u);
  for (const auto& test : golden["compensations"]) {
    const auto method = test["method"].get<std::string>();
    SCOPED_TRACE(method + " " + test["params"].dump());
    const Layer layer = linear_layer(matrix(test["base"], rows, columns));
    Json report = Json::object();
    const auto result =
        layer_method(method, Params(test["params"], "p"))->compress({layer, &x, reference.get()}, report);
    const at::Tensor expected = matrix(test["values"], rows, columns);
    EXPECT_LT((result->decode(at::kFloat) - expected).abs().max().item<double>(), 1e-4);
    EXPECT_EQ(report.at("rank"), test["params"]["rank"]);
  }
}

TEST(Gptq, WithAnIdentityHessianIsRoundToNearest) {
  at::manual_seed(1);
  const at::Tensor weight = at::randn({33, 384});
  const auto x = orthonormal(384);
  for (const std::int64_t group : {32, 192, 384, -1})
    for (const bool order : {false, true})
      for (const char* search : {"minmax", "mse"}) {
        Json params = grid_params(4, group, false, search);
        params["activation_order"] = order;
        EXPECT_TRUE(at::equal(compressed("gptq", params, weight, x.get()),
                              compressed("rtn", params, weight, nullptr)))
            << group << order << search;
      }
}

TEST(Gptq, LeavesASmallerOutputErrorThanRoundToNearest) {
  at::manual_seed(2);
  const at::Tensor weight = at::randn({64, 256}),
                   inputs = at::mm(at::randn({512, 256}), at::randn({256, 256}));
  const auto x = gathered(inputs);
  for (const bool order : {false, true}) {
    Json params = grid_params(3, 64, true);
    params["activation_order"] = order;
    const double gptq = output_error(inputs, weight, compressed("gptq", params, weight, x.get()));
    const double rtn = output_error(inputs, weight, compressed("rtn", params, weight, nullptr));
    EXPECT_LT(gptq, 0.6 * rtn);
  }
}

// An asymmetric grid of few points far from zero would fill places in; the pattern must outlast it.
TEST(Gptq, KeepsTheZerosOfAPrunedWeight) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({40, 256}) + 0.5, keep = at::rand({40, 256}) > 0.5;
  const auto x = gathered(at::mm(at::randn({512, 256}), at::randn({256, 256})));
  const Layer layer("blocks.0.attention.q", Layer::Operator::kLinear, masked_rep(weight, keep), {},
                    {"out", "in"}, "tap");
  for (const std::int64_t group : {64, 256})
    for (const bool order : {false, true}) {
      Json params = grid_params(3, group, false), report = Json::object();
      params["activation_order"] = order;
      const auto gptq = layer_method("gptq", Params(params, "stages[0].params"));
      const at::Tensor result = gptq->compress({layer, x.get()}, report)->decode(at::kFloat);
      EXPECT_EQ(result.masked_select(~keep).count_nonzero().item<std::int64_t>(), 0) << group << order;
      EXPECT_GT(result.masked_select(keep).count_nonzero().item<std::int64_t>(), 3000);
    }
}

TEST(Fp8, PutsTheLargestOfEachRowOrTileOnTheLargestFloat) {
  at::manual_seed(4);
  const at::Tensor weight = at::randn({10, 12});
  for (const std::int64_t block : {-1, 0, 4}) {
    const at::Tensor result =
        compressed("fp8", {{"block", block}, {"scale_dtype", "float32"}}, weight, nullptr);
    // A float of four significant bits is at most 1/16 from its value, and less than 2^-10 of a scale of its
    // own.
    const at::Tensor scale = weight.abs().amax() / 448;
    EXPECT_TRUE(((result - weight).abs() <= weight.abs() / 16 + scale / 1024).all().item<bool>()) << block;
    const at::Tensor whole = block <= 0 ? weight : weight.slice(0, 0, 4).slice(1, 0, 4);
    const at::Tensor got = block <= 0 ? result : result.slice(0, 0, 4).slice(1, 0, 4);
    EXPECT_NEAR(got.abs().amax().item<double>(), whole.abs().amax().item<double>(), 1e-6);
    EXPECT_GT((result - weight).abs().max().item<double>(), 1e-3);
  }
  const at::Tensor exact = weight / (weight.abs().amax() / 448);  // on one scale: the nearest E4M3 of each
  EXPECT_LT((compressed("fp8", {{"block", 0}, {"scale_dtype", "float32"}}, weight, nullptr) /
                 weight.abs().amax() * 448 -
             exact.to(at::kFloat8_e4m3fn).to(at::kFloat))
                .abs()
                .max()
                .item<double>(),
            1e-3);
}

// Every number that the format holds on scales it can hold comes back; others are no further than half a
// step.
TEST(Fp4, HitsItsPointsAndIsNeverFurtherThanHalfAStep) {
  at::manual_seed(5);
  const at::Tensor points =
      at::tensor({0., .5, 1., 1.5, 2., 3., 4., 6., -.5, -1., -1.5, -2., -3., -4., -6., 0.}, at::kFloat);
  for (const char* format : {"nvfp4", "mxfp4"}) {
    const at::Tensor grid = at::stack({points.repeat({4}) * 0.125, points.repeat({4}) * 0.5});
    EXPECT_TRUE(at::equal(compressed("fp4", {{"format", format}}, grid, nullptr), grid)) << format;
    const at::Tensor weight = at::randn({8, 64}) * 0.05;
    const std::int64_t group = format[0] == 'n' ? 16 : 32;
    const at::Tensor result = compressed("fp4", {{"format", format}}, weight, nullptr);
    const at::Tensor largest = weight.reshape({8, -1, group}).abs().amax(-1, true);
    // The widest step, 4 to 6, on the largest scale that is taken: half of it is a sixth of the largest (E4M3
    // may round the scale up by a sixteenth), a quarter where the next power of two is taken.
    const double most = format[0] == 'n' ? 1.07 / 6 : 0.34;
    EXPECT_TRUE(((result - weight).reshape({8, -1, group}).abs() <= largest * most).all().item<bool>())
        << format;
    EXPECT_LT((result - weight).square().mean().item<double>(), 0.03 * weight.square().mean().item<double>());
  }
}

TEST(Rtn, HitsEveryPointOfAnAsymmetricGridThatHoldsTheWeights) {
  const at::Tensor weight = (at::arange(16, at::kFloat) - 5).mul_(0.25).repeat({3, 4});
  EXPECT_TRUE(at::equal(compressed("rtn", grid_params(4, 16, false), weight, nullptr), weight));
}

TEST(Rtn, KeepsGroupsOfZerosAndTinyWeightsFinite) {
  const at::Tensor weight = at::cat({at::zeros({2, 32}), at::full({2, 32}, 1e-30)}, 1);
  for (const bool symmetric : {true, false})
    EXPECT_TRUE(
        at::equal(compressed("rtn", grid_params(4, 32, symmetric), weight, nullptr), at::zeros({2, 64})));
}

TEST(Rtn, SaysWhichScaleDtypeToTakeWhereAScaleExceedsIt) {
  const at::Tensor weight = at::full({1, 32}, 1e6);
  try {
    compressed("rtn", grid_params(4, 32, true), weight, nullptr);
    FAIL() << "an fp16 scale held 1e6 / 7.5";
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "SCALE_RANGE");
    EXPECT_NE(e.hint().find("bfloat16"), std::string::npos);
  }
}

TEST(Rtn, SearchingTheScaleNeverRaisesTheSquaredError) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({48, 128}).pow(3);
  for (const int bits : {2, 3, 4, 8})
    for (const bool symmetric : {true, false}) {
      const auto error = [&](const char* search) {
        const auto result = compressed("rtn", grid_params(bits, 32, symmetric, search), weight, nullptr);
        return (result - weight).square().sum().item<double>();
      };
      EXPECT_LE(error("mse"), error("minmax"));
      if (bits == 2) {
        EXPECT_LT(error("mse"), 0.9 * error("minmax"));
      }
    }
}

TEST(GroupSize, ThatDoesNotDivideIsNamedWithTheDivisorsThatDo) {
  const Layer layer = linear_layer(at::zeros({4, 576}));
  for (const char* method : {"rtn", "gptq"}) {
    const auto compress = layer_method(method, Params(grid_params(4, 128, true), "stages[1].params"));
    try {
      compress->check(layer);
      FAIL() << "128 was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_EQ(e.field(), "stages[1].params.group_size");
      EXPECT_EQ(e.message(), "128 does not divide the 576 input features of blocks.0.attention.q");
      EXPECT_EQ(
          e.hint(),
          std::string(method) +
              " accepts a divisor of every targeted layer's inputs; here: 16, 32, 48, 64, 96, 144, 192, "
              "288 (or -1, one group a row)");
    }
  }
  for (const std::int64_t good : {-1, 32, 192, 576})
    EXPECT_NO_THROW(layer_method("rtn", Params(grid_params(4, good, true), "p"))->check(layer));
  EXPECT_THROW(layer_method("rtn", Params(grid_params(4, 0, true), "p"))->check(layer), Error);
}

TEST(SparsityPattern, WhoseMDoesNotDivideIsNamed) {
  for (const char* method : {"magnitude", "wanda", "sparsegpt"}) {
    const auto compress = layer_method(method, Params(sparse_params("2:4"), "stages[0].params"));
    EXPECT_NO_THROW(compress->check(linear_layer(at::zeros({2, 8}))));
    try {
      compress->check(linear_layer(at::zeros({2, 6})));
      FAIL() << "2:4 of 6 columns was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.field(), "stages[0].params.pattern");
      EXPECT_NE(e.message().find("blocks.0.attention.q"), std::string::npos);
    }
  }
}

TEST(SparseGpt, WithAnIdentityHessianIsMagnitudePerBlockWithoutUpdate) {
  at::manual_seed(4);
  const at::Tensor weight = at::randn({37, 256});
  const auto x = orthonormal(256);
  const at::Tensor result = compressed("sparsegpt", sparse_params(0.5, 64), weight, x.get());
  for (std::int64_t first = 0; first < 256; first += 64) {
    const at::Tensor block = weight.narrow(1, first, 64).contiguous();
    EXPECT_TRUE(
        at::equal(result.narrow(1, first, 64), compressed("magnitude", sparse_params(0.5), block, nullptr)));
  }
  EXPECT_TRUE(at::equal(compressed("sparsegpt", sparse_params("2:4"), weight, x.get()),
                        compressed("magnitude", sparse_params("2:4"), weight, nullptr)));
}

TEST(SparseGpt, LeavesASmallerOutputErrorThanWandaAndWandaThanMagnitude) {
  at::manual_seed(5);
  const at::Tensor weight = at::randn({64, 256}),
                   gains = at::logspace(-1, 1, 256).index_select(0, at::randperm(256));
  const at::Tensor inputs =
      at::mm(at::randn({512, 256}), at::randn({256, 256}) * 0.05 + at::eye(256)) * gains;
  const auto x = gathered(inputs);
  for (const Json& pattern : {Json(0.5), Json("2:4")}) {
    const auto error = [&](const char* method) {
      return output_error(inputs, weight, compressed(method, sparse_params(pattern), weight, x.get()));
    };
    EXPECT_LT(error("sparsegpt"), error("wanda"));
    EXPECT_LT(error("wanda"), error("magnitude"));
  }
}

TEST(NOfM, EveryGroupOfNeighboursHasExactlyItsZeros) {
  at::manual_seed(6);
  const auto x = gathered(at::randn({300, 192}));
  for (const char* method : {"magnitude", "wanda", "sparsegpt"}) {
    const at::Tensor result = compressed(method, sparse_params("3:8"), at::randn({21, 192}), x.get());
    EXPECT_TRUE((result.reshape({-1, 8}) == 0).sum(1).eq(3).all().item<bool>()) << method;
  }
}

TEST(ValueDtype, SaysHowKeptValuesAreStored) {
  Json params = sparse_params(0.5), report;
  const Layer layer = linear_layer(at::randn({4, 16}).to(at::kBFloat16));
  const auto stored = [&](const char* dtype) {
    params["value_dtype"] = dtype;
    return layer_method("magnitude", Params(params, "p"))
        ->compress({layer}, report)
        ->tensors()[1]
        .tensor.scalar_type();
  };
  EXPECT_EQ(stored("source"), at::kBFloat16);
  EXPECT_EQ(stored("float32"), at::kFloat);
  EXPECT_EQ(stored("float16"), at::kHalf);
}

TEST(Damping, IsRaisedAndReportedWhereTheHessianIsSingular) {
  at::manual_seed(7);
  const at::Tensor weight = at::randn({8, 96});
  const auto x = gathered(at::randn({5, 96}));  // rank 5
  Json params = grid_params(4, 32, true), report = Json::object();
  params["damping"] = 0.0;
  const at::Tensor result = compressed("gptq", params, weight, x.get(), &report);
  EXPECT_TRUE(at::isfinite(result).all().item<bool>());
  EXPECT_TRUE(report.at("damping_raised").get<bool>());
  EXPECT_GT(report.at("damping").get<double>(), 0.0);

  Json calm = Json::object();
  params["damping"] = 0.01;
  compressed("gptq", params, weight, gathered(at::randn({500, 96})).get(), &calm);
  EXPECT_EQ(calm, Json({{"damping", 0.01}}));
}

TEST(DeadColumns, AreReportedRoundedByGptqAndPrunedFirst) {
  at::manual_seed(8);
  at::Tensor inputs = at::randn({300, 64});
  inputs.narrow(1, 10, 8).zero_();
  const at::Tensor weight = at::randn({16, 64});
  const auto x = gathered(inputs);
  Json report = Json::object();
  const at::Tensor quantized = compressed("gptq", grid_params(8, 64, true), weight, x.get(), &report);
  EXPECT_EQ(report.at("dead_columns"), 8);
  EXPECT_LT((quantized - weight).narrow(1, 10, 8).abs().max().item<double>(), 0.05);
  for (const char* method : {"wanda", "sparsegpt"}) {
    const at::Tensor result = compressed(method, sparse_params(0.25), weight, x.get());
    EXPECT_EQ(at::count_nonzero(result.narrow(1, 10, 8)).item<std::int64_t>(), 0) << method;
    EXPECT_EQ(at::count_nonzero(result).item<std::int64_t>(), 16 * 48) << method;
  }
}

TEST(Inputs, ThatAreNotFiniteAreAnErrorOfTheCallerNotACrash) {
  at::Tensor inputs = at::randn({20, 32});
  inputs[3][4] = std::numeric_limits<float>::quiet_NaN();
  const auto x = gathered(inputs);
  for (const char* method : {"gptq", "sparsegpt", "wanda"}) {
    Json params = grid_params(4, 32, true);
    params.update(sparse_params(0.5));
    try {
      compressed(method, params, at::randn({4, 32}), x.get());
      FAIL() << method;
    } catch (const Error& e) {
      EXPECT_EQ(e.reason(), "NOT_FINITE");
    }
  }
}

TEST(Registry, NamesTheNearestMethodWhereOneIsUnknown) {
  try {
    make_method("gptg", Params(Json::object(), "p"));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "UNKNOWN_METHOD");
    EXPECT_NE(e.hint().find("gptq"), std::string::npos);
  }
}

}  // namespace
}  // namespace wring
