// Goals: what they mean, what contradicts itself, and the recipes that they become.
#include "recipe/goal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Goal goal(const std::string& text) {
  return parse_goal(text, "goal");
}

TEST(Goal, IsItsBoundsAndWhatIsBest) {
  const auto parsed = goal("bytes<=22%, kl=min");
  ASSERT_EQ(parsed.constraints.size(), 1u);
  EXPECT_EQ(parsed.constraints[0].metric.name, "artifact_bytes");
  EXPECT_DOUBLE_EQ(*parsed.constraints[0].maximum, 0.22);
  EXPECT_TRUE(parsed.constraints[0].of_input);
  ASSERT_EQ(parsed.objectives.size(), 2u);
  EXPECT_EQ(parsed.objectives[0].metric.name, "kl_mean");
  EXPECT_EQ(parsed.objectives[1].metric.name, "artifact_bytes") << "the other axis of the front";
}

TEST(Goal, TakesSharesOfTheInputWithASignAsAChange) {
  EXPECT_DOUBLE_EQ(*goal("ppl<=+2%").constraints[0].maximum, 1.02);
  EXPECT_DOUBLE_EQ(*goal("bytes<=-60%, kl=min").constraints[0].maximum, 0.40);
  EXPECT_DOUBLE_EQ(*goal("bytes<=28MB").constraints[0].maximum, 28e6);
  EXPECT_FALSE(goal("bytes<=28MB").constraints[0].of_input);
  EXPECT_TRUE(goal("bits<=3.5, top1=max").objectives[0].maximise);
}

TEST(Goal, WithoutASizeAsksForTheSmallestAndWithOneForTheNearest) {
  EXPECT_EQ(goal("ppl<=+2%").objectives[0].metric.name, "artifact_bytes");
  EXPECT_EQ(goal("ppl<=+2%").objectives[1].metric.name, "perplexity");
  EXPECT_EQ(goal("bytes<=50%").objectives[0].metric.name, "kl_mean");
  EXPECT_EQ(goal("bytes<=50%, ppl<=+2%").objectives[0].metric.name, "perplexity");
  EXPECT_EQ(goal("bytes<=50%, cosine=max").objectives[0].metric.suite, "similarity");
}

TEST(Goal, BoundsMemoryAndTheSpeedOnAClassOfWorkers) {
  const auto fast = goal("speedup>=1.5x on epyc-16, memory<=300MB, ppl<=+2%");
  ASSERT_EQ(fast.constraints.size(), 3u);
  EXPECT_EQ(fast.worker_class, "epyc-16");
  EXPECT_EQ(fast.constraints[0].metric.suite, "latency");
  EXPECT_EQ(fast.constraints[0].metric.name, "decode_speed");
  EXPECT_DOUBLE_EQ(*fast.constraints[0].minimum, 1.5);
  EXPECT_TRUE(fast.constraints[0].of_input);
  EXPECT_EQ(fast.constraints[1].metric.name, "inference_bytes");
  EXPECT_DOUBLE_EQ(*fast.constraints[1].maximum, 300e6);
  EXPECT_EQ(fast.objectives[0].metric.name, "perplexity") << "nearest to the input within the bounds";
  EXPECT_EQ(fast.objectives[1].metric.name, "decode_speed") << "the other axis of the front";
  for (const char* same : {"speedup>=1.5 on a", "speedup>=+50% on a", "decode>=150% on a"})
    EXPECT_DOUBLE_EQ(*goal(same).constraints[0].minimum, 1.5) << same;
  EXPECT_FALSE(goal("decode>=40 on a").constraints[0].of_input);
  EXPECT_TRUE(goal("speedup=max on a, ppl<=+2%").objectives[0].maximise);
  EXPECT_EQ(goal("memory<=0.5x").objectives[1].metric.name, "inference_bytes");
  EXPECT_EQ(goal("memory<=50% on a").worker_class, "a");
}

struct Refused {
  const char* goal;
  const char* reason;
  const char* says;
};

TEST(Goal, ThatCannotBeIsRefusedWithTheFix) {
  for (const auto& [text, reason, says] : {
           Refused{"bytes<=50%, bytes>=60%, kl=min", "CONTRADICTORY_GOAL",
                   "at most 50.0 % and at least 60.0 %"},
           Refused{"kl<=0.1, kl>=0.2, bytes<=1%", "CONTRADICTORY_GOAL", "nothing has kl_mean"},
           Refused{"bytes<=50%, bytes<=40%", "CONTRADICTORY_GOAL", "twice"},
           Refused{"bytes<=50%, kl=min, kl=min", "CONTRADICTORY_GOAL", "twice"},
           Refused{"bytes<=50%, kl=max", "CONTRADICTORY_GOAL", "lower"},
           Refused{"bytes<=50%, top1=min", "CONTRADICTORY_GOAL", "higher"},
           Refused{"kl=min", "MALFORMED_GOAL", "bounds neither"},
           Refused{"bytes=min", "MALFORMED_GOAL", "bounds neither"},
           Refused{"ppl<=+2%, kl=min", "MALFORMED_GOAL", "is the input"},
           Refused{"bytes<=50%, bytes=min", "MALFORMED_GOAL", "smallest model"},
           Refused{"size<=50%", "UNKNOWN_METRIC", "'size'"},
           Refused{"speedup>=2", "MALFORMED_GOAL", "on which workers"},
           Refused{"decode=max, ppl<=+2%", "MALFORMED_GOAL", "on which workers"},
           Refused{"speedup>=2x on Big Iron", "BAD_WORKER_CLASS", "'Big Iron'"},
           Refused{"speedup>=2x on a, memory<=50% on b", "CONTRADICTORY_GOAL",
                   "two classes of workers, a and b"},
           Refused{"bytes<=50% on a", "MALFORMED_GOAL", "same on all workers"},
           Refused{"speedup>=2x on a, speedup<=150% on a", "CONTRADICTORY_GOAL",
                   "at most 150.0 % and at least 200.0 %"},
           Refused{"speedup=min on a, ppl<=+2%", "CONTRADICTORY_GOAL", "higher"},
           Refused{"speedup=max on a", "MALFORMED_GOAL", "bounds neither"},
           Refused{"speedup>=fast on a", "MALFORMED_GOAL", "'fast'"},
           Refused{"speedup>=0x on a", "OUT_OF_RANGE", "0.0 %"},
           Refused{"memory<=50%, memory=min", "MALFORMED_GOAL", "smallest model"},
           Refused{"memory<=0", "OUT_OF_RANGE", "no memory is 0"},
           Refused{"kl<=5%, bytes<=50%", "OUT_OF_RANGE", "no kl to take a share of"},
           Refused{"bytes<=0%", "OUT_OF_RANGE", "0.0 %"},
           Refused{"bytes<=-100%", "OUT_OF_RANGE", "0.0 %"},
           Refused{"bytes<=50%, top1>=1.5", "OUT_OF_RANGE", "no top1 is 1.5"},
           Refused{"bytes<=50%, ppl<=0.5", "OUT_OF_RANGE", "no ppl is 0.5"},
           Refused{"bytes<=half", "MALFORMED_GOAL", "'half'"},
           Refused{"bytes<=3parsecs", "MALFORMED_GOAL", "'3parsecs'"},
           Refused{"bytes<50%", "MALFORMED_GOAL", "no term"},
           Refused{"bytes=50%", "MALFORMED_GOAL", "one value exactly"},
           Refused{"bytes<=50%\x80", "MALFORMED_GOAL", "byte 11"},
           Refused{"", "MALFORMED_GOAL", "no term"},
           Refused{"bytes<=50%,", "MALFORMED_GOAL", "no term"},
       }) {
    SCOPED_TRACE(text);
    const auto error = thrown_by([&, text = std::string(text)] { goal(text); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.reason(), reason);
    EXPECT_EQ(error.field(), "goal");
    EXPECT_THAT(error.message(), HasSubstr(says));
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(LayerPatterns, MatchTheLayersAndNoOthers) {
  std::vector<std::string> all;
  for (int block = 0; block < 12; ++block)
    for (const char* name : {"self_attn.q_proj", "mlp.up_proj"})
      all.push_back("model.layers." + std::to_string(block) + "." + name);
  all.push_back("model.embed_tokens");
  all.push_back("modelxlayers.1.mlp.up_proj");
  const std::vector<std::string> some{all[2], all[3], all[22], "model.embed_tokens"};
  const auto patterns = layer_patterns(some);
  EXPECT_THAT(patterns, ElementsAre("model.embed_tokens", "re:model\\.layers\\.(1|11)\\.self_attn\\.q_proj$",
                                    "model.layers.1.mlp.up_proj"));
  for (const auto& layer : all) {
    const bool wanted = std::find(some.begin(), some.end(), layer) != some.end();
    const bool matched = std::any_of(patterns.begin(), patterns.end(),
                                     [&](const auto& p) { return pattern_matches(p, layer, "Linear"); });
    EXPECT_EQ(matched, wanted) << layer;
  }
}

constexpr const char* kSweep =
    "{model: M, data: {calibration: C, test: T}, goal: 'bytes<=22%, kl=min', "
    "strategy: {levels: 'gptq(bits=3, group_size=32) | gptq(bits=8)', samples: 16}}";

TEST(GoalSweep, MakesRecipesThatAPersonCanReadAndRun) {
  const Sweep sweep = parse_sweep(kSweep);
  EXPECT_TRUE(sweep.has_goal());
  const auto measured = parse_recipe(sensitivity_recipe(sweep).dump());
  EXPECT_TRUE(measured.stages.empty());
  EXPECT_EQ(measured.evaluations.at(0).suite, "sensitivity");
  EXPECT_EQ(measured.evaluations.at(0).params.at("samples"), 16);
  ASSERT_EQ(measured.evaluations.size(), 3u);
  EXPECT_EQ(measured.evaluations.at(2).suite, "perplexity")
      << "so that a model that it does not take fails first";
  EXPECT_THAT(measured.evaluations.at(2).when, ElementsAre("before"));
  const auto levels = sweep.strategy.levels;
  const StageSpec three = parse_recipe("gptq(bits=3, group_size=32)").stages[0],
                  eight = parse_recipe("gptq(bits=8)").stages[0];
  const Json uniform = plan_recipe(sweep, {{three, {"a.1.x", "a.2.x"}}});
  EXPECT_EQ(uniform["stages"][0]["targets"], Json({"re:a\\.(1|2)\\.x$"}));
  EXPECT_EQ(uniform["stages"][0]["params"]["bits"], 3);
  EXPECT_EQ(uniform["stages"][0]["params"]["samples"], 16);
  const auto mixed = parse_recipe(plan_recipe(sweep, {{three, {"a.1.x"}}, {eight, {"a.2.x"}}}).dump());
  ASSERT_EQ(mixed.stages.size(), 1u);
  EXPECT_EQ(mixed.stages[0].method, "mixed-levels");
  EXPECT_THAT(mixed.stages[0].targets, ElementsAre("a.1.x", "a.2.x"));
  EXPECT_EQ(mixed.stages[0].params["levels"][1]["params"]["bits"], 8);
  EXPECT_EQ(mixed.evaluations.size(), 2u) << "perplexity and size, for the goal";
}

TEST(GoalSweep, PutsTheRecipesOwnStagesFirstAndMeasuresBehindThem) {
  const Sweep sweep = parse_sweep(kSweep, "awq-scaling(bits=3)");
  const auto measured = parse_recipe(sensitivity_recipe(sweep).dump());
  EXPECT_EQ(measured.stages.at(0).method, "awq-scaling");
  EXPECT_THAT(measured.evaluations.at(0).when, ElementsAre("after"));
}

TEST(GoalSweep, ThatCannotBeIsRefusedWithTheField) {
  const auto field = [](const std::string& sweep) { return thrown_by([&] { parse_sweep(sweep); }).field(); };
  const std::string inputs = "model: M, data: {calibration: C, test: T}, ";
  EXPECT_EQ(field("{" + inputs + "goal: 'bytes<=50%, bytes>=60%'}"), "goal");
  EXPECT_EQ(field("{" + inputs + "goal: 'bytes<=50%', space: {seed: [1, 2]}}"), "space");
  EXPECT_EQ(field("{" + inputs + "goal: 'bytes<=50%', objectives: [kl_mean]}"), "objectives");
  EXPECT_EQ(field("{" + inputs + "goal: 'bytes<=50%', strategy: grid}"), "strategy.name");
  EXPECT_EQ(field("{" + inputs + "goal: 'bytes<=50%', strategy: {levels: [wanda]}}"),
            "strategy.levels[0].method");
  EXPECT_EQ(field("{" + inputs + "goal: 'bytes<=50%', strategy: {samples: 0}}"), "strategy.samples");
  EXPECT_EQ(field("{" + inputs + "recipe: rtn, strategy: goal, space: {seed: [1]}}"), "goal");
  EXPECT_EQ(field("{model: M, data: {calibration: C}, goal: 'bytes<=50%'}"), "data.test");
  EXPECT_EQ(field("{data: {calibration: C, test: T}, goal: 'bytes<=50%'}"), "model");
}

}  // namespace
}  // namespace wring
