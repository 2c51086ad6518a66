// Stage keys: whatever can alter a stage's output alters its key; nothing else does.
#include "recipe/stage_key.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

namespace wring {
namespace {

StageKeyInputs inputs() {
  return {sha256("model"), {{"calibration", sha256("text")}}, 7, "cpu", "avx512-bf16", 1};
}

StageSpec stage(const std::string& text) {
  return parse_recipe(text).stages.at(0);
}

const std::vector<std::function<void(StageKeyInputs&)>> kChanges{
    [](StageKeyInputs& i) { i.input = sha256("other"); },
    [](StageKeyInputs& i) { i.data["calibration"] = sha256("other"); },
    [](StageKeyInputs& i) {
      i.data = {{"code", sha256("text")}};
    },
    [](StageKeyInputs& i) { i.data["more"] = sha256("text"); },
    [](StageKeyInputs& i) { i.seed = 8; },
    [](StageKeyInputs& i) { i.device_class = "cuda"; },
    [](StageKeyInputs& i) { i.kernel_level = "avx2"; },
    [](StageKeyInputs& i) { i.numerics_version = 2; },
};

TEST(StageKey, ChangesWithEveryInput) {
  std::set<Digest> keys{stage_key(stage("gptq"), inputs())};
  for (const auto& change : kChanges) {
    auto changed = inputs();
    change(changed);
    keys.insert(stage_key(stage("gptq"), changed));
  }
  EXPECT_EQ(keys.size(), 1 + kChanges.size());
}

TEST(StageKey, OfTrainingAloneChangesWithTheNumberOfProcesses) {
  auto four = inputs();
  four.processes = 4;
  EXPECT_NE(stage_key(stage("finetune"), four), stage_key(stage("finetune"), inputs()));
  EXPECT_EQ(stage_key(stage("gptq"), four), stage_key(stage("gptq"), inputs()));
}

TEST(StageKey, ChangesWithMethodVersionParametersAndLayers) {
  std::set<Digest> keys;
  const std::vector<std::string> stages{"gptq", "rtn", "gptq(bits=3)", "gptq(targets=Embedding)",
                                        "gptq(ignore=[])"};
  for (const auto& text : stages) keys.insert(stage_key(stage(text), inputs()));
  StageSpec newer = stage("gptq");
  ++newer.version;
  keys.insert(stage_key(newer, inputs()));
  EXPECT_EQ(keys.size(), stages.size() + 1);
}

TEST(StageKey, ChangesWithEveryParameterOfEveryMethodThoughItsDefaultIsNotWritten) {
  for (const auto* method : Catalogue::embedded().methods()) {
    const auto plain = stage(method->name);
    std::set<Digest> keys{stage_key(plain, inputs())};
    for (const auto& parameter : method->parameters) {
      auto changed = plain;
      ASSERT_TRUE(changed.params.contains(parameter.name)) << method->name << "." << parameter.name;
      changed.params[parameter.name] = "another value";
      keys.insert(stage_key(changed, inputs()));
    }
    EXPECT_EQ(keys.size(), 1 + method->parameters.size()) << method->name;
  }
}

TEST(StageKey, IsTheSameForAnyRecipeNameKeyOrderCommentsAndWrittenDefaults) {
  const Digest key = stage_key(stage("gptq(bits=4, samples=16)"), inputs());
  EXPECT_EQ(stage_key(stage("gptq(samples=16)"), inputs()), key);
  EXPECT_EQ(stage_key(stage("# comment\nname: x\nstages: [{params: {samples: 16}, method: gptq}]"), inputs()),
            key);
  EXPECT_EQ(stage_key(parse_recipe("rtn | gptq(samples=16)").stages.at(1), inputs()), key);
}

TEST(StageKey, IsTheSameInEveryReleaseOfTheSameNumerics) {
  const StageSpec plain{"size", 1, Json::object(), {"Linear"}, {"lm_head"}};
  // sha256sum of
  // {"data":{},"device_class":"cpu","input":"00...","kernel_level":"avx2","numerics_version":1,"seed":0,
  // "stage":{"ignore":["lm_head"],"method":"size","params":{},"targets":["Linear"],"version":1}}
  EXPECT_EQ(stage_key(plain, {{}, {}, 0, "cpu", "avx2", 1}).hex(),
            "147f1fdd78442bcd3341ae533b89de908a3acac66fcce9e4d90f88fe20b2f5f7");
}

Digest key_of_statistics(const std::string& text, const StageKeyInputs& from = inputs()) {
  const auto parsed = stage(text);
  return statistics_key(*statistics_of(parsed.method, parsed.params), from);
}

TEST(StatisticsKey, ChangesWithEveryInputButTheSeed) {
  std::set<Digest> keys{key_of_statistics("gptq(propagate=dense)")};
  for (const auto& change : kChanges) {
    auto changed = inputs();
    change(changed);
    keys.insert(key_of_statistics("gptq(propagate=dense)", changed));
  }
  EXPECT_EQ(keys.size(), kChanges.size()) << "one of the changes is the seed's";
}

TEST(StatisticsKey, ChangesWithWhatIsGatheredAndHowAndNothingElse) {
  const Digest key = key_of_statistics("gptq(propagate=dense)");
  for (const char* same :
       {"gptq(propagate=dense, bits=3)", "gptq(propagate=dense, group_size=32)",
        "gptq(propagate=dense, damping=0.1)", "gptq(propagate=dense, targets=['re:.*q_proj'])",
        "gptq(propagate=dense, ignore=[])", "sparsegpt(propagate=dense, forward_dtype=auto)"})
    EXPECT_EQ(key_of_statistics(same), key) << same;
  std::set<Digest> keys{key};
  const std::vector<std::string> others{
      "gptq(propagate=dense, samples=64)", "gptq(propagate=dense, sequence_length=256)",
      "gptq(propagate=dense, forward_dtype=float32)", "wanda(propagate=dense, forward_dtype=auto)"};
  for (const auto& other : others) keys.insert(key_of_statistics(other));
  keys.insert(stage_key(stage("gptq(propagate=dense)"), inputs()));
  EXPECT_EQ(keys.size(), others.size() + 2);
}

TEST(StatisticsKey, IsOfStagesAloneThatGatherTheirInputModels) {
  for (const char* own : {"gptq", "rtn", "eora(propagate=dense)", "flap", "wanda(propagate=compressed)"})
    EXPECT_FALSE(statistics_of(stage(own).method, stage(own).params).has_value()) << own;
}

// Whatever parameter a method gets that its calibration may read must be among the settings.
TEST(StatisticsKey, KnowsEveryParameterThatMethodsWithStatisticsHaveInCommon) {
  std::map<std::string, int> methods;
  int all = 0;
  for (const auto* method : Catalogue::embedded().methods()) {
    if (method->statistics.empty()) continue;
    ++all;
    for (const auto& parameter : method->parameters) ++methods[parameter.name];
  }
  std::set<std::string> common;
  for (const auto& [name, count] : methods)
    if (count == all) common.insert(name);
  EXPECT_EQ(common,
            (std::set<std::string>{"data", "samples", "sequence_length", "propagate", "forward_dtype"}));
}

TEST(Prefixes, AreWhatTheEngineMakesInItsOrder) {
  const auto names = [](const std::string& text) { return prefix_names(parse_recipe(text), inputs()); };
  const std::string evaluations = ", evaluations: ['perplexity', 'latency', 'size(when=after)']}";
  const auto four = names("{stages: ['gptq(propagate=dense)', 'rtn(bits=8)']" + evaluations),
             three = names("{stages: ['gptq(propagate=dense, bits=3)', 'rtn(bits=8)']" + evaluations);
  ASSERT_EQ(four.size(), 4u) << "perplexity before, statistics, gptq, rtn";
  EXPECT_EQ(four[0], three[0]);
  EXPECT_EQ(four[1], three[1]);
  EXPECT_NE(four[2], three[2]);
  EXPECT_NE(four[3], three[3]);
  EXPECT_EQ(names("gptq").size(), 1u);
}

TEST(Prefixes, DifferByTheStageThatIsTheReference) {
  const auto last = [](const std::string& text) { return prefix_names(parse_recipe(text), inputs()).back(); };
  const std::string chain = "flap | distill | gptq | eora(reference=";
  const std::set<Digest> names{last("flap | distill | gptq | eora"), last(chain + "flap)"),
                               last(chain + "distill)")};
  EXPECT_EQ(names.size(), 3u);
  EXPECT_EQ(last(chain + "1)"), last(chain + "distill)"));
}

// The engine's steps "statistics: ..." are counted as prefixes wherever they stand.
TEST(Prefixes, HaveTheStatisticsOfEvaluationsBetweenStagesAndBehindThem) {
  const auto names = [](const std::string& when) {
    return prefix_names(parse_recipe("{stages: ['gptq(propagate=dense)', 'gptq(bits=8, propagate=dense)'], "
                                     "evaluations: [{suite: sensitivity, when: [" +
                                     when + "]}]}"),
                        inputs());
  };
  const auto none = prefix_names(
      parse_recipe("{stages: ['gptq(propagate=dense)', 'gptq(bits=8, propagate=dense)']}"), inputs());
  ASSERT_EQ(none.size(), 4u) << "statistics, gptq, statistics, gptq";
  const auto each = names("each"), after = names("after");
  ASSERT_EQ(each.size(), 6u) << "statistics, gptq, those of sensitivity, statistics, gptq, those again";
  EXPECT_EQ(each[1], none[1]);
  EXPECT_EQ(each[4], none[3]);
  ASSERT_EQ(after.size(), 5u);
  EXPECT_EQ(after[4], each[5]);
}

TEST(EvaluationKey, ChangesWithEveryInputAndParameterButNotWithWhen) {
  const auto evaluation = [](const std::string& text) {
    return parse_recipe("evaluations: [" + text + "]").evaluations.at(0);
  };
  std::set<Digest> keys{evaluation_key(evaluation("perplexity"), inputs()),
                        evaluation_key(evaluation("perplexity(windows=3)"), inputs()),
                        evaluation_key(evaluation("similarity"), inputs()),
                        stage_key(stage("gptq"), inputs())};
  for (const auto& change : kChanges) {
    auto changed = inputs();
    change(changed);
    keys.insert(evaluation_key(evaluation("perplexity"), changed));
  }
  EXPECT_EQ(keys.size(), 4 + kChanges.size());
  EXPECT_EQ(evaluation_key(evaluation("perplexity(when=each)"), inputs()),
            evaluation_key(evaluation("perplexity"), inputs()));
}

}  // namespace
}  // namespace wring
