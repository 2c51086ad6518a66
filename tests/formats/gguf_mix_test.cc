// The choice of types: what llama-quantize chose for the same models, and overrides.
#include "formats/gguf_mix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/json.h"
#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The tensors of tests/parity/gguf_mix_parity.py's models, by name.
std::vector<GgufTensorShape> tensors_of(const Json& model) {
  const std::int64_t columns = model.at("columns"), experts = model.value("experts", 0);
  std::vector<GgufTensorShape> tensors;
  const auto add = [&](const std::string& name) {
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    std::vector<std::int64_t> shape{2, columns};
    if (has("norm")) shape = {columns};
    if (has("exps")) shape = {experts, 2, columns};
    tensors.push_back({name, shape});
  };
  for (const char* name : {"token_embd.weight", "output_norm.weight"}) add(name);
  if (!model.at("tied")) add("output.weight");
  std::vector<std::string> parts{"attn_q", "attn_k", "attn_v", "attn_output", "attn_norm", "ffn_norm"};
  if (model.at("architecture") == "falcon") parts = {"attn_qkv", "attn_output", "attn_norm", "ffn_norm"};
  for (const char* part : {"ffn_gate", "ffn_up", "ffn_down"})
    parts.push_back(part + std::string(experts ? "_exps" : ""));
  if (experts) parts.push_back("ffn_gate_inp");
  for (int block = 0; block < model.at("blocks"); ++block)
    for (const auto& part : parts) add("blk." + std::to_string(block) + "." + part + ".weight");
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

GgufModelFacts facts_of(const Json& model) {
  return {model.at("architecture"), model.at("blocks"), model.at("heads"), model.at("kv"),
          model.value("experts", 0)};
}

// gguf_mix_golden.json is gguf_mix_parity.py's: what llama_model_quantize made of its models.
TEST(GgufMix, OfEveryFileTypeGivesEveryTensorTheTypeThatLlamaQuantizeGivesIt) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "gguf_mix_golden.json";
  const Json golden = parse_json(read_file(path), "golden");
  std::size_t compared = 0;
  for (const auto& [name, model] : golden.at("models").items()) {
    const auto tensors = tensors_of(model);
    for (const auto& [kind, letters] : model.at("types").items()) {
      const bool imatrix = kind.ends_with("+imatrix");
      const auto& file_type = gguf_file_type(kind.substr(0, kind.find('+')));
      const auto types = choose_ggml_types(file_type, facts_of(model), tensors, imatrix);
      const std::string wanted = letters;
      ASSERT_EQ(types.size(), wanted.size()) << name;
      for (std::size_t i = 0; i < types.size(); ++i, ++compared)
        EXPECT_EQ(to_string(types[i]), golden.at("letters").at(std::string(1, wanted[i])).get<std::string>())
            << name << " " << kind << " " << tensors[i].name;
    }
  }
  EXPECT_GT(compared, 30000u);
}

const GgufModelFacts kLlama{"llama", 2, 4, 4, 0};
const std::vector<GgufTensorShape> kTensors{{"token_embd.weight", {8, 512}},
                                            {"blk.0.attn_v.weight", {512, 512}},
                                            {"blk.0.attn_norm.weight", {512}},
                                            {"blk.1.ffn_down.weight", {512, 96}},
                                            {"output.weight", {8, 512}}};

TEST(GgufMix, OverridesApplyInTheirOrderAndFallBackWhereTheirBlocksDoNotDivide) {
  const std::vector<GgmlTypeOverride> overrides{parse_ggml_type_override("attn_v=q8_0"),
                                                parse_ggml_type_override("blk\\.[0-9]+\\.=Q3_K"),
                                                parse_ggml_type_override("NORM=q8_0")};
  EXPECT_THAT(
      choose_ggml_types(gguf_file_type("q4_k_s"), kLlama, kTensors, false, overrides),
      ElementsAre(GgmlType::kQ4_K, GgmlType::kQ8_0, GgmlType::kF32, GgmlType::kQ4_0, GgmlType::kQ6_K));
}

TEST(GgufMix, OverridesApplyToAnUnquantisedFileToo) {
  const std::vector<GgmlTypeOverride> overrides{parse_ggml_type_override("output=bf16")};
  EXPECT_THAT(choose_ggml_types(gguf_file_type("F16"), kLlama, kTensors, false, overrides),
              ElementsAre(GgmlType::kF16, GgmlType::kF16, GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16));
}

TEST(GgufMix, AnOverrideThatMakesNoSenseIsRefusedByItsPattern) {
  for (const auto& [text, field] : std::map<std::string, std::string>{{"attn_v", "attn_v"},
                                                                      {"=q8_0", "=q8_0"},
                                                                      {"a(=q8_0", "a("},
                                                                      {"(a)\\1=q8_0", "(a)\\1"},
                                                                      {"attn_v=q9", "attn_v"}}) {
    const Error error = error_of([&, &text = text] { (void)parse_ggml_type_override(text); });
    EXPECT_EQ(error.reason(), "BAD_TENSOR_TYPE") << text;
    EXPECT_EQ(error.field(), field);
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(GgufMix, FileTypesHaveLlamaCppsIdsAndAnUnknownOneIsRefusedWithTheList) {
  EXPECT_EQ(gguf_file_type("Q4_K").id, 15u);
  EXPECT_EQ(gguf_file_type("bf16").id, 32u);
  EXPECT_EQ(gguf_file_type("MXFP4_MOE").id, 38u);
  const Error error = error_of([] { (void)gguf_file_type("Q9_K"); });
  EXPECT_EQ(error.reason(), "UNSUPPORTED_GGUF_FILE_TYPE");
  EXPECT_THAT(error.hint(), HasSubstr("Q4_K_M"));
}

TEST(GgufMix, Q2KSWithoutAnImatrixIsRefused) {
  const Error error = error_of([] { (void)choose_ggml_types(gguf_file_type("Q2_K_S"), kLlama, kTensors); });
  EXPECT_EQ(error.reason(), "IMATRIX_NEEDED");
  EXPECT_EQ(error.field(), "blk.0.attn_v.weight");
}

TEST(GgufMix, AnExpertsTensorOfNoBlockIsRefused) {
  const std::vector<GgufTensorShape> tensors{{"blk.2.ffn_down_exps.weight", {8, 2, 256}}};
  const Error error = error_of([&] {
    (void)choose_ggml_types(gguf_file_type("Q4_K_M"), {"llama", 2, 4, 4, 8}, tensors);
  });
  EXPECT_EQ(error.reason(), "GGUF_BLOCK");
  EXPECT_EQ(error.field(), "blk.2.ffn_down_exps.weight");
}

}  // namespace
}  // namespace wring
