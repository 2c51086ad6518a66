// GGUF's table of Llama 3's rotary factors, and the numbers behind it.
#include "engine/model/rope_factors.h"

#include <gtest/gtest.h>

#include "common/error.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

constexpr double kTheta = 500000;

Json config(double factor, double low, double high, double original) {
  return {{"rope_theta", kTheta},
          {"rope_scaling",
           {{"rope_type", "llama3"},
            {"factor", factor},
            {"low_freq_factor", low},
            {"high_freq_factor", high},
            {"original_max_position_embeddings", original}}}};
}

TEST(RopeFactors, AreOneForShortWavesAndTheFactorForLongOnes) {
  const at::Tensor factors = rope_factors(config(8, 1, 4, 8192), 128);
  EXPECT_EQ(factors.numel(), 64);
  EXPECT_NEAR(factors[0].item<float>(), 1, 1e-6);
  EXPECT_NEAR(factors[63].item<float>(), 8, 1e-5);
  // Frequency 32 of 64: a wave of 2 pi sqrt(500000) = 4442.9 positions, so a share of (8192 / 4442.9 - 1)
  // / 3.
  const double share = (8192 / 4442.8829 - 1) / 3;
  EXPECT_NEAR(factors[32].item<float>(), 1 / ((1 - share) / 8 + share), 1e-4);
}

TEST(RopeFactors, OfMetasModelsGiveTheirNumbersBack) {
  for (const double factor : {8.0, 32.0}) {
    const Json scaling = rope_scaling_of(rope_factors(config(factor, 1, 4, 8192), 64), kTheta);
    EXPECT_EQ(scaling, config(factor, 1, 4, 8192).at("rope_scaling")) << scaling;
  }
}

TEST(RopeFactors, OfOtherNumbersGiveNumbersThatMeanTheSame) {
  const at::Tensor factors = rope_factors(config(5, 2, 7, 4000), 128);
  const Json scaling = rope_scaling_of(factors, kTheta);
  const Json found{{"rope_theta", kTheta}, {"rope_scaling", scaling}};
  EXPECT_TRUE(at::allclose(rope_factors(found, 128), factors, 1e-5, 0)) << scaling;
}

TEST(RopeFactors, OfAnotherKindAreRefused) {
  for (const at::Tensor& table : {at::ones({32}), at::arange(1, 33).to(at::kFloat), at::full({32}, 4.0),
                                  at::full({32}, NAN), at::ones({2, 16})})
    EXPECT_EQ(thrown_by([&] { (void)rope_scaling_of(table, kTheta); }).field(), "rope_freqs.weight");
  EXPECT_FALSE(rope_factors({{"rope_theta", kTheta}}, 64).defined());
}

}  // namespace
}  // namespace wring
