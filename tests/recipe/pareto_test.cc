// Fronts and crowding against their definitions.
#include "recipe/pareto.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "common/random.h"

namespace wring {
namespace {

using testing::ElementsAre;

// Few different values, so that ties and equal points come up.
std::vector<Measured> random_trials(std::uint64_t seed, std::size_t losses) {
  Random random(seed);
  std::vector<Measured> trials(1 + random.below(40));
  for (auto& trial : trials) {
    if (random.chance(0.1)) continue;  // measured nothing
    for (std::size_t m = 0; m < losses; ++m) trial.losses.push_back(static_cast<double>(random.below(6)));
    if (random.chance(0.2)) trial.violation = static_cast<double>(random.below(3));
  }
  return trials;
}

// Deb's definition: peel off, again and again, those whom nobody left dominates.
std::vector<std::vector<std::size_t>> peeled(const std::vector<Measured>& trials) {
  std::vector<std::size_t> left(trials.size());
  for (std::size_t i = 0; i < left.size(); ++i) left[i] = i;
  std::vector<std::vector<std::size_t>> fronts;
  while (!left.empty()) {
    std::vector<std::size_t> front;
    for (const auto i : left)
      if (std::none_of(left.begin(), left.end(), [&](auto j) { return dominates(trials[j], trials[i]); }))
        front.push_back(i);
    std::erase_if(left, [&](auto i) { return std::find(front.begin(), front.end(), i) != front.end(); });
    fronts.push_back(front);
  }
  return fronts;
}

TEST(Pareto, SortingIsPeelingFrontAfterFront) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const auto trials = random_trials(seed, 1 + seed % 3);
    EXPECT_EQ(non_dominated_sort(trials), peeled(trials)) << "seed " << seed;
  }
}

TEST(Pareto, TheFrontIsWhoNobodyBeatsAndWhoHoldsTheConstraints) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const auto trials = random_trials(seed, 2);
    std::vector<std::size_t> expected;
    for (std::size_t i = 0; i < trials.size(); ++i) {
      const bool beaten =
          std::any_of(trials.begin(), trials.end(), [&](const auto& t) { return dominates(t, trials[i]); });
      if (!beaten && trials[i].violation == 0 && !trials[i].losses.empty()) expected.push_back(i);
    }
    auto front = pareto_front(trials);
    std::sort(front.begin(), front.end());
    EXPECT_EQ(front, expected) << "seed " << seed;
  }
}

TEST(Pareto, WhatHoldsTheConstraintsBeatsWhatIsBetterButDoesNot) {
  EXPECT_TRUE(dominates({{9, 9}, 0}, {{1, 1}, 0.1}));
  EXPECT_TRUE(dominates({{9, 9}, 0.1}, {{1, 1}, 0.2}));
  EXPECT_FALSE(dominates({{1, 1}, 0}, {{1, 1}, 0}));
  EXPECT_TRUE(dominates({{1, 1}, 5}, {{}, 0}));
}

// Worked out by hand from Deb et al. 2002, section III-B: points (0,10) (1,6) (4,3) (10,0).
TEST(Pareto, CrowdingIsTheNeighboursDistanceByTheExtent) {
  const std::vector<Measured> trials{{{1, 6}, 0}, {{10, 0}, 0}, {{0, 10}, 0}, {{4, 3}, 0}};
  const std::vector<std::size_t> front{0, 1, 2, 3};
  const double infinite = std::numeric_limits<double>::infinity();
  EXPECT_THAT(crowding_distances(trials, front),
              ElementsAre(testing::DoubleEq(0.4 + 0.7), infinite, infinite, testing::DoubleEq(0.9 + 0.6)));
  EXPECT_THAT(ranked(trials), ElementsAre(1, 2, 3, 0));
}

TEST(Pareto, OneLossIsOrderedByIt) {
  EXPECT_THAT(ranked(std::vector<Measured>{{{3}, 0}, {{}, 0}, {{1}, 1}, {{2}, 0}}), ElementsAre(3, 0, 2, 1));
}

TEST(Pareto, HypervolumeIsTheAreaUnderTheSteps) {
  EXPECT_DOUBLE_EQ(hypervolume({{1, 3}, {2, 1}, {3, 3}}, {4, 4}), 3 * 1 + 2 * 2);
  EXPECT_DOUBLE_EQ(hypervolume({{5, 5}}, {4, 4}), 0);
}

}  // namespace
}  // namespace wring
