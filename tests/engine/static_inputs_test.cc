// Static rounding of inputs against the affine grid of Jacob et al. and a search over both ends of the range.
#include <gtest/gtest.h>

#include <limits>

#include "common/error.h"
#include "engine/methods/method.h"

namespace wring {
namespace {

struct Outcome {
  InputRounding rounding;
  Json report;
};

Json params(const char* type, bool symmetric, const char* range, double percentile = 99.99) {
  return {{"type", type},
          {"symmetric", symmetric},
          {"range", range},
          {"percentile", percentile},
          {"scale_dtype", "float32"}};
}

Layer linear_layer(std::int64_t columns) {
  return {"blocks.0.mlp.down",
          Layer::Operator::kLinear,
          dense_rep(at::ones({3, columns})),
          {},
          {"out", "in"},
          "tap"};
}

Outcome chosen(const at::Tensor& inputs, const Json& values) {
  const auto method = make_method("static-inputs", Params(values, "stages[0].params"));
  const auto& by_layer = dynamic_cast<const LayerMethod&>(*method);
  Statistics x(inputs.size(1), by_layer.needs(), at::kCPU);
  x.add(inputs);
  const Layer layer = linear_layer(inputs.size(1));
  Outcome outcome;
  const auto weight = by_layer.compress({layer, &x}, outcome.report);
  outcome.rounding = input_rounding(*weight).value();
  EXPECT_TRUE(at::equal(weight->decode(at::kFloat), layer.weight().decode(at::kFloat)));
  return outcome;
}

// Of inputs that int8 codes on this grid hold.
double relative_error(const at::Tensor& inputs, double scale, std::int64_t zero) {
  const at::Tensor exact = inputs.to(at::kDouble);
  const at::Tensor held = ((exact / scale).round() + zero).clamp(-128, 127).sub(zero).mul(scale);
  return ((held - exact).square().sum() / exact.square().sum()).item<double>();
}

TEST(StaticInputs, ReachFromTheLeastToTheGreatest) {
  const at::Tensor x = at::tensor({-1., 0.5, 4.0, 0.25}, at::kFloat).reshape({2, 2});
  const InputRounding affine = chosen(x, params("int8", false, "minmax")).rounding;
  EXPECT_EQ(affine, (InputRounding{InputType::kInt8, -1, static_cast<float>(5.0 / 255), -77}));  // -128 + 51
  EXPECT_EQ(chosen(x, params("int8", true, "minmax")).rounding,
            (InputRounding{InputType::kInt8, -1, static_cast<float>(4.0 / 127), 0}));
  EXPECT_EQ(chosen(x, params("float8_e4m3", false, "minmax")).rounding,
            (InputRounding{InputType::kFloat8, -1, static_cast<float>(4.0 / 448), 0}));
  const InputRounding positive = chosen(x + 1.5, params("int8", false, "minmax")).rounding;
  EXPECT_EQ(positive.zero, -128);  // 0 is held, though nothing is below 0.5
  EXPECT_EQ(chosen(-x - 4, params("int8", false, "minmax")).rounding.zero, 127);
}

TEST(StaticInputs, OfZerosHaveSomeScale) {
  const Outcome outcome = chosen(at::zeros({4, 2}), params("int8", false, "mse"));
  EXPECT_GT(outcome.rounding.scale, 0);
  EXPECT_EQ(outcome.report.at("input_error"), 0);
}

TEST(StaticInputs, RefuseATypeThatDoesNotHoldTheScale) {
  Json values = params("int8", true, "minmax");
  const auto reason = [&](const char* type, double largest) -> std::string {
    values["scale_dtype"] = type;
    try {
      chosen(at::full({2, 2}, largest), values);
      return "";
    } catch (const Error& e) {
      EXPECT_NE(e.hint().find("float32"), std::string::npos);
      return e.reason();
    }
  };
  for (const double largest : {1e-7, 1e7}) {  // scales of 8e-10 and 8e4
    EXPECT_EQ(reason("float16", largest), "OUT_OF_RANGE");
    EXPECT_EQ(reason("bfloat16", largest), "");
    EXPECT_EQ(reason("float32", largest), "");
  }
  EXPECT_EQ(reason("float16", 1.0), "");
}

TEST(StaticInputs, MayTryRangesWhoseScaleIsNotHeld) {
  at::manual_seed(8);
  const at::Tensor x = at::randn({400, 32}) * 0.003;  // shrunk to 1.8 % the scale would be fp16's 1e-6
  Json values = params("int8", false, "mse");
  values["scale_dtype"] = "float16";
  EXPECT_LT(chosen(x, values).report.at("input_error").get<double>(), 1e-3);
}

TEST(StaticInputs, LeaveOutAShareAtEachEnd) {
  at::Tensor x = at::arange(-500, 500, at::kFloat).to(at::kBFloat16).to(at::kFloat).reshape({500, 2});
  x[0][0] = -1e6;
  x[499][1] = 1e6;
  const InputRounding rounding = chosen(x, params("int8", false, "percentile", 99)).rounding;
  const double low = (-128 - rounding.zero) * rounding.scale, high = (127 - rounding.zero) * rounding.scale;
  EXPECT_NEAR(low, -495, 5);  // half a hundredth of a thousand values at each end
  EXPECT_NEAR(high, 495, 5);
}

TEST(StaticInputs, WithTheLeastErrorAreAsGoodAsASearchOverBothEnds) {
  at::manual_seed(7);
  at::Tensor skewed = at::randn({400, 32}).abs().square() - 0.2, heavy = at::randn({400, 32});
  heavy.select(1, 3).mul_(30);
  heavy[0][0] = 400;
  for (const at::Tensor& drawn : {skewed, heavy}) {
    const at::Tensor x = drawn.to(at::kBFloat16).to(at::kFloat);
    double best = 1;
    for (double low = x.min().item<double>(); low < -1e-3; low *= 0.94)
      for (double high = x.max().item<double>(); high > 1e-2; high *= 0.94) {
        const double scale = (high - low) / 255;
        best = std::min(best, relative_error(x, scale, std::llround(-128 - low / scale)));
      }
    const Outcome outcome = chosen(x, params("int8", false, "mse"));
    const double found = relative_error(x, outcome.rounding.scale, outcome.rounding.zero);
    EXPECT_NEAR(outcome.report.at("input_error").get<double>(), found, 1e-9);
    EXPECT_LT(found, 1.05 * best);
    const InputRounding all = chosen(x, params("int8", false, "minmax")).rounding;
    EXPECT_LE(found, relative_error(x, all.scale, all.zero));
  }
}

TEST(StaticInputs, RefuseNanAndEmbeddings) {
  at::Tensor x = at::ones({4, 2});
  x[2][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(chosen(x, params("int8", false, "mse")), Error);
  const auto method = make_method("static-inputs", Params(params("int8", false, "mse"), "stages[0].params"));
  const Layer embedding("embed", Layer::Operator::kEmbedding, dense_rep(at::ones({3, 4})), {}, {"out", "in"},
                        "");
  try {
    dynamic_cast<const LayerMethod&>(*method).check(embedding);
    ADD_FAILURE() << "an embedding has no inputs to round";
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "NO_INPUTS");
    EXPECT_EQ(e.field(), "stages[0].params.type");
  }
}

}  // namespace
}  // namespace wring
