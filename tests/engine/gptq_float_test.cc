// fp8, fp4 and GPTQ onto their values against textbook float64 versions (make_float_goldens.py), and what
// must hold of the walk.
#include <gtest/gtest.h>

#include <filesystem>

#include "common/error.h"
#include "common/files.h"
#include "engine/methods/method.h"

namespace wring {
namespace {

at::Tensor matrix(const Json& values, std::int64_t rows, std::int64_t columns) {
  return at::tensor(values.get<std::vector<double>>(), at::kDouble).to(at::kFloat).reshape({rows, columns});
}

Layer layer_of(std::shared_ptr<const WeightRep> weight) {
  return {"blocks.0.attention.q", Layer::Operator::kLinear, std::move(weight), {}, {"out", "in"}, "tap"};
}

std::unique_ptr<Statistics> gathered(const at::Tensor& inputs) {
  auto x = std::make_unique<Statistics>(inputs.size(1), std::set{Statistic::kHessian}, at::kCPU);
  x->add(inputs);
  return x;
}

// Inputs that go together, in features of unlike size.
at::Tensor correlated(std::int64_t features) {
  return at::mm(at::randn({512, features}), at::randn({features, features})) *
         at::logspace(-1, 1, features).index_select(0, at::randperm(features));
}

Json walk_params(const char* format, bool activation_order = true, std::int64_t block = -1) {
  return {{"format", format},
          {"block", block},
          {"scale_dtype", "float32"},
          {"activation_order", activation_order},
          {"damping", 0.01}};
}

std::shared_ptr<const WeightRep> compressed(const std::string& method, const Json& params, const Layer& layer,
                                            const Statistics* x) {
  Json report = Json::object();
  const auto made = make_method(method, Params(params, "stages[0].params"));
  return dynamic_cast<const LayerMethod&>(*made).compress({layer, x}, report);
}

// fp8 or fp4 with the same grid.
std::shared_ptr<const WeightRep> nearest(const Json& params, const Layer& layer) {
  return compressed(params.at("format") == "fp8" ? "fp8" : "fp4", params, layer, nullptr);
}

bool equal_stored(const WeightRep& a, const WeightRep& b) {
  const auto ours = a.tensors(), theirs = b.tensors();
  bool equal = a.format() == b.format() && a.attributes() == b.attributes() && ours.size() == theirs.size();
  for (std::size_t i = 0; equal && i < ours.size(); ++i)
    equal = at::equal(ours[i].tensor.view(at::kByte), theirs[i].tensor.view(at::kByte));
  return equal;
}

std::vector<Json> grids() {
  std::vector<Json> all;
  for (const bool order : {false, true})
    for (const Json& params : {walk_params("fp8", order), walk_params("fp8", order, 64),
                               walk_params("nvfp4", order), walk_params("mxfp4", order)})
      all.push_back(params);
  return all;
}

TEST(SmallFloats, EqualTheirTextbookVersionsOnASmallLayer) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "float_goldens.json";
  const Json golden = parse_json(read_file(path), "goldens");
  const auto rows = golden["rows"].get<std::int64_t>(), columns = golden["columns"].get<std::int64_t>();
  const Layer layer = layer_of(dense_rep(matrix(golden["weight"], rows, columns)));
  const auto x = gathered(matrix(golden["inputs"], golden["tokens"].get<std::int64_t>(), columns));
  ASSERT_EQ(golden["cases"].size(), 12u);
  for (const auto& test : golden["cases"]) {
    const auto method = test["method"].get<std::string>();
    SCOPED_TRACE(method + " " + test["params"].dump());
    const at::Tensor expected = matrix(test["values"], rows, columns);
    const at::Tensor result = compressed(method, test["params"], layer, x.get())->decode(at::kFloat);
    EXPECT_LT((result - expected).abs().max().item<double>(), 1e-6);
  }
}

TEST(GptqFloat, OfInputsThatGoAloneIsRoundToNearest) {
  at::manual_seed(1);
  const Layer layer = layer_of(dense_rep(at::randn({35, 384}) * 0.05));
  const auto x = gathered(at::logspace(-1, 1, 384).index_select(0, at::randperm(384)).diag());
  for (const Json& params : grids())
    EXPECT_TRUE(equal_stored(*compressed("gptq-float", params, layer, x.get()), *nearest(params, layer)))
        << params;
}

TEST(GptqFloat, KeepsTheScalesAndLeavesASmallerOutputErrorThanRoundToNearest) {
  at::manual_seed(2);
  const at::Tensor weight = at::randn({64, 256}) * 0.05, inputs = correlated(256);
  const Layer layer = layer_of(dense_rep(weight));
  const auto x = gathered(inputs);
  for (const Json& params : grids()) {
    const auto walked = compressed("gptq-float", params, layer, x.get()), rounded = nearest(params, layer);
    EXPECT_TRUE(
        at::equal(walked->tensors()[1].tensor.view(at::kByte), rounded->tensors()[1].tensor.view(at::kByte)))
        << params;
    const auto error = [&](const WeightRep& rep) {
      return at::mm(inputs, (weight - rep.decode(at::kFloat)).t()).square().sum().item<double>();
    };
    EXPECT_LT(error(*walked), 0.6 * error(*rounded)) << params;
  }
}

TEST(GptqFloat, KeepsTheZerosOfAPrunedWeight) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({40, 256}), keep = at::rand({40, 256}) > 0.5;
  const Layer layer = layer_of(masked_rep(weight, keep));
  const auto x = gathered(correlated(256));
  for (const Json& params : grids()) {
    const at::Tensor result = compressed("gptq-float", params, layer, x.get())->decode(at::kFloat);
    EXPECT_EQ(result.masked_select(~keep).count_nonzero().item<std::int64_t>(), 0) << params;
    EXPECT_GT(result.masked_select(keep).count_nonzero().item<std::int64_t>(), 3000) << params;
  }
}

// Rows of zeros have scales of zero, on which errors that are moved there must not become NaN or values.
TEST(GptqFloat, KeepsGroupsOfZerosZero) {
  at::manual_seed(4);
  const at::Tensor weight = at::randn({8, 64});
  weight.narrow(1, 32, 32).zero_();
  weight[3].zero_();
  const Layer layer = layer_of(dense_rep(weight));
  const auto x = gathered(correlated(64));
  for (const char* format : {"fp8", "nvfp4", "mxfp4"}) {
    const at::Tensor result =
        compressed("gptq-float", walk_params(format), layer, x.get())->decode(at::kFloat);
    EXPECT_TRUE(at::isfinite(result).all().item<bool>()) << format;
    EXPECT_EQ(result[3].count_nonzero().item<std::int64_t>(), 0) << format;
    if (std::string(format) == "nvfp4") {
      EXPECT_EQ(result.narrow(1, 32, 32).count_nonzero().item<std::int64_t>(), 0);
    }
  }
}

TEST(GptqFloat, RefusesWhatItsFormatCannotHoldAsFp4AndFp8Do) {
  const auto refusal = [](const char* method, const Json& params, std::int64_t in) {
    const auto made = make_method(method, Params(params, "stages[0].params"));
    try {
      dynamic_cast<const LayerMethod&>(*made).check(layer_of(dense_rep(at::zeros({4, in}))));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      return e.reason() + " " + e.field() + ": " + e.message() + " " + e.hint();
    }
    return std::string();
  };
  for (const char* method : {"gptq-float", "fp4"}) {
    EXPECT_EQ(refusal(method, walk_params("mxfp4"), 48),
              "GROUP_SIZE stages[0].params.format: groups of 32 do not divide the 48 input features of "
              "blocks.0.attention.q nvfp4 has groups of 16.");
    EXPECT_EQ(refusal(method, walk_params("nvfp4"), 40),
              "GROUP_SIZE stages[0].params.format: groups of 16 do not divide the 40 input features of "
              "blocks.0.attention.q Take rtn or fp8.");
    EXPECT_EQ(refusal(method, walk_params("nvfp4"), 48), "");
  }
  for (const char* method : {"gptq-float", "fp8"}) {
    for (const int block : {-1, 0, 128}) EXPECT_EQ(refusal(method, walk_params("fp8", true, block), 40), "");
  }
  EXPECT_EQ(refusal("gptq-float", walk_params("nvfp4", true, 128), 48),
            "OUT_OF_RANGE stages[0].params.block: nvfp4 has groups of its own, no tiles Leave block out, or "
            "take format fp8.");
}

}  // namespace
}  // namespace wring
