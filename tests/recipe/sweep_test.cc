// Sweeps: what is refused and where, and what a point becomes.
#include "recipe/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kRecipe = R"(
recipe:
  stages: ['gptq(bits=4, group_size=64)', rtn]
  evaluations: [perplexity, size]
model: m
data: {calibration: c, test: t}
)";

Sweep sweep(const std::string& rest) {
  return parse_sweep(kRecipe + rest);
}

struct Refused {
  const char* text;
  const char* reason;
  const char* field;
  const char* said;  // in the message or the hint
};

void PrintTo(const Refused& refused, std::ostream* out) {
  *out << refused.text;
}

class RefusedSweep : public testing::TestWithParam<Refused> {};

TEST_P(RefusedSweep, NamesTheFieldAndTheWayOut) {
  const auto error = thrown_by([&] { sweep(GetParam().text); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.reason(), GetParam().reason) << error.what();
  EXPECT_EQ(error.field(), GetParam().field) << error.what();
  EXPECT_THAT(error.message() + " " + error.hint(), HasSubstr(GetParam().said));
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedSweep,
    testing::Values(
        Refused{"space: {}", "EMPTY_SPACE", "space", "without a dimension"},
        Refused{"space: {'stages[0].bits': []}", "EMPTY_SPACE", "space.stages[0].bits", "at least one value"},
        Refused{"space: {'stages[0].bits': {low: 5, high: 4}}", "EMPTY_SPACE", "space.stages[0].bits",
                "at least 5"},
        Refused{"space: {'stages[0].damping': {low: 0.01, high: 0.1}}", "ENDLESS_SPACE",
                "space.stages[0].damping", "step"},
        Refused{"space: {'stages[0].bits': [3, 4]}\nstrategy: random", "ENDLESS_SPACE", "bounds",
                "bounds.trials"},
        Refused{"space: {'stages[0].bits': [3, 5000]}", "OUT_OF_RANGE", "space.stages[0].bits",
                "one of 2, 3, 4"},
        Refused{"space: {'stages[0].bitz': [3]}", "UNKNOWN_PARAMETER", "space.stages[0].bitz",
                "Did you mean 'bits'"},
        Refused{"space: {'stages[2].bits': [3]}", "UNKNOWN_PATH", "space.stages[2].bits", "has 2 stages"},
        Refused{"space: {stages.gtpq.bits: [3]}", "UNKNOWN_PATH", "space.stages.gtpq.bits",
                "did you mean 'gptq'"},
        Refused{"space: {stage.gptq.bits: [3]}", "UNKNOWN_PATH", "space.stage.gptq.bits",
                "did you mean 'stages'"},
        Refused{"space: {'stages[0].method': [gptq, gptx]}", "UNKNOWN_METHOD", "space.stages[0].method",
                "'gptq'"},
        Refused{"space: {'stages[0].bits': [3, 4], stages.gptq.params.bits: [8]}", "CONTRADICTORY_GOAL",
                "space.stages[0].bits", "sets the same"},
        Refused{"space: {'stages[0].bits': [3]}\nobjectives: [kl_meen]", "UNKNOWN_METRIC",
                "objectives[0].metric", "Did you mean 'kl_mean'"},
        Refused{"space: {'stages[0].bits': [3]}\nobjectives: [{metric: kl_mean, goal: min}, {metric: "
                "kl_mean, goal: max}]",
                "CONTRADICTORY_GOAL", "objectives[1]", "already"},
        Refused{"space: {'stages[0].bits': [3]}\nconstraints: [{metric: perplexity, min: 30, max: 20}]",
                "CONTRADICTORY_GOAL", "constraints[0]", "at least 30"},
        Refused{"space: {'stages[0].bits': [3]}\nconstraints: [{metric: perplexity, max: '90%'}, {metric: "
                "perplexity, min: '95%'}]",
                "CONTRADICTORY_GOAL", "constraints[1]", "at most 90.0 % and at least 95.0 %"},
        Refused{"space: {'stages[0].bits': [3]}\nstrategy: {name: asha, fidelity: {path: "
                "stages.gptq.symmetric, low: 1, high: 9}}\nobjectives: [kl_mean]\nbounds: {trials: 4}",
                "WRONG_TYPE", "strategy.fidelity", "true or false"},
        Refused{"space: {'stages[0].bits': [3]}\nstrategy: grdi", "UNKNOWN_STRATEGY", "strategy.name",
                "Did you mean 'grid'"},
        Refused{"space: {'stages[0].bits': [3]}\nstrategy: tpe\nbounds: {trials: 4}", "MISSING_PARAMETER",
                "objectives", "better"},
        Refused{"space: {'stages[0].bits': [3]}\nstrategy: asha\nbounds: {trials: 4}", "MISSING_PARAMETER",
                "strategy.fidelity", "rung"},
        Refused{"space: {'stages[0].bits': [3]}\nparallel: 0", "OUT_OF_RANGE", "parallel", "1 to 10000"},
        Refused{"space: {data.calibratoin: [a]}", "UNKNOWN_DATA", "data.calibratoin", "calibration"}));

TEST(Sweep, APathHasThreeSpellings) {
  for (const char* path : {"stages[0].params.bits", "stages[0].bits", "stages.gptq.bits"}) {
    const auto parsed = sweep(std::string("space: {") + (path[6] == '[' ? "'" : "") + path +
                              (path[6] == '[' ? "'" : "") + ": [3, 8]}");
    const auto recipe = parse_recipe(trial_of(parsed, {8}).recipe);
    EXPECT_EQ(recipe.stages[0].params["bits"], 8) << path;
    EXPECT_EQ(recipe.stages[0].params["group_size"], 64) << path;
  }
}

TEST(Sweep, AWholeStageIsSetBeforeItsParameters) {
  const auto parsed =
      sweep("space: {'stages[0]': ['rtn(bits=8)', 'gptq(bits=3)'], 'stages[0].group_size': [32, 128]}");
  const auto recipe = parse_recipe(trial_of(parsed, {"rtn(bits=8)", 32}).recipe);
  EXPECT_EQ(recipe.stages[0].method, "rtn");
  EXPECT_EQ(recipe.stages[0].params["bits"], 8);
  EXPECT_EQ(recipe.stages[0].params["group_size"], 32);
}

TEST(Sweep, InputsVaryToo) {
  const auto parsed = parse_sweep(
      "recipe: 'gptq(bits=4)'\ndata: {calibration: c}\n"
      "space: {'stages[0].method': [gptq, rtn], seed: [1, 2], model: [a, b]}");
  EXPECT_EQ(*parsed.space.size(), 8u);
  EXPECT_THAT(parsed.models(), ElementsAre("a", "b"));
  EXPECT_THAT(parsed.datasets(), ElementsAre("c"));
  const auto gptq = trial_of(parsed, {"b", 2, "gptq"}), rtn = trial_of(parsed, {"a", 1, "rtn"});
  EXPECT_EQ(gptq.model, "b");
  EXPECT_EQ(gptq.seed, 2u);
  EXPECT_EQ(gptq.data.at("calibration"), "c");
  EXPECT_TRUE(rtn.data.empty());
}

TEST(Sweep, RungsGrowByEtaUpToTheHighest) {
  const auto parsed = sweep(
      "space: {'stages[0].bits': [3, 4]}\nobjectives: [kl_mean]\n"
      "strategy: {name: asha, fidelity: {path: evaluations.perplexity.windows, low: 4, high: 64, eta: 4}}\n"
      "bounds: {trials: 9}");
  ASSERT_EQ(parsed.strategy.fidelity->rungs(), 3u);
  EXPECT_EQ(parse_recipe(trial_of(parsed, {4}, 0).recipe).evaluations[0].params["windows"], 4);
  EXPECT_EQ(parse_recipe(trial_of(parsed, {4}, 2).recipe).evaluations[0].params["windows"], 64);
}

TEST(Sweep, TwoEvaluationsOfOneSuiteAreToldApartByTheirPlaces) {
  const auto with = [](const std::string& objectives) {
    return parse_sweep(
        "{model: m, data: {easy: e, hard: h}, recipe: {stages: [rtn], evaluations: ['perplexity(data=easy)', "
        "size, "
        "'perplexity(data=hard)']}, space: {stages.rtn.bits: [3, 4]}, objectives: [" +
        objectives + "]}");
  };
  const auto sweep = with(
      "{metric: perplexity, suite: 'perplexity[0]'}, {metric: perplexity, suite: "
      "'perplexity[1]'}, weight_bytes");
  EXPECT_EQ(sweep.objectives[0].metric.suite, "perplexity[0]");
  EXPECT_EQ(sweep.objectives[1].metric.suite, "perplexity[1]");
  EXPECT_EQ(sweep.objectives[2].metric.suite, "size");
  for (const auto* vague : {"perplexity", "{metric: perplexity, suite: perplexity}"}) {
    const auto error = thrown_by([&] { with(vague); });
    EXPECT_EQ(error.reason(), "AMBIGUOUS_METRIC");
    EXPECT_THAT(error.hint(), HasSubstr("suite: perplexity[0]"));
  }
  EXPECT_EQ(thrown_by([&] { with("{metric: perplexity, suite: 'perplexity[2]'}"); }).reason(),
            "UNKNOWN_METRIC");
}

TEST(Sweep, GoalsFollowTheMetricUnlessTheySayOtherwise) {
  const auto parsed = sweep(
      "space: {'stages[0].bits': [3]}\n"
      "objectives: [kl_mean, top1_agreement, {metric: artifact_bytes, goal: max}]\n"
      "constraints: [{metric: artifact_bytes, max: '50%'}]");
  EXPECT_FALSE(parsed.objectives[0].maximise);
  EXPECT_TRUE(parsed.objectives[1].maximise);
  EXPECT_TRUE(parsed.objectives[2].maximise);
  EXPECT_TRUE(parsed.constraints[0].of_input);
  EXPECT_DOUBLE_EQ(*parsed.constraints[0].maximum, 0.5);
}

// A sweep with these evaluations, stages and goals.
Sweep judged(const std::string& evaluations, const std::string& goals, const std::string& stages = "[rtn]",
             const std::string& space = "seed: [3, 4]") {
  const std::string data = evaluations.find("perplexity") == evaluations.npos ? "" : "data: {test: t}, ";
  return parse_sweep("{model: m, " + data + "recipe: {stages: " + stages + ", evaluations: [" + evaluations +
                     "]}, space: {" + space + "}, " + goals + "}");
}

TEST(Sweep, IsNotJudgedByWhatNoTrialHasAValueOf) {
  const auto refused = [](const std::string& evaluations, const std::string& goals,
                          const std::string& stages = "[rtn]") {
    return thrown_by([&] { judged(evaluations, goals, stages); });
  };
  const auto share = refused("perplexity", "constraints: [{metric: kl_mean, max: '50%'}]");
  EXPECT_EQ(share.field(), "constraints[0].max");
  EXPECT_THAT(share.message(), HasSubstr("the input has no kl_mean"));
  const auto after =
      refused("'size(when=after)'",
              "constraints: [{metric: weight_bytes, max: 1}, {metric: weight_bytes, min: '30%'}]");
  EXPECT_EQ(after.field(), "constraints[1].min");
  EXPECT_THAT(after.message(), HasSubstr("no share of the input's is known"));
  const auto before = refused("{suite: size, when: [before]}", "objectives: [weight_bytes]");
  EXPECT_EQ(before.field(), "objectives[0]");
  EXPECT_THAT(before.message(), HasSubstr("before the stages alone"));
  EXPECT_THAT(before.hint(), HasSubstr("or give it [before, after]"));
  EXPECT_THAT(refused("perplexity", "objectives: [kl_mean]", "[]").message(),
              HasSubstr("no stage makes anything"));
  EXPECT_EQ(refused("size", "constraints: [{metric: weight_bytes, max: '50%'}]", "[]").field(),
            "constraints[0].max");
  EXPECT_EQ(refused("{suite: size, when: [aftr]}", "objectives: [weight_bytes]").field(),
            "recipe.evaluations[0].when");
}

TEST(Sweep, ABoundIsANumberOrAShareWithoutASign) {
  for (const char* share : {"+2%", "-10%", "0%", "nan%", "inf%", "-inf%"}) {
    const auto error = thrown_by(
        [&] { judged("size", std::string("constraints: [{metric: weight_bytes, max: '") + share + "'}]"); });
    EXPECT_EQ(error.reason(), "OUT_OF_RANGE") << share;
    EXPECT_EQ(error.field(), "constraints[0].max") << share;
    EXPECT_THAT(error.hint(), HasSubstr("'102%'")) << share;
  }
  for (const char* number : {".nan", ".inf", "2x%"})
    EXPECT_EQ(thrown_by([&] {
                judged("size", std::string("constraints: [{metric: weight_bytes, max: ") + number + "}]");
              }).field(),
              "constraints[0].max")
        << number;
}

TEST(Sweep, IsNotAskedForWhatNoTrialHolds) {
  const auto sweep = judged("perplexity, 'size(when=after)'", "objectives: [kl_mean]");
  const auto refused = [&](std::vector<Constraint> asked) {
    return thrown_by([&] { check_asked(sweep, asked); });
  };
  const Metric kl{"perplexity", "kl_mean"}, ppl{"perplexity", "perplexity"}, bytes{"size", "weight_bytes"};
  EXPECT_NO_THROW(check_asked(sweep, {{kl, {}, 0.1, false}, {ppl, {}, 1.02, true}, {bytes, {}, 9, false}}));
  EXPECT_THAT(refused({{ppl, {}, 30, false}, {kl, {}, 0.5, true}}).message(),
              HasSubstr("the input has no kl_mean"));
  EXPECT_EQ(refused({{ppl, {}, 30, false}, {kl, {}, 0.5, true}}).field(), "constraints[1]");
  EXPECT_THAT(refused({{bytes, {}, 0.5, true}}).message(), HasSubstr("no share of the input's is known"));
  EXPECT_EQ(refused({{kl, {}, std::nan(""), false}}).reason(), "OUT_OF_RANGE");
  EXPECT_EQ(refused({{ppl, {}, 20, false}, {ppl, 30, {}, false}}).reason(), "CONTRADICTORY_GOAL");
}

TEST(Sweep, IsJudgedByWhatIsMeasuredOfItsTrialsWheneverThatIs) {
  EXPECT_NO_THROW(judged("{suite: size, when: [before]}", "objectives: [weight_bytes]", "[]"));
  EXPECT_NO_THROW(judged("{suite: size, when: [after]}", "constraints: [{metric: weight_bytes, max: 9}]"));
  EXPECT_NO_THROW(judged("{suite: perplexity, when: [each]}", "objectives: [kl_mean]"));
  EXPECT_NO_THROW(
      judged("{suite: size, when: [before, each]}", "constraints: [{metric: weight_bytes, max: '50%'}]"));
  EXPECT_NO_THROW(
      judged("perplexity", "constraints: [{metric: perplexity, max: '102%'}, {metric: kl_mean, max: 0.1}]"));
  EXPECT_NO_THROW(
      judged("{suite: perplexity, when: [after]}", "constraints: [{metric: perplexity, max: '102%'}]"))
      << "it measures the input, too";
}

TEST(Sweep, AGoalThatAsksForALossIsRefused) {
  const auto refused = [](const std::string& goal, const std::string& evaluations = "perplexity, size") {
    return thrown_by([&] {
      parse_sweep("{model: m, data: {calibration: c, test: t}, recipe: {evaluations: [" + evaluations +
                  "]}, goal: '" + goal + "'}");
    });
  };
  for (const char* goal : {"kl>=0.1", "bytes<=50%, ppl>=+2%", "bytes<=50%, top1<=0.9"}) {
    EXPECT_EQ(refused(goal).reason(), "CONTRADICTORY_GOAL") << goal;
    EXPECT_EQ(refused(goal).field(), "goal");
    EXPECT_THAT(refused(goal).message(), HasSubstr("it asks for a loss")) << goal;
  }
  EXPECT_THAT(refused("bytes<=50%, ppl<=+2%", "{suite: perplexity, when: [before]}, size").message(),
              HasSubstr("before the stages alone"));
  const auto share = refused("bytes<=50%, ppl<=+2%", "perplexity, {suite: size, when: [after]}");
  EXPECT_EQ(share.field(), "goal");
  EXPECT_THAT(share.message(), HasSubstr("no share of the input's is known"));
}

TEST(Space, AGridVisitsEveryPointOnce) {
  const auto parsed =
      sweep("space: {'stages[0].bits': [3, 4, 8], 'stages[1].bits': {low: 2, high: 8, step: 2}}");
  ASSERT_EQ(*parsed.space.size(), 12u);
  std::set<std::string> seen;
  for (std::uint64_t n = 0; n < 12; ++n) seen.insert(Json(parsed.space.values(parsed.space.point(n))).dump());
  EXPECT_EQ(seen.size(), 12u);
  EXPECT_TRUE(seen.contains("[8,6]"));
}

TEST(Space, ALogRangeHasEqualSharesForEqualRatios) {
  const Json json{{"x", {{"low", 0.001}, {"high", 10.0}, {"log", true}}}};
  const auto space = parse_space(json, "space", Source{});
  EXPECT_NEAR(space.dimensions[0].value(0.5).get<double>(), 0.1, 1e-12);
  EXPECT_NEAR(space.dimensions[0].value(0.25).get<double>(), 0.01, 1e-12);
}

}  // namespace
}  // namespace wring
