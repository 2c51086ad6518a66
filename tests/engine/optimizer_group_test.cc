// Several optimisers as one, against each by itself.
#include "engine/train/optimizer_group.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/train/adamw.h"

namespace wring {
namespace {

double value_of(const at::Tensor& scalar) {
  return scalar.item<double>();
}

TEST(OptimizerGroup, MovesEachMemberByItsOwnRuleAndRate) {
  const auto leaf = [](double value) { return at::full({2}, value).requires_grad_(true); };
  const at::Tensor down = leaf(1), up = leaf(0), alone = leaf(1);
  AdamWOptions ascending;
  ascending.ascend = true;
  std::vector<OptimizerGroup::Member> members;
  members.push_back({std::make_unique<AdamW>(std::vector{down}, AdamWOptions{}),
                     [](std::int64_t step) { return step == 0 ? 0.1 : 0.01; }});
  members.push_back({std::make_unique<AdamW>(std::vector{up}, ascending), [](std::int64_t) { return 0.5; }});
  OptimizerGroup group(std::move(members));
  AdamW single({alone}, {});
  for (int step = 0; step < 3; ++step) {
    (down.square().sum() + up.sum()).backward();
    alone.square().sum().backward();
    EXPECT_TRUE(at::allclose(group.direction(0), single.direction(0)));
    EXPECT_LT(value_of(group.direction(1).sum()), 0);
    group.step(1);
    group.clear_gradients();
    single.step(step == 0 ? 0.1 : 0.01);
    single.clear_gradients();
    EXPECT_TRUE(at::equal(down, alone));
    EXPECT_NEAR(value_of(up[0]), 0.5 * (step + 1), 1e-4);  // Adam's steps of a constant gradient
  }
}

TEST(OptimizerGroup, ClipsEachMemberByItself) {
  const at::Tensor small = at::zeros({1}).requires_grad_(true), large = at::zeros({1}).requires_grad_(true);
  std::vector<OptimizerGroup::Member> members;
  for (const auto& leaf : {small, large})
    members.push_back(
        {std::make_unique<AdamW>(std::vector{leaf}, AdamWOptions{}), [](std::int64_t) { return 1.0; }});
  OptimizerGroup group(std::move(members));
  (small * 0.5 + large * 100).sum().backward();
  EXPECT_NEAR(group.clip_gradients(1), std::hypot(0.5, 100), 1e-4);
  EXPECT_FLOAT_EQ(small.grad()[0].item<float>(), 0.5f);
  EXPECT_FLOAT_EQ(large.grad()[0].item<float>(), 1.f);
}

}  // namespace
}  // namespace wring
