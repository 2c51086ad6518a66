// Recipes of llm-compressor mean what their modifiers say, in their order; what has no counterpart is named.
#include "recipe/modifiers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipe/recipe.h"

namespace wring {
namespace {

using testing::HasSubstr;

// As the same stages written here.
void expect_same(const std::string& theirs, const std::string& ours) {
  EXPECT_EQ(parse_recipe(theirs).normal_form().dump(1), parse_recipe(ours).normal_form().dump(1)) << theirs;
}

void expect_refused(const std::string& text, const std::string& reason, const std::string& field,
                    const std::string& part) {
  try {
    (void)parse_recipe(text);
    ADD_FAILURE() << "was taken: " << text;
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), reason) << e.message();
    EXPECT_EQ(e.field(), field);
    EXPECT_THAT(e.message() + e.hint(), HasSubstr(part));
  }
}

std::string quantiser(const std::string& name, const std::string& fields) {
  return "quant_stage:\n  quant_modifiers:\n    " + name + ": {" + fields + "}\n";
}

TEST(Modifiers, KeepTheOrderOfTheirLines) {
  expect_same(R"(
test_stage:
  pruning_modifiers:
    SparseGPTModifier:
      sparsity: 0.5
      mask_structure: "2:4"
      block_size: 128
      dampening_frac: 0.1
      targets: ["re:.*mlp.*"]
  quant_modifiers:
    GPTQModifier:
      scheme: W4A16
      targets: Linear
      ignore: [lm_head]
      actorder: null
)",
              R"(
stages:
  - {method: sparsegpt, params: {pattern: "2:4", damping: 0.1}, targets: ["re:.*mlp.*"], ignore: []}
  - {method: gptq, params: {bits: 4, group_size: 128, scale_search: minmax, damping: 0.01, activation_order: false}, targets: [Linear], ignore: [lm_head]}
)");
}

TEST(Modifiers, OnOneLineHaveNoOrder) {
  expect_refused(
      "s_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16}, WandaPruningModifier: {sparsity: 0.5}}}",
      "MALFORMED_RECIPE", "s_stage.q_modifiers.WandaPruningModifier", "line");
}

TEST(Modifiers, OfConfigGroupsAreOneStageAGroup) {
  expect_same(R"(
quant_modifiers:
  GPTQModifier:
    dampening_frac: 0.001
    actorder: static
    config_groups:
      group_0:
        targets: ["re:.*self_attn.*"]
        input_activations: null
        output_activations: null
        weights: {num_bits: 8, type: "int", symmetric: true, strategy: group, group_size: 64}
      group_1:
        targets: ["re:.*mlp.*"]
        weights: {num_bits: 3, type: int, symmetric: false, strategy: channel, actorder: null, observer: mse}
)",
              R"(
stages:
  - {method: gptq, params: {bits: 8, group_size: 64, scale_search: minmax, damping: 0.001, activation_order: true}, targets: ["re:.*self_attn.*"], ignore: []}
  - {method: gptq, params: {bits: 3, group_size: -1, symmetric: false, scale_search: mse, damping: 0.001, activation_order: true}, targets: ["re:.*mlp.*"], ignore: []}
)");
}

TEST(Modifiers, TakeAGroupSizeOfMinusOneForAChannel) {
  expect_same(
      quantiser("QuantizationModifier",
                "ignore: [], config_groups: {g: {targets: [Linear], weights: {num_bits: 4, type: int, "
                "symmetric: true, group_size: -1}}}"),
      "stages: [{method: rtn, params: {bits: 4, group_size: -1, symmetric: true}, targets: [Linear], "
      "ignore: []}]");
}

TEST(Modifiers, KnowThePresetSchemes) {
  const auto stages = [](const std::string& list) { return "stages: [" + list + "]"; };
  const std::string place = "targets: [Linear], ignore: [lm_head]}";
  const std::string rtn = "{method: rtn, " + place, with_tokens = ", {method: round-inputs, params: {type: ";
  const auto theirs = [](const std::string& scheme) {
    return quantiser("QuantizationModifier", "targets: Linear, ignore: [lm_head], scheme: " + scheme);
  };
  const auto ints = [&](int bits, int group, const char* symmetric) {
    return "{method: rtn, params: {bits: " + std::to_string(bits) + ", group_size: " + std::to_string(group) +
           ", symmetric: " + symmetric + "}, " + place;
  };
  expect_same(theirs("W8A8"), stages(ints(8, -1, "true") + with_tokens + "int8}, " + place));
  expect_same(theirs("int8"), stages(ints(8, -1, "true") + with_tokens + "int8}, " + place));
  expect_same(theirs("W3A16"), stages(ints(3, 128, "true")));
  expect_same(theirs("W4A8"), stages(ints(4, 128, "true") + with_tokens + "int8}, " + place));
  expect_same(theirs("W4A16_ASYM"), stages(ints(4, 128, "false")));
  expect_same(theirs("W4AFP8"), stages(ints(4, 128, "true") + with_tokens + "float8_e4m3}, " + place));
  expect_same(theirs("FP8_DYNAMIC"),
              stages("{method: fp8, " + place + with_tokens + "float8_e4m3}, " + place));
  expect_same(theirs("FP8"), stages("{method: fp8, params: {block: 0}, " + place +
                                    ", {method: static-inputs, params: {type: float8_e4m3, symmetric: true, "
                                    "range: minmax}, " +
                                    place));
  expect_same(theirs("NVFP4A16"), stages("{method: fp4, " + place));
  expect_same(theirs("MXFP4A16"), stages("{method: fp4, params: {format: mxfp4}, " + place));
  expect_same(theirs("FP8_BLOCK"), stages("{method: fp8, params: {block: 128}, " + place + with_tokens +
                                          "float8_e4m3, group_size: 128}, " + place));
}

TEST(Modifiers, MayGiveInputsOneScaleForAll) {
  const auto theirs = [](const std::string& type, const std::string& inputs) {
    return quantiser(
        "QuantizationModifier",
        "ignore: [], config_groups: {g: {targets: [Linear], weights: {num_bits: 8, type: " + type +
            ", strategy: channel}, input_activations: {num_bits: 8, type: " + type + ", " + inputs + "}}}");
  };
  const std::string place = "targets: [Linear], ignore: []}",
                    rtn = "{method: rtn, params: {bits: 8, group_size: -1}, " + place;
  const auto inputs = [&](const std::string& params) {
    return ", {method: static-inputs, params: {" + params + "}, " + place;
  };
  expect_same(theirs("int", "symmetric: false, strategy: tensor, dynamic: false"),
              "stages: [" + rtn + inputs("symmetric: false, range: minmax") + "]");
  expect_same(theirs("int", "symmetric: true, observer: mse"),
              "stages: [" + rtn + inputs("symmetric: true, range: mse") + "]");
  expect_same(
      theirs("float", "symmetric: true, strategy: tensor"),
      "stages: [{method: fp8, " + place + inputs("type: float8_e4m3, symmetric: true, range: minmax") + "]");
  for (const char* observer : {"input_observer: mse", "observer: {input: mse}"})
    expect_same(quantiser("QuantizationModifier",
                          std::string("targets: Linear, ignore: [], scheme: FP8, ") + observer),
                "stages: [{method: fp8, params: {block: 0}, " + place +
                    inputs("type: float8_e4m3, symmetric: true, range: mse") + "]");
  expect_same(quantiser("QuantizationModifier",
                        "ignore: [], weight_observer: MSE, config_groups: {g: {targets: [Linear], "
                        "weights: {num_bits: 4, group_size: 32, observer: minmax}}}"),
              "stages: [{method: rtn, params: {bits: 4, group_size: 32, scale_search: mse}, " + place + "]");
  expect_refused(quantiser("QuantizationModifier", "targets: Linear, scheme: FP8, observer: mse"),
                 "UNSUPPORTED_MODIFIER", "quant_stage.quant_modifiers.QuantizationModifier.scheme.weights",
                 "mapping");
  for (const char* bad : {"strategy: token, dynamic: false", "strategy: tensor, dynamic: local",
                          "strategy: tensor, observer: mystery", "strategy: tensor, dynamic: true"})
    expect_refused(theirs("int", std::string("symmetric: true, ") + bad), "UNSUPPORTED_MODIFIER",
                   "quant_stage.quant_modifiers.QuantizationModifier.config_groups.g.input_activations",
                   "Known");
}

TEST(Modifiers, OfGptqWalkOntoFloatsToo) {
  const auto theirs = [](const std::string& scheme) {
    return quantiser("GPTQModifier",
                     "targets: Linear, ignore: [lm_head], dampening_frac: 0.1, scheme: " + scheme);
  };
  const auto walk = [](const std::string& params) {
    return "{method: gptq-float, params: {damping: 0.1, activation_order: true, " + params +
           "}, targets: [Linear], ignore: [lm_head]}";
  };
  const auto tokens = [](const std::string& group) {
    return ", {method: round-inputs, params: {type: float8_e4m3" + group +
           "}, targets: [Linear], ignore: [lm_head]}";
  };
  expect_same(theirs("NVFP4A16"), "stages: [" + walk("format: nvfp4") + "]");
  expect_same(theirs("MXFP4A16"), "stages: [" + walk("format: mxfp4") + "]");
  expect_same(theirs("FP8_DYNAMIC"), "stages: [" + walk("format: fp8") + tokens("") + "]");
  expect_same(theirs("FP8_BLOCK"),
              "stages: [" + walk("format: fp8, block: 128") + tokens(", group_size: 128") + "]");
  expect_same(quantiser("GPTQModifier",
                        "ignore: [], actorder: null, config_groups: {g: {targets: [Linear], weights: "
                        "{num_bits: 4, type: float, strategy: group, group_size: 32}}}"),
              "stages: [{method: gptq-float, params: {format: mxfp4, activation_order: false}, targets: "
              "[Linear], ignore: []}]");
}

TEST(Modifiers, OfAwqPrepareTheQuantiserThatFollows) {
  const std::string scaled =
      "stages:\n  - {method: awq-scaling, params: {bits: 4, group_size: 128, symmetric: false, search_steps: "
      "10}, "
      "ignore: [lm_head]}\n  - {method: rtn, params: {bits: 4, group_size: 128, symmetric: false}, ignore: "
      "[lm_head]}\n";
  const std::string place = "targets: [Linear], ignore: [lm_head], scheme: W4A16_ASYM";
  expect_same(quantiser("AWQModifier", place + ", n_grid: 10"), scaled);
  expect_same("a_modifiers:\n  AWQModifier: {n_grid: 10}\n  QuantizationModifier: {" + place + "}\n", scaled);
  expect_refused("a_modifiers:\n  AWQModifier: {}\n", "MISSING_PARAMETER", "a_modifiers.AWQModifier.scheme",
                 "no quantiser");
}

TEST(Modifiers, ThatPruneBlocksPruneTheLayersInThem) {
  const Recipe recipe = parse_recipe(
      "s_stage:\n  p_modifiers:\n    SparseGPTModifier: {sparsity: 0.5, targets: "
      "['re:model.layers.\\d+$']}\n");
  const std::string pattern = recipe.stages.at(0).targets.at(0);
  EXPECT_TRUE(pattern_matches(pattern, "model.layers.11.mlp.up_proj", "Linear"));
  EXPECT_FALSE(pattern_matches(pattern, "model.layers.x.mlp.up_proj", "Linear"));
  EXPECT_FALSE(pattern_matches(pattern, "lm_head", "Linear"));
}

TEST(Modifiers, ThatPruneByWanda) {
  expect_same("s_stage:\n  p_modifiers:\n    WandaPruningModifier: {sparsity: 0.5, targets: __ALL__}\n",
              "stages: [{method: wanda, params: {pattern: 0.5}, targets: ['re:.*'], ignore: []}]");
}

TEST(Modifiers, WithoutACounterpartAreNamed) {
  const std::string at = "quant_stage.quant_modifiers.";
  expect_refused(quantiser("SmoothQuantModifier", "smoothing_strength: 0.8"), "UNSUPPORTED_MODIFIER",
                 at + "SmoothQuantModifier", "SmoothQuantModifier");
  expect_refused(quantiser("QuantizationModifier", "scheme: NVFP4"), "UNSUPPORTED_MODIFIER",
                 at + "QuantizationModifier.scheme", "NVFP4");
  expect_refused(quantiser("QuantizationModifier", "scheme: MXFP8"), "UNSUPPORTED_MODIFIER",
                 at + "QuantizationModifier.scheme", "FP8_DYNAMIC");
  expect_refused(quantiser("GPTQModifier", "scheme: W4A16, actorder: group"), "UNSUPPORTED_MODIFIER",
                 at + "GPTQModifier.actorder", "static");
  expect_refused(quantiser("GPTQModifier", "scheme: NVFP4"), "UNSUPPORTED_MODIFIER",
                 at + "GPTQModifier.scheme", "NVFP4A16");
  expect_refused(quantiser("GPTQModifier", "scheme: W4A16, kv_cache_scheme: {num_bits: 8}"),
                 "UNSUPPORTED_MODIFIER", at + "GPTQModifier.kv_cache_scheme", "caches");
  expect_refused(quantiser("AWQModifier", "scheme: FP8_DYNAMIC"), "UNSUPPORTED_MODIFIER", at + "AWQModifier",
                 "integers");
  expect_refused(quantiser("QuantizationModifier", "scheme: FP8_DYNAMIC, weight_observer: mse"),
                 "UNSUPPORTED_MODIFIER", at + "QuantizationModifier.scheme.weights", "minmax");
  expect_refused(quantiser("SparseGPTModifier", "sparsity: 0.5, sparsity_profile: owl"),
                 "UNSUPPORTED_MODIFIER", at + "SparseGPTModifier.sparsity_profile", "counterpart");
}

TEST(Modifiers, WithMistakesNameThemAndTheLine) {
  expect_refused(quantiser("GPTQModifier", "shceme: W4A16"), "UNKNOWN_KEY",
                 "quant_stage.quant_modifiers.GPTQModifier.shceme", "scheme");
  expect_refused(quantiser("GPTQModifier", "targets: Linear"), "MISSING_PARAMETER",
                 "quant_stage.quant_modifiers.GPTQModifier.scheme", "W4A16");
  expect_refused(quantiser("GPTQModifier", "config_groups: {g: {weights: {num_bits: 4, symetric: false}}}"),
                 "UNKNOWN_KEY", "quant_stage.quant_modifiers.GPTQModifier.config_groups.g.weights.symetric",
                 "symmetric");
  expect_refused(quantiser("WandaPruningModifier", "targets: Linear"), "MISSING_PARAMETER",
                 "quant_stage.quant_modifiers.WandaPruningModifier.sparsity", "0.5");
  expect_refused(quantiser("QuantizationModifier", "scheme: W1A16"), "UNSUPPORTED_MODIFIER",
                 "quant_stage.quant_modifiers.QuantizationModifier.scheme", "W1A16");
  expect_refused("quant_stage: {x: 1, q_modifiers: {}}", "UNKNOWN_KEY", "quant_stage.x", "modifiers");
  expect_refused("quant_stage:\n  q_modifiers: {}\n", "MALFORMED_RECIPE", "stages", "neither");
}

}  // namespace
}  // namespace wring
