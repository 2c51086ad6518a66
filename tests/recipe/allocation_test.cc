// Allocation against every possible choice.
#include "recipe/allocation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "common/random.h"

namespace wring {
namespace {

using Items = std::vector<std::vector<Choice>>;

// The least loss within the budget by trying all; infinite where nothing fits.
double least_loss(const Items& items, std::uint64_t budget) {
  double best = std::numeric_limits<double>::infinity();
  const std::function<void(std::size_t, std::uint64_t, double)> go = [&](std::size_t i, std::uint64_t bytes,
                                                                         double loss) {
    if (bytes > budget) return;
    if (i == items.size()) {
      best = std::min(best, loss);
      return;
    }
    for (const auto& choice : items[i]) go(i + 1, bytes + choice.bytes, loss + choice.loss);
  };
  go(0, 0, 0);
  return best;
}

Items random_items(Random& random) {
  Items items(1 + random.below(6));
  for (auto& item : items) {
    item.resize(1 + random.below(5));
    const double scale = std::exp(4 * random.uniform());
    for (auto& choice : item) {
      choice.bytes = 1 + random.below(40);
      choice.loss = scale * random.uniform() / static_cast<double>(choice.bytes);
    }
  }
  return items;
}

// The most that a choice of one item saves over another one that takes fewer bytes.
double largest_step(const Items& items) {
  double step = 0;
  for (const auto& item : items)
    for (const auto& a : item)
      for (const auto& b : item)
        if (b.bytes > a.bytes) step = std::max(step, a.loss - b.loss);
  return step;
}

TEST(Allocation, IsWithinTheBudgetAndAStepOfTheBestOfAllChoices) {
  Random random(5);
  int best = 0, feasible = 0;
  for (int round = 0; round < 2000; ++round) {
    const Items items = random_items(random);
    const std::uint64_t budget = random.below(40 * items.size());
    const double least = least_loss(items, budget);
    const auto found = allocate(items, budget);
    ASSERT_EQ(found.has_value(), std::isfinite(least)) << round;
    if (!found) continue;
    ++feasible;
    std::uint64_t bytes = 0;
    double loss = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      bytes += items[i].at(found->chosen.at(i)).bytes;
      loss += items[i][found->chosen[i]].loss;
    }
    EXPECT_EQ(bytes, found->bytes);
    EXPECT_DOUBLE_EQ(loss, found->loss);
    EXPECT_LE(bytes, budget);
    EXPECT_GE(loss, least - 1e-12);
    EXPECT_LE(loss, least + largest_step(items) + 1e-12) << round;
    best += loss <= least + 1e-12;
  }
  EXPECT_GT(feasible, 1000);
  EXPECT_GT(best, feasible / 2) << "most small ones are met exactly";
}

// Shoham, Gersho 1988: where a step ends at the budget exactly, nothing is better.
TEST(Allocation, IsTheBestForTheBytesThatItsOwnStepsTake) {
  Random random(6);
  for (int round = 0; round < 500; ++round) {
    const Items items = random_items(random);
    std::uint64_t smallest = 0;
    for (const auto& item : items)
      smallest += std::min_element(item.begin(), item.end(), [](auto& a, auto& b) {
                    return a.bytes < b.bytes;
                  })->bytes;
    const auto all = allocate(items, UINT64_MAX);
    EXPECT_NEAR(all->loss, least_loss(items, UINT64_MAX), 1e-12);
    EXPECT_NEAR(allocate(items, smallest)->loss, least_loss(items, smallest), 1e-12);
  }
}

TEST(Allocation, GivesTheSensitiveItemTheBytes) {
  const std::vector<Choice> hardy{{10, 0.10}, {20, 0.01}}, frail{{10, 10.0}, {20, 1.0}};
  EXPECT_EQ(allocate({hardy, frail}, 30)->chosen, (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(allocate({hardy, frail}, 40)->chosen, (std::vector<std::size_t>{1, 1}));
  EXPECT_FALSE(allocate({hardy, frail}, 19).has_value());
}

}  // namespace
}  // namespace wring
