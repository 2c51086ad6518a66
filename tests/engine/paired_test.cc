// The error of a change that was measured twice on the same windows.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/eval/suite.h"

namespace wring {
namespace {

std::vector<EvaluationRow> measured(const std::vector<double>& nll, const std::vector<int>& scored) {
  double sum = 0, tokens = 0;
  for (const double one : nll) sum += one;
  for (const int one : scored) tokens += one;
  EvaluationRow perplexity, mean;
  perplexity.suite = mean.suite = "perplexity";
  perplexity.metric = "perplexity";
  perplexity.value = std::exp(sum / tokens);
  perplexity.details = {{"window_nll", nll}, {"window_scored", scored}};
  mean.metric = "nll";
  mean.value = sum / tokens;
  return {perplexity, mean};
}

TEST(PairByWindow, OfEqualWindowsIsTheErrorOfTheMeanDifference) {
  const auto before = measured({20, 31, 12, 25}, {10, 10, 10, 10});
  auto after = measured({21, 33, 12.5, 26.1}, {10, 10, 10, 10});
  pair_by_window(after, before);
  // numpy: d = [0.1, 0.2, 0.05, 0.11]; d.std(ddof=1) / 2
  ASSERT_TRUE(after[1].change_error);
  EXPECT_NEAR(*after[1].change_error, 0.03122499, 1e-8);
  EXPECT_NEAR(*after[0].change_error, after[0].value * 0.03122499, 1e-7);
}

TEST(PairByWindow, OfUnequalWindowsIsTheRatioEstimators) {
  const auto before = measured({20, 30, 5}, {10, 15, 2});
  auto after = measured({22, 31.5, 6}, {10, 15, 2});
  pair_by_window(after, before);
  // change 4.5 of 27 tokens; residuals 1/3, -1, 2/3: sqrt(3/2 * 14/9) / 27
  EXPECT_NEAR(*after[1].change_error, std::sqrt(1.5 * 14 / 9) / 27, 1e-12);
}

TEST(PairByWindow, OfWhatIsTheSameEverywhereIsNothingAndOfOtherWindowsIsNotThere) {
  const auto before = measured({20, 30}, {10, 10});
  auto shifted = measured({21, 31}, {10, 10}), others = measured({20, 30}, {10, 11}),
       one = measured({20}, {10});
  pair_by_window(shifted, before);
  EXPECT_NEAR(*shifted[1].change_error, 0, 1e-12);
  pair_by_window(others, before);
  EXPECT_FALSE(others[1].change_error);
  pair_by_window(one, measured({19}, {10}));
  EXPECT_FALSE(one[1].change_error);
  const auto read = EvaluationRow::from_json(shifted[0].to_json());
  EXPECT_EQ(read.change_error, shifted[0].change_error);
  EXPECT_FALSE(EvaluationRow::from_json(others[0].to_json()).change_error);
}

}  // namespace
}  // namespace wring
