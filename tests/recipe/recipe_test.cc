// Recipes: one meaning has one normal form and digest; every mistake is named with its place and the way out.
#include "recipe/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/error.h"
#include "recipe/model_kind.h"
#include "recipe/stage_reference.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Error refusal(const std::string& text) {
  try {
    (void)parse_recipe(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error;
  }
  ADD_FAILURE() << "was taken: " << text;
  return Error(ErrorCode::kUnknown, "NOTHING", "nothing was thrown");
}

// The error of `text`: reason, field, and parts of message and hint together.
void expect_refused(const std::string& text, const std::string& reason, const std::string& field,
                    const std::vector<std::string>& parts = {}) {
  const Error error = refusal(text);
  EXPECT_EQ(error.reason(), reason) << text;
  EXPECT_EQ(error.field(), field) << text;
  for (const auto& part : parts) EXPECT_THAT(error.message() + "\n" + error.hint(), HasSubstr(part)) << text;
}

TEST(Recipe, FillsInEveryDefaultOfTheSpec) {
  const Recipe recipe = parse_recipe("gptq(bits=3)");
  ASSERT_EQ(recipe.stages.size(), 1u);
  const StageSpec& stage = recipe.stages[0];
  EXPECT_EQ(stage.method, "gptq");
  EXPECT_EQ(stage.version, Catalogue::embedded().method("gptq", "").version);
  EXPECT_EQ(stage.params.at("bits"), 3);
  EXPECT_EQ(stage.params.at("group_size"), 64);
  EXPECT_EQ(stage.params.at("symmetric"), true);
  EXPECT_EQ(stage.params.at("data"), "calibration");
  EXPECT_EQ(stage.params.size(), Catalogue::embedded().find("gptq")->parameters.size());
  EXPECT_THAT(stage.targets, ElementsAre("Linear"));
  EXPECT_THAT(stage.ignore, ElementsAre("lm_head"));
}

TEST(Recipe, InYamlJsonOneLineOrAnyKeyOrderIsTheSame) {
  const Recipe line =
      parse_recipe("wanda(pattern=2:4, samples=16) | rtn(bits=8, targets=[Embedding, lm_head], ignore=[])");
  const Recipe yaml = parse_recipe(R"(# two stages
name: sparse and small
stages:
  - method: wanda
    params:
      samples: 16
      pattern: "2:4"
  - ignore: []
    targets: [Embedding, lm_head]
    params: {bits: 8}
    method: rtn
)");
  const Recipe json =
      parse_recipe(R"x({"stages": [{"params": {"pattern": "2:4", "samples": 16.0}, "method": "wanda"},)x"
                   R"x( "rtn(targets=[Embedding, lm_head], ignore=[], bits=8)"]})x");
  EXPECT_EQ(line.stages, yaml.stages);
  EXPECT_EQ(line.stages, json.stages);
  EXPECT_EQ(yaml.name, "sparse and small");
  EXPECT_EQ(line.digest(), yaml.digest());
  EXPECT_EQ(line.digest(), json.digest());
}

TEST(Recipe, WithADefaultWrittenOutOrAnotherNameHasTheSameDigestOtherwiseNot) {
  const Digest digest = parse_recipe("rtn(bits=4)").digest();
  EXPECT_EQ(parse_recipe("rtn").digest(), digest);
  EXPECT_EQ(parse_recipe("name: x\nstages: [rtn()]").digest(), digest);
  EXPECT_EQ(parse_recipe("rtn(targets=Linear)").digest(), digest);
  EXPECT_NE(parse_recipe("rtn(bits=5)").digest(), digest);
  EXPECT_NE(parse_recipe("rtn(ignore=[])").digest(), digest);
  EXPECT_NE(parse_recipe("rtn | rtn").digest(), digest);
  EXPECT_NE(parse_recipe("stages: [rtn]\nevaluations: [size]").digest(), digest);
  EXPECT_NE(parse_recipe("rtn | magnitude").digest(), parse_recipe("magnitude | rtn").digest());
}

TEST(Recipe, DigestIsTheSha256OfTheNormalFormWithoutTheName) {
  const Recipe recipe = parse_recipe("name: n\nstages: []\nevaluations: [size]");
  EXPECT_EQ(
      recipe.normal_form().dump(),
      R"({"evaluations":[{"params":{},"suite":"size","version":4,"when":["before","after"]}],"name":"n",)"
      R"("stages":[],"version":1})");
  // printf '%s' '{"evaluations":[{...}],"stages":[],"version":1}' | sha256sum
  EXPECT_EQ(recipe.digest().hex(), "7598f013698eb32f4835cf8fe33dc63804ade6971568793ec8b017d377d34de0");
}

TEST(Recipe, ReadsBackFromItsNormalForm) {
  const Recipe recipe = parse_recipe(
      "name: a\nstages: [sparsegpt, gptq(bits=4)]\nevaluations: ['perplexity(windows=2, when=each)']");
  const Recipe again = recipe_from_normal_form(recipe.normal_form());
  EXPECT_EQ(again.normal_form(), recipe.normal_form());
  EXPECT_EQ(again.stages, recipe.stages);
  EXPECT_EQ(again.evaluations, recipe.evaluations);
  EXPECT_THAT(again.evaluations[0].when, ElementsAre("each"));
}

TEST(Recipe, OfAnotherMethodVersionIsRefusedNotRun) {
  for (const char* list : {"stages", "evaluations"}) {
    Json form = parse_recipe("stages: [rtn]\nevaluations: [size]").normal_form();
    form[list][0]["version"] = 99;
    try {
      (void)recipe_from_normal_form(form);
      ADD_FAILURE() << "was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFailedPrecondition);
      EXPECT_EQ(error.reason(), "METHOD_VERSION");
      EXPECT_THAT(error.message(), HasSubstr("99"));
    }
  }
}

TEST(Recipe, DataNamesAreThoseItsParametersName) {
  EXPECT_THAT(parse_recipe("rtn").data_names(), IsEmpty());
  EXPECT_THAT(parse_recipe("gptq | wanda(data=code)").data_names(), ElementsAre("calibration", "code"));
  EXPECT_THAT(parse_recipe("stages: [gptq]\nevaluations: [perplexity, size]").data_names(),
              ElementsAre("calibration", "test"));
}

TEST(RecipeError, UnknownKeyNamesTheNearestAndItsLine) {
  expect_refused("stages: [rtn]\nevaluatons: []\n", "UNKNOWN_KEY", "evaluatons",
                 {"Did you mean 'evaluations'?", "recipe line 2"});
  expect_refused("stages: [rtn]\nevaluation:\n  - size\n", "UNKNOWN_KEY", "evaluation",
                 {"Did you mean 'evaluations'?", "recipe line 2"});
  expect_refused("stages:\n  - method: rtn\n    target: [Linear]\n", "UNKNOWN_KEY", "stages[0].target",
                 {"'targets'", "recipe line 3"});
  expect_refused("stages: [{params: {}}]", "MALFORMED_RECIPE", "stages[0].method", {"the method is missing"});
  expect_refused("evaluations: [{params: {}}]", "MALFORMED_RECIPE", "evaluations[0].suite",
                 {"the suite is missing"});
}

TEST(RecipeError, UnknownMethodOrSuiteNamesTheNearest) {
  expect_refused("stages:\n  - rtn\n  - gptk(bits=4)\n", "UNKNOWN_METHOD", "stages[1].method",
                 {"'gptk'", "Did you mean 'gptq'?", "recipe line 3"});
  expect_refused("stages: [perplexity]", "UNKNOWN_METHOD", "stages[0].method",
                 {"is an evaluation suite", "under evaluations"});
  expect_refused("zzz", "UNKNOWN_METHOD", "stages[0].method", {"Known: ", "sparsegpt"});
  expect_refused("evaluations: [perplexty]", "UNKNOWN_SUITE", "evaluations[0].suite", {"'perplexity'"});
  expect_refused("evaluations: [rtn]", "UNKNOWN_SUITE", "evaluations[0].suite");
}

TEST(RecipeError, UnknownParameterNamesTheNearestAndAll) {
  expect_refused("stages:\n  - method: gptq\n    params:\n      bits: 4\n      groupsize: 64\n",
                 "UNKNOWN_PARAMETER", "stages[0].params.groupsize",
                 {"Did you mean 'group_size'?", "scale_dtype", "recipe line 5"});
  expect_refused("evaluations: [size(x=1)]", "UNKNOWN_PARAMETER", "evaluations[0].params.x",
                 {"It has none."});
}

TEST(RecipeError, WrongTypeShowsTheValueAndWhatItShouldBe) {
  expect_refused("stages:\n  - method: gptq\n    params: {bits: four}\n", "WRONG_TYPE",
                 "stages[0].params.bits", {"\"four\" is not a whole number", "recipe line 3"});
  expect_refused("gptq(bits=4.5)", "WRONG_TYPE", "stages[0].params.bits", {"4.5"});
  expect_refused("gptq(bits=1e300)", "WRONG_TYPE", "stages[0].params.bits");
  expect_refused("gptq(bits='4')", "WRONG_TYPE", "stages[0].params.bits");
  expect_refused("gptq(symmetric=1)", "WRONG_TYPE", "stages[0].params.symmetric", {"true or false"});
  expect_refused("gptq(damping=low)", "WRONG_TYPE", "stages[0].params.damping", {"a number"});
  expect_refused("gptq(data=3)", "WRONG_TYPE", "stages[0].params.data");
  expect_refused("stages: rtn", "WRONG_TYPE", "stages");
  expect_refused("stages: [3]", "WRONG_TYPE", "stages[0]");
  expect_refused("stages: [{method: rtn, targets: [1]}]", "WRONG_TYPE", "stages[0].targets[0]");
  expect_refused("stages: [{method: rtn, params: [1]}]", "WRONG_TYPE", "stages[0].params");
}

TEST(RecipeError, OutOfRangeShowsTheValueAndTheRange) {
  expect_refused("rtn | gptq(bits=9)", "OUT_OF_RANGE", "stages[1].params.bits",
                 {"9 is not allowed", "2, 3, 4, 5, 6, 7, 8", "bits"});
  expect_refused("gptq(group_size=-2)", "OUT_OF_RANGE", "stages[0].params.group_size", {"-1 to 65536"});
  expect_refused("rtn(group_size=0)", "OUT_OF_RANGE", "stages[0].params.group_size", {"-1 to 65536 but 0"});
  expect_refused("evaluations: ['perplexity(window=64, stride=65)']", "OUT_OF_RANGE",
                 "evaluations[0].params.stride", {"At most 64"});
  expect_refused("gptq(damping=10.5)", "OUT_OF_RANGE", "stages[0].params.damping", {"0 to 10"});
  expect_refused("gptq(scale_dtype=fp8)", "OUT_OF_RANGE", "stages[0].params.scale_dtype",
                 {"float16, bfloat16, float32"});
  expect_refused("gptq(data='a b')", "OUT_OF_RANGE", "stages[0].params.data");
  expect_refused("wanda(pattern=4:2)", "OUT_OF_RANGE", "stages[0].params.pattern", {"4:2"});
  expect_refused("rtn(targets=[])", "OUT_OF_RANGE", "stages[0].targets");
  expect_refused("evaluations: [size(when=never)]", "OUT_OF_RANGE", "evaluations[0].when",
                 {"before, after, each"});
  expect_refused("version: 2\nstages: [rtn]", "OUT_OF_RANGE", "version");
}

TEST(StageReference, IsTheInputOrAnEarlierStageByMethodOrIndex) {
  const auto reference = [](const std::string& text) {
    const auto stages = parse_recipe(text).stages;
    return reference_index(stages, stages.size() - 1);
  };
  EXPECT_EQ(reference("flap | distill | gptq | eora(reference=distill)"), 1u);
  EXPECT_EQ(reference("flap | distill | gptq | eora(rank=8, reference=0)"), 0u);
  EXPECT_EQ(reference("gptq | eora(reference=input)"), std::nullopt);
  EXPECT_EQ(reference("gptq | eora | rtn"), std::nullopt);
  EXPECT_EQ(reference("stages: [rtn, wanda, gptq, {method: svd-compensation, params: {reference: wanda}}]"),
            1u);
  EXPECT_EQ(reference("eora | rtn | gptq | eora(reference=eora)"), 0u);
}

TEST(StageReference, HasOneNormalFormHoweverItIsNamed) {
  const Recipe plain = parse_recipe("flap | rtn | eora"),
               named = parse_recipe("flap | rtn | eora(reference=flap)");
  EXPECT_NE(named.digest(), plain.digest());
  EXPECT_EQ(named.digest(), parse_recipe("flap | rtn | eora(reference=0)").digest());
  EXPECT_EQ(plain.digest(), parse_recipe("flap | rtn | eora(reference=input)").digest());
  EXPECT_EQ(named.stages[2].params.at("reference"), "flap");
  const Recipe twice = parse_recipe("rtn | rtn | gptq | eora(reference=0)");
  EXPECT_EQ(twice.stages[3].params.at("reference"), 0);
  EXPECT_EQ(recipe_from_normal_form(twice.normal_form()).stages, twice.stages);
}

TEST(StageReference, ThatIsNoEarlierStageIsNamedWithThoseThatAre) {
  const std::string field = "stages[3].params.reference", chain = "flap | distill | gptq | eora(reference=";
  expect_refused(chain + "distil)", "UNKNOWN_REFERENCE", field,
                 {"'distil'", "Did you mean 'distill'?", "input, 0 (flap), 1 (distill)."});
  expect_refused(
      "stages:\n  - flap\n  - rtn\n  - gptq\n  - method: eora\n    params: {reference: nothing}\n  - wanda\n",
      "UNKNOWN_REFERENCE", field, {"recipe line 6"});
  expect_refused(chain + "wanda) | wanda", "UNKNOWN_REFERENCE", field,
                 {"stages[4] (wanda) runs after this stage"});
  expect_refused(chain + "4) | wanda", "UNKNOWN_REFERENCE", field, {"stages[4] (wanda) runs after"});
  for (const char* own : {"eora)", "3)"})
    expect_refused(chain + own, "UNKNOWN_REFERENCE", field, {"no reference of itself"});
  expect_refused("rtn | distill | rtn | eora(reference=rtn)", "UNKNOWN_REFERENCE", field, {"index: 0 or 2"});
  expect_refused(chain + "7)", "UNKNOWN_REFERENCE", field, {"no stage of index 7"});
  for (const char* none : {"-1)", "1.5)", "true)", "1e300)"})
    expect_refused(chain + none, "WRONG_TYPE", field);
  expect_refused(chain + "gptq)", "NO_REFERENCE", field, {"what this stage begins with", "input"});
}

TEST(StageReference, IsOfMethodsAloneThatNeedOne) {
  for (const auto* method : Catalogue::embedded().methods()) {
    const auto* const parameter = method->parameter("reference");
    const bool needs =
        std::find(method->needs.begin(), method->needs.end(), "reference") != method->needs.end();
    EXPECT_EQ(parameter && parameter->type == "stage", needs) << method->name;
  }
  expect_refused("flap | rtn | gptq(reference=flap)", "UNKNOWN_PARAMETER", "stages[2].params.reference");
}

TEST(RecipeError, MissingParameterIsNamedWithItsHelp) {
  const Catalogue catalogue({parse_method_spec(
      "{name: m, version: 1, kind: sparse, summary: s, takes: [encoder], determinism: any-threads, "
      "parameters: {share: {type: number, help: How much.}}}")});
  try {
    (void)parse_recipe("m()", catalogue);
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "MISSING_PARAMETER");
    EXPECT_EQ(error.field(), "stages[0].params.share");
    EXPECT_THAT(error.hint(), HasSubstr("How much."));
  }
  EXPECT_EQ(parse_recipe("m(share=0.25)", catalogue).stages[0].params.at("share"), 0.25);
}

TEST(RecipeError, AnExportThatCannotHoldWhatTheStagesLeaveIsRefusedBeforeTheyRun) {
  expect_refused("gptq(bits=5) | gptq-checkpoint", "NOT_EXPRESSIBLE", "exports[0]",
                 {"2, 3, 4, 8 bits", "stages[0].params.bits is 5", "compressed-tensors"});
  expect_refused("rtn(bits=4) | gptq(bits=3) | compressed-tensors | awq-checkpoint", "NOT_EXPRESSIBLE",
                 "exports[1]", {"stages[1].params.bits is 3"});
  for (const char* format : {"gguf", "huggingface", "gptq-checkpoint", "awq-checkpoint"})
    for (const std::string rounding : {"round-inputs", "static-inputs"})
      expect_refused("rtn(bits=4) | " + rounding + " | " + format, "NOT_EXPRESSIBLE", "exports[0]",
                     {rounding});
  for (const auto& [recipe, made] : {std::pair{"fp8 | gptq-checkpoint", "float8"},
                                     {"fp4 | awq-checkpoint", "float4"},
                                     {"bitstack | compressed-tensors", "residual"},
                                     {"rtn(bits=4) | fp8 | gptq-checkpoint", "float8"},
                                     {"rtn(bits=4) | eora | compressed-tensors", "sum"},
                                     {"rtn(bits=4) | wanda(pattern=2:4) | compressed-tensors", "masked"},
                                     {"wanda(pattern=2:4) | compressed-tensors", "masked"}})
    expect_refused(recipe, "NOT_EXPRESSIBLE", "exports[0]", {"holds packed-int", made, "stages["});
  // What comes last counts; layers that are named one by one, and embeddings, are the exporter's to judge.
  for (const char* fits :
       {"rtn(bits=5) | gptq(bits=4) | gptq-checkpoint", "rtn(bits=4) | round-inputs | compressed-tensors",
        "rtn(bits=8, group_size=-1) | static-inputs | onnx",
        "gptq(bits=4) | rtn(bits=5, targets=[Embedding]) | gptq-checkpoint", "rtn(bits=5) | gguf",
        "wanda(pattern=2:4) | rtn(bits=4) | compressed-tensors", "round-inputs | compressed-tensors",
        "magnitude(pattern=0.5) | rtn(bits=4, targets=[re:.*up_proj]) | compressed-tensors",
        "rtn(bits=4) | magnitude(pattern=0.5, ignore=[re:.*up_proj]) | compressed-tensors"})
    EXPECT_NO_THROW((void)parse_recipe(fits)) << fits;
}

TEST(RecipeError, AnExportIsMadeOnce) {
  expect_refused("rtn(bits=4) | gguf(type=Q8_0) | gguf | gguf(type=q8_0)", "TWICE", "exports[2]",
                 {"exports[0]"});
}

TEST(Recipe, AChoiceMayBeWrittenInEitherCase) {
  EXPECT_EQ(parse_recipe("rtn(bits=4) | gguf(type=q4_k_m)").exports[0].params.at("type"), "Q4_K_M");
  expect_refused("rtn(bits=4) | gguf(type=Q9)", "OUT_OF_RANGE", "exports[0].params.type", {"Q4_K_M"});
}

TEST(RecipeError, AJobReadsNoFileOfItsWorker) {
  check_reads_no_file(parse_recipe("rtn(bits=4) | gguf"));
  try {
    check_reads_no_file(parse_recipe("rtn(bits=4) | huggingface | gguf(imatrix=here.gguf)"));
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "NOT_IN_A_JOB");
    EXPECT_EQ(error.field(), "exports[1].params.imatrix");
  }
}

TEST(RecipeError, BadPatternIsNamedByItsPlace) {
  expect_refused("stages:\n  - method: rtn\n    targets:\n      - Linear\n      - 're:(unclosed'\n",
                 "BAD_PATTERN", "stages[0].targets[1]", {"(unclosed", "recipe line 5"});
  expect_refused("stages: [{method: rtn, ignore: ['" + std::string(1001, 'x') + "']}]", "BAD_PATTERN",
                 "stages[0].ignore[0]");
}

TEST(RecipeError, MalformedTextIsRefusedWithItsPlace) {
  for (const char* text : {"", "[]", "stages: []", "name: x"})
    EXPECT_EQ(refusal(text).reason(), "MALFORMED_RECIPE") << text;
  expect_refused("stages: [rtn\n", "MALFORMED_RECIPE", "recipe", {"line"});
  expect_refused("a: 1\na: 2\n", "MALFORMED_RECIPE", "recipe", {"twice", "line 2"});
  expect_refused("stages: &x [rtn]\n", "MALFORMED_RECIPE", "recipe", {"anchors"});
  expect_refused("stages: [&x rtn, *x]\n", "MALFORMED_RECIPE", "recipe", {"anchors"});
  expect_refused("name: !!binary aGk=\nstages: [rtn]\n", "MALFORMED_RECIPE", "recipe", {"tags", "line 1"});
  expect_refused("stages: [rtn]\n---\nstages: [rtn]\n", "MALFORMED_RECIPE", "recipe",
                 {"more than one document"});
  expect_refused(std::string(100, '[') + std::string(100, ']'), "MALFORMED_RECIPE", "recipe",
                 {"nests deeper"});
  expect_refused("name: \xff\nstages: [rtn]\n", "MALFORMED_RECIPE", "recipe", {"no UTF-8"});
  expect_refused("# " + std::string(1 << 20, 'x'), "MALFORMED_RECIPE", "recipe", {"1 MiB"});
}

TEST(RecipeError, InACallNamesTheColumn) {
  expect_refused("rtn | gptq(bits 4)", "MALFORMED_RECIPE", "stages[1]", {"'=' is missing at column 11"});
  expect_refused("gptq(bits=4", "MALFORMED_RECIPE", "stages[0]", {"column 12"});
  expect_refused("gptq(bits=4) x", "MALFORMED_RECIPE", "stages[0]", {"something behind the call"});
  expect_refused("gptq(bits=4, bits=4)", "MALFORMED_RECIPE", "stages[0]", {"'bits' stands twice"});
  expect_refused("gptq(bits=)", "MALFORMED_RECIPE", "stages[0]", {"a value is missing"});
  expect_refused("rtn | ", "MALFORMED_RECIPE", "stages[1]", {"a name is missing"});
  expect_refused("sample(prompt='x", "MALFORMED_RECIPE", "evaluations[0]", {"closing quote"});
}

TEST(OneLine, HoldsSuitesAndFormatsBesideStages) {
  const Recipe recipe = parse_recipe("hesso | accuracy(data=held) | size");
  ASSERT_EQ(recipe.stages.size(), 1u);
  ASSERT_EQ(recipe.evaluations.size(), 2u);
  EXPECT_EQ(recipe.evaluations[0].params.at("data"), "held");
  EXPECT_EQ(parse_recipe("size").evaluations.size(), 1u);
}

TEST(Numbers, AreOneOrSeveralAndAListInTheNormalForm) {
  const auto mean = [](const std::string& text) {
    return parse_recipe("accuracy(mean=" + text + ")").evaluations.at(0).params.at("mean");
  };
  EXPECT_EQ(mean("0.5"), Json::array({0.5}));
  EXPECT_EQ(mean("[0.5, 0.25, 1]"), Json::array({0.5, 0.25, 1.0}));
  EXPECT_EQ(mean("'0.5, 0.25'"), Json::array({0.5, 0.25}));
  EXPECT_EQ(mean("'[0.5, 0.25]'"), Json::array({0.5, 0.25}));  // as --param hands it on
  for (const char* wrong : {"a", "[]", "[a]", "true", "'1, x'"})
    expect_refused(std::string("accuracy(mean=") + wrong + ")", "WRONG_TYPE", "evaluations[0].params.mean");
  expect_refused("accuracy(std=[1, 0])", "OUT_OF_RANGE", "evaluations[0].params.std");
}

TEST(ModelKind, ThatAMethodSuiteOrFormatDoesNotTakeIsRefusedWithWhatDoes) {
  const auto refused = [](const char* recipe, const std::vector<std::string>& kinds) {
    return thrown_by([&] { check_model_kind(parse_recipe(recipe), kinds); });
  };
  const Error error = refused("hesso | gptq(bits=4)", {"graph"});
  EXPECT_EQ(error.reason(), "WRONG_MODEL_KIND");
  EXPECT_EQ(error.field(), "stages[1].method");
  EXPECT_THAT(error.message(), HasSubstr("this model is an ONNX graph"));
  EXPECT_THAT(error.hint(), HasSubstr("hesso"));
  EXPECT_EQ(refused("hesso", {"decoder-lm", "encoder"}).field(), "stages[0].method");
  EXPECT_EQ(refused("hesso | size | perplexity", {"graph"}).field(), "evaluations[1].suite");
  EXPECT_EQ(refused("hesso | gguf", {"graph"}).field(), "exports[0].format");
  check_model_kind(parse_recipe("similarity | rtn(bits=4)"), {"decoder-lm", "encoder"});
}

TEST(OneLine, KeepsBarsCommasAndBracketsInsideQuotes) {
  const Recipe recipe = parse_recipe(R"(evaluations: ['sample(prompt="a | b, (c", tokens=3)'])");
  EXPECT_EQ(recipe.evaluations[0].params.at("prompt"), "a | b, (c");
  const Recipe pattern = parse_recipe(R"(rtn(targets=["re:a|b", Linear]) | magnitude)");
  EXPECT_THAT(pattern.stages[0].targets, ElementsAre("re:a|b", "Linear"));
  EXPECT_EQ(pattern.stages.size(), 2u);
}

TEST(Pattern, MatchesALayersNameItsClassOrAnExpressionAtTheStart) {
  const std::string layer = "model.layers.3.mlp.down_proj";
  EXPECT_TRUE(pattern_matches("Linear", layer, "Linear"));
  EXPECT_FALSE(pattern_matches("Embedding", layer, "Linear"));
  EXPECT_TRUE(pattern_matches(layer, layer, "Linear"));
  EXPECT_FALSE(pattern_matches("model.layers.3", layer, "Linear"));
  EXPECT_TRUE(pattern_matches("re:model\\.layers\\.3", layer, "Linear"));
  EXPECT_TRUE(pattern_matches("re:.*down_proj$", layer, "Linear"));
  EXPECT_FALSE(pattern_matches("re:down_proj", layer, "Linear"));  // as re.match, not re.search
  EXPECT_FALSE(pattern_matches("re:Linear", layer, "Linear"));
}

TEST(SparsityPattern, IsAShareOrNOfM) {
  EXPECT_EQ(SparsityPattern::parse(0.5, "f").share, 0.5);
  EXPECT_EQ(SparsityPattern::parse(0.5, "f").m, 0);
  const auto two_of_four = SparsityPattern::parse("2:4", "f");
  EXPECT_EQ(two_of_four.n, 2);
  EXPECT_EQ(two_of_four.m, 4);
  EXPECT_EQ(two_of_four.share, 0.5);
  for (const Json& bad :
       std::vector<Json>{0, 1, -0.5, 1.5, "4:4", "0:4", "5:4", "2:65", "2:4 ", "a", true, nullptr}) {
    try {
      (void)SparsityPattern::parse(bad, "stages[0].params.pattern");
      ADD_FAILURE() << bad.dump() << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.reason(), "OUT_OF_RANGE") << bad.dump();
      EXPECT_EQ(error.field(), "stages[0].params.pattern");
    }
  }
}

TEST(DataName, IsLettersDigitsDashesAndUnderscores) {
  for (const char* good : {"a", "wiki-test_2"}) EXPECT_TRUE(is_data_name(good));
  for (const std::string& bad :
       {std::string(), std::string("a b"), std::string("a/b"), std::string("\xc3\xa4"), std::string(65, 'a')})
    EXPECT_FALSE(is_data_name(bad)) << bad;
}

}  // namespace
}  // namespace wring
