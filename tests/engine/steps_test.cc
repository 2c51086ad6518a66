// Keys of a plan: what a stage reads is in its key.
#include "engine/run/steps.h"

#include <gtest/gtest.h>

#include "common/error.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

std::vector<Digest> stage_keys(const char* recipe, const char* model, const char* reference) {
  JobSpec spec{.recipe = parse_recipe(recipe), .model = {{}, sha256(model)}};
  spec.data.emplace("calibration", JobInput{{}, sha256("text")});
  if (reference) spec.reference = JobInput{{}, sha256(reference)};
  std::vector<Digest> keys;
  for (const Step& step : plan_steps(spec))
    if (step.stage) keys.push_back(*step.plan.key);
  return keys;
}

TEST(StageKeys, DependOnTheReferenceWhereTheStageLooksAtItAndNowhereElse) {
  for (const char* recipe : {"gptq(bits=3) | eora(rank=8)", "gptq(bits=3) | svd-compensation(rank=8)"}) {
    const auto own = stage_keys(recipe, "m", nullptr), same = stage_keys(recipe, "m", "m"),
               other = stage_keys(recipe, "m", "r");
    EXPECT_EQ(own, same) << "without a reference it is the input";
    EXPECT_EQ(own[0], other[0]);
    EXPECT_NE(own[1], other[1]);
  }
  EXPECT_EQ(stage_keys("rtn | wanda", "m", nullptr), stage_keys("rtn | wanda", "m", "r"));
}

std::string refusal(const char* recipe) {
  JobSpec spec{.recipe = parse_recipe(recipe), .model = {{}, sha256("m")}};
  try {
    check_recipe(spec, *small_model::make(), {});
  } catch (const Error& error) {
    return error.reason();
  }
  return "";
}

TEST(Recipe, WhoseLayersAreNoLongerThoseOfTheReferenceIsRefusedBeforeItRuns) {
  EXPECT_EQ(refusal("awq-scaling(group_size=16) | rtn(group_size=16) | eora(rank=4)"), "REFERENCE_MISMATCH");
  EXPECT_EQ(refusal("flap(ratio=0.2) | rtn(group_size=-1) | svd-compensation(rank=4)"), "REFERENCE_MISMATCH");
  EXPECT_EQ(refusal("eora(rank=4)"), "NO_REFERENCE");
  EXPECT_EQ(refusal("rtn(group_size=16) | eora(rank=4)"), "");
}

}  // namespace
}  // namespace wring
