// Stage keys: whatever can alter a stage's output alters its key; nothing else does.
#include "recipe/stage_key.h"

#include <gtest/gtest.h>

#include <functional>
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
