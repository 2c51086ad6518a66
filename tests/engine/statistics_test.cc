// Second-order statistics and the factor of their inverse.
#include "engine/calibrate/statistics.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace wring {
namespace {

const std::set<Statistic> kBoth = {Statistic::kInputNorm, Statistic::kHessian};

TEST(Statistics, AreTheFormulasOfTheirPapers) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({5000, 300}) + 0.5, exact = x.to(at::kDouble);
  Statistics statistics(300, kBoth, at::kCPU);
  statistics.add(x);
  EXPECT_EQ(statistics.rows(), 5000);
  const at::Tensor hessian = at::mm(exact.t(), exact) * (2.0 / 5000), norm = exact.square().sum(0).sqrt();
  EXPECT_LT((statistics.hessian() - hessian).abs().max().item<double>(), 2e-5);
  EXPECT_LT((statistics.input_norm() - norm).abs().max().item<double>(), 1e-4);
  EXPECT_TRUE(at::equal(statistics.hessian(), statistics.hessian().t()));
}

TEST(Statistics, AreTheSameBitsHoweverTheRowsAreCutIntoCalls) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({4700, 96});
  Statistics whole(96, kBoth, at::kCPU), pieces(96, kBoth, at::kCPU);
  whole.add(x);
  for (std::int64_t first = 0, count = 1; first < 4700; first += count, count = count * 3 % 1009 + 1) {
    count = std::min(count, 4700 - first);
    pieces.add(x.narrow(0, first, count));
  }
  EXPECT_EQ(pieces.rows(), 4700);
  EXPECT_TRUE(at::equal(whole.hessian(), pieces.hessian()));
  EXPECT_TRUE(at::equal(whole.input_norm(), pieces.input_norm()));
}

TEST(Statistics, ComeBackFromTheirTensorsWithTheSameBits) {
  at::manual_seed(3);
  const std::set all{Statistic::kInputNorm, Statistic::kInputMagnitude, Statistic::kHessian,
                     Statistic::kMoments, Statistic::kInputValues};
  Statistics statistics(300, all, at::kCPU);
  statistics.add(at::randn({2500, 300}) + 1);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& named : statistics.tensors()) tensors[named.suffix] = named.tensor;
  const auto restored = Statistics::restore(tensors, all, at::kCPU);
  EXPECT_EQ(restored->rows(), 2500);
  EXPECT_TRUE(at::equal(restored->hessian(), statistics.hessian()));
  EXPECT_TRUE(at::equal(restored->input_norm(), statistics.input_norm()));
  EXPECT_TRUE(at::equal(restored->input_magnitude(), statistics.input_magnitude()));
  EXPECT_TRUE(at::equal(restored->mean(), statistics.mean()));
  EXPECT_TRUE(at::equal(restored->variance(), statistics.variance()));
  EXPECT_TRUE(at::equal(restored->value_counts().counts, statistics.value_counts().counts));
  for (const auto& [name, tensor] : tensors) {
    auto without = tensors;
    without.erase(name);
    EXPECT_THROW(Statistics::restore(without, all, at::kCPU), Error) << name;
    without[name] = tensor.slice(0, 1);
    EXPECT_THROW(Statistics::restore(without, all, at::kCPU), Error) << name;
  }
}

TEST(Statistics, MayBeReadBetweenAdditions) {
  Statistics statistics(8, kBoth, at::kCPU);
  statistics.add(at::eye(8));
  EXPECT_TRUE(at::allclose(statistics.hessian(), at::eye(8) * 0.25));
  statistics.add(at::eye(8) * 3);
  EXPECT_TRUE(at::allclose(statistics.hessian(), at::eye(8) * 1.25));
  EXPECT_TRUE(at::allclose(statistics.inverse_factor(0, false)->upper, at::eye(8) / std::sqrt(1.25)));
  EXPECT_TRUE(at::allclose(statistics.input_norm(), at::full({8}, std::sqrt(10.0))));
}

TEST(Statistics, AreGatheredOnSeveralThreadsInInferenceMode) {
  const c10::InferenceMode inference;
  Statistics statistics(256, kBoth, at::kCPU);
  statistics.add(at::ones({64, 256}));
  EXPECT_TRUE(at::equal(statistics.hessian(), at::full({256, 256}, 2.0)));
}

TEST(Statistics, MagnitudeIsTheMeanOfAbsoluteInputs) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({5000, 30}) - 0.5;
  Statistics statistics(30, {Statistic::kInputMagnitude}, at::kCPU);
  for (std::int64_t first = 0; first < 5000; first += 1250) statistics.add(x.narrow(0, first, 1250));
  const at::Tensor exact = x.to(at::kDouble).abs().mean(0);
  EXPECT_LT((statistics.input_magnitude() - exact).abs().max().item<double>(), 1e-6);
  EXPECT_THROW(statistics.input_norm(), Error);
}

TEST(Statistics, MomentsAreExactAroundALargeMeanAndZeroOfAConstant) {
  at::manual_seed(4);
  at::Tensor x = at::randn({5000, 40}) * 0.01 + 1000;
  x.select(1, 7).fill_(-3.3);
  Statistics whole(40, {Statistic::kMoments}, at::kCPU), pieces(40, {Statistic::kMoments}, at::kCPU);
  whole.add(x);
  for (std::int64_t first = 0; first < 5000; first += 77)
    pieces.add(x.narrow(0, first, std::min<std::int64_t>(77, 5000 - first)));
  const at::Tensor exact = x.to(at::kDouble), mean = exact.mean(0);
  EXPECT_LT((whole.mean() - mean).abs().max().item<double>(), 1e-9);
  EXPECT_TRUE(at::allclose(whole.variance(), (exact - mean).square().mean(0), 1e-9, 1e-12));
  EXPECT_EQ(whole.variance()[7].item<double>(), 0);
  EXPECT_TRUE(at::equal(whole.mean(), pieces.mean()));
  EXPECT_TRUE(at::equal(whole.variance(), pieces.variance()));
}

TEST(Statistics, CountValuesInAscendingOrderRoundedToBfloat16) {
  Statistics statistics(3, {Statistic::kInputValues}, at::kCPU);
  // 1 + 2^-9 and -(2 + 2^-7 + 2^-9) lie between two bfloat16s: to the nearer, halves to even.
  statistics.add(
      at::tensor({1.001953125, 0., -2.009765625, 1., -0.5, 300., 1., 0., -0.5}, at::kFloat).reshape({3, 3}));
  const ValueCounts seen = statistics.value_counts();
  EXPECT_TRUE(at::equal(seen.values, at::tensor({-2.015625, -0.5, 0., 1., 300.}, at::kDouble)))
      << seen.values;
  EXPECT_TRUE(at::equal(seen.counts, at::tensor({1., 2., 2., 3., 1.}, at::kDouble))) << seen.counts;
  at::manual_seed(6);
  const at::Tensor x = at::randn({5000, 40});
  Statistics whole(40, {Statistic::kInputValues}, at::kCPU);
  for (std::int64_t first = 0; first < 5000; first += 777)
    whole.add(x.narrow(0, first, std::min<std::int64_t>(777, 5000 - first)));
  const auto [values, inverse, counts] = at::unique_dim(x.to(at::kBFloat16).to(at::kDouble).reshape({-1}), 0,
                                                        /*sorted=*/true, false, /*return_counts=*/true);
  EXPECT_TRUE(at::equal(whole.value_counts().values, values));
  EXPECT_TRUE(at::equal(whole.value_counts().counts, counts.to(at::kDouble)));
  EXPECT_EQ(Statistics(3, {Statistic::kInputValues}, at::kCPU).value_counts().values.numel(), 0);
}

TEST(Statistics, OnlyGiveWhatWasGathered) {
  Statistics norms(4, {Statistic::kInputNorm}, at::kCPU);
  EXPECT_THROW(norms.hessian(), Error);
  EXPECT_THROW(norms.add(at::zeros({3, 5})), Error);
}

TEST(InverseFactor, TimesItselfIsTheInverseOfTheDampedHessian) {
  at::manual_seed(3);
  for (const std::int64_t n : {1, 7, 97, 300}) {
    const at::Tensor x = at::randn({n * 2 + 5, n}), h = at::mm(x.t(), x);
    for (const bool descending : {false, true}) {
      const InverseFactor factor = invert_damped(h, 0.1, descending);
      const at::Tensor u = factor.upper.to(at::kDouble),
                       permuted = h.index_select(0, factor.order).index_select(1, factor.order);
      const at::Tensor damped =
          permuted.to(at::kDouble) + 0.1 * h.diagonal().mean().item<double>() * at::eye(n, at::kDouble);
      EXPECT_LT((at::mm(at::mm(u.t(), u), damped) - at::eye(n, at::kDouble)).abs().max().item<double>(),
                1e-4);
      EXPECT_TRUE(at::equal(factor.upper, factor.upper.triu()));
      EXPECT_FALSE(factor.raised);
      if (descending) {
        EXPECT_TRUE((permuted.diagonal().diff() <= 0).all().item<bool>());
      }
    }
  }
}

TEST(InverseFactor, OfAnIndefiniteMatrixRaisesTheDampingUntilItIsPositive) {
  at::Tensor h = at::eye(4);
  h[0][1] = h[1][0] = 3;  // eigenvalues 4 and -2
  const InverseFactor factor = invert_damped(h, 0.01, false);
  EXPECT_TRUE(factor.raised);
  EXPECT_DOUBLE_EQ(factor.damping, 10);
  EXPECT_TRUE(at::isfinite(factor.upper).all().item<bool>());
}

TEST(InverseFactor, OfInputsThatAreAllZeroIsTheIdentity) {
  const InverseFactor factor = invert_damped(at::zeros({5, 5}), 0, false);
  EXPECT_TRUE(at::equal(factor.upper, at::eye(5)));
  EXPECT_TRUE(factor.dead.all().item<bool>());
}

TEST(InverseFactor, IsMadeOnceForAllLayersWithOneInput) {
  Statistics statistics(6, kBoth, at::kCPU);
  statistics.add(at::randn({40, 6}));
  EXPECT_EQ(statistics.inverse_factor(0.01, true), statistics.inverse_factor(0.01, true));
  EXPECT_NE(statistics.inverse_factor(0.01, true), statistics.inverse_factor(0.02, true));
}

}  // namespace
}  // namespace wring
