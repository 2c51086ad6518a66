// Importers of other tools' quantised layers: layouts worked out by hand, and damage that must be refused.
#include "engine/model/quantized_layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/error.h"
#include "engine/model/packed_rows.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

const std::string kLayer = "model.layers.3.mlp.up_proj";

std::shared_ptr<const WeightRep> read(const Json& config, const Tensors& tensors) {
  return read_quantization(config)->weight(
      kLayer, {[&](const std::string& name) { return tensors.contains(name.substr(kLayer.size() + 1)); },
               [&](const std::string& name) {
                 const auto it = tensors.find(name.substr(kLayer.size() + 1));
                 if (it == tensors.end())
                   throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "is not there", name);
                 return it->second;
               }});
}

// The error's reason, empty where there is none. What is no Error fails the test.
std::string reason(const Json& config, const Tensors& tensors) {
  try {
    read(config, tensors);
  } catch (const Error& e) {
    EXPECT_NE(e.field(), "") << e.message();
    return e.reason();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "no Error: " << e.what();
  }
  return "";
}

Json compressed(int bits, bool symmetric) {
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}},
              {"weights",
               {{"num_bits", bits}, {"type", "int"}, {"symmetric", symmetric}, {"strategy", "group"}}}}}}}};
}

// int8 in groups of 16 whose inputs are rounded by groups of 8; eight-bit floats in tiles of 8.
Json compressed_bytes(bool floats) {
  Json config = compressed(8, true);
  config["format"] = floats ? "float-quantized" : "int-quantized";
  Json& group = config["config_groups"]["group_0"];
  Json& weights = group["weights"];
  if (floats) {
    weights["type"] = "float";
    weights["strategy"] = "block";
    weights["block_structure"] = {8, 8};
  } else {
    weights["group_size"] = 16;
    group["input_activations"] = {{"num_bits", 8},       {"type", "int"},   {"symmetric", true},
                                  {"strategy", "group"}, {"group_size", 8}, {"dynamic", true}};
  }
  return config;
}

at::Tensor words_of(const std::vector<std::uint32_t>& words, at::IntArrayRef shape) {
  std::vector<std::int32_t> bits(words.begin(), words.end());
  return at::tensor(at::ArrayRef<std::int32_t>(bits), at::kInt).reshape(shape);
}

// int32 [rows, ceil(n / (32 / bits))]: 32 / bits values in each word, the rest of it padding, as
// compressed-tensors wrote before 0.17.
at::Tensor padded_words(const at::Tensor& codes, int bits) {
  const std::int64_t rows = codes.size(0), n = codes.size(1), in_word = 32 / bits,
                     words = (n + in_word - 1) / in_word;
  std::vector<std::uint32_t> packed(static_cast<std::size_t>(rows * words));
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < n; ++i)
      packed[static_cast<std::size_t>(row * words + i / in_word)] |=
          static_cast<std::uint32_t>(codes[row][i].item<std::int64_t>()) << (bits * (i % in_word));
  return words_of(packed, {rows, words});
}

at::Tensor codes_of(std::int64_t rows, std::int64_t columns, int bits) {
  return at::arange(rows * columns, at::kLong).mul(7).remainder(1 << bits).reshape({rows, columns});
}

TEST(CompressedTensorsLayers, ReadThePaddedWordsFromBefore017) {
  for (const int bits : {3, 5, 6, 7}) {
    const at::Tensor codes = codes_of(32, 64, bits), zeros = codes_of(32, 2, bits);
    const at::Tensor scales = at::arange(1, 65).reshape({32, 2}).to(at::kHalf);
    const auto weight =
        read(compressed(bits, false), {{"weight_packed", padded_words(codes, bits)},
                                       {"weight_scale", scales},
                                       {"weight_zero_point", padded_words(zeros.t(), bits).t().contiguous()},
                                       {"weight_shape", at::tensor({32, 64}, at::kLong)}});
    const auto expected =
        (codes.reshape({32, 2, 32}) - zeros.unsqueeze(2)).to(at::kFloat) * scales.to(at::kFloat).unsqueeze(2);
    EXPECT_TRUE(at::equal(weight->decode(at::kFloat), expected.reshape({32, 64}))) << bits;
  }
}

TEST(CompressedTensorsLayers, ShortRowsArePaddedWhereTheReleaseSaysSo) {
  // 12 values of 5 bits take two words in either layout.
  const at::Tensor codes = codes_of(2, 12, 5), words = padded_words(codes, 5);
  const Tensors tensors{{"weight_packed", words},
                        {"weight_scale", at::ones({2, 1})},
                        {"weight_shape", at::tensor({2, 12}, at::kLong)}};
  Json config = compressed(5, true);
  const at::Tensor padded = (codes - 16).to(at::kFloat);
  EXPECT_FALSE(at::equal(read(config, tensors)->decode(at::kFloat), padded));
  config["version"] = "0.17.1";
  EXPECT_FALSE(at::equal(read(config, tensors)->decode(at::kFloat), padded));
  config["version"] = "0.16.0.a20260801";
  EXPECT_TRUE(at::equal(read(config, tensors)->decode(at::kFloat), padded));
}

TEST(CompressedTensorsLayers, ReadZeroPointsThatFillOneWordAColumn) {
  // Eight rows of 4 bits: row r's zero point is r.
  const auto weight = read(compressed(4, false), {{"weight_packed", words_of(std::vector(8, 0u), {8, 1})},
                                                  {"weight_scale", at::ones({8, 2})},
                                                  {"weight_zero_point", words_of({0x76543210, 0}, {1, 2})},
                                                  {"weight_shape", at::tensor({8, 8}, at::kLong)}});
  const at::Tensor first = weight->decode(at::kFloat).select(1, 0),
                   last = weight->decode(at::kFloat).select(1, 7);
  EXPECT_TRUE(at::equal(first, at::arange(8).neg().to(at::kFloat)));
  EXPECT_TRUE(at::equal(last, at::zeros({8})));
}

Json gptq(int bits, const char* format = "gptq") {
  return {{"quant_method", "gptq"}, {"bits", bits}, {"checkpoint_format", format}};
}

// [8 outputs, 8 inputs] of 4 bits: the code of input i is i throughout, the stored zero of output o is o.
Tensors gptq_tensors() {
  return {{"qweight", words_of(std::vector(8, 0x76543210u), {1, 8})},
          {"qzeros", words_of({0x76543210}, {1, 1})},
          {"scales", at::full({1, 8}, 0.5, at::kHalf)},
          {"g_idx", at::zeros({8}, at::kInt)}};
}

TEST(GptqLayers, ArePackedAlongTheInputWithZerosLessOneAlongTheOutput) {
  for (const auto& [format, offset] : {std::pair{"gptq", 1}, std::pair{"gptq_v2", 0}}) {
    const auto weight = read(gptq(4, format), gptq_tensors());
    const auto expected =
        (at::arange(8).unsqueeze(0) - at::arange(8).unsqueeze(1) - offset).to(at::kFloat) * 0.5;
    EXPECT_TRUE(at::equal(weight->decode(at::kFloat), expected)) << format;
  }
}

TEST(GptqLayers, HoldThirtyTwoValuesOf3BitsInThreeWords) {
  // Bits of 0, 1, ... 7, 0, 1, ...: octal 76543210 four times over, cut into words from the lowest.
  auto tensors = gptq_tensors();
  tensors["qweight"] = words_of({0x88FAC688, 0xC688FAC6, 0xFAC688FA}, {3, 1}).repeat({1, 32});
  tensors["qzeros"] = words_of({0, 0, 0}, {1, 3});
  tensors["scales"] = at::ones({1, 32}, at::kHalf);
  tensors["g_idx"] = at::zeros({32}, at::kInt);
  const auto weight = read(gptq(3, "gptq_v2"), tensors);
  EXPECT_TRUE(at::equal(weight->decode(at::kFloat)[5], at::arange(32).remainder(8).to(at::kFloat)));
}

TEST(GptqLayers, AreSymmetricWhereTheConfigurationSaysSoAndTheZerosAreInTheMiddle) {
  auto tensors = gptq_tensors();
  tensors["qzeros"] = words_of({0x77777777}, {1, 1});
  Json config = gptq(4);
  EXPECT_EQ(read(config, tensors)->attributes().at("symmetric"), false);
  config["sym"] = true;
  EXPECT_EQ(read(config, tensors)->attributes().at("symmetric"), true);
  EXPECT_TRUE(
      at::equal(read(config, tensors)->decode(at::kFloat)[0], (at::arange(8) - 8).to(at::kFloat) * 0.5));
  EXPECT_EQ(read(config, gptq_tensors())->attributes().at("symmetric"), false);  // the zeros say otherwise
}

TEST(GptqLayers, InActivationOrderAreRefused) {
  auto tensors = gptq_tensors();
  tensors["scales"] = at::ones({2, 8}, at::kHalf);
  tensors["qzeros"] = tensors["qzeros"].repeat({2, 1});
  tensors["g_idx"] = at::tensor({0, 1, 0, 1, 0, 1, 0, 1}, at::kInt);
  EXPECT_EQ(reason(gptq(4), tensors), "QUANTIZED_INPUT");
  tensors["g_idx"] = at::tensor({0, 0, 0, 0, 1, 1, 1, 1}, at::kInt);
  EXPECT_EQ(reason(gptq(4), tensors), "");
}

const Json kAwq{{"quant_method", "awq"}, {"bits", 4}, {"group_size", 8}, {"version", "gemm"}};

Tensors awq_tensors() {
  return {{"qweight", words_of(std::vector(8, 0x75316420u), {8, 1})},
          {"qzeros", words_of({0}, {1, 1})},
          {"scales", at::ones({1, 8}, at::kHalf)}};
}

TEST(AwqLayers, HoldEvenColumnsInTheLowNibblesOfAWord) {
  EXPECT_TRUE(at::equal(read(kAwq, awq_tensors())->decode(at::kFloat),
                        at::arange(8).unsqueeze(1).repeat({1, 8}).to(at::kFloat)));
}

const Json kBitsAndBytes{{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};

at::Tensor bytes_of(const std::string& text) {
  at::Tensor bytes = at::empty({static_cast<std::int64_t>(text.size())}, at::kByte);
  std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<std::uint8_t>());
  return bytes;
}

// [2, 3] in blocks of 4: codes 1 2 3 4 5 15 of a table of 0, 1, 2, ...
Tensors bitsandbytes_tensors(const Json& more = Json::object()) {
  Json state{{"quant_type", "nf4"}, {"blocksize", 4}, {"dtype", "float32"}, {"shape", {2, 3}}};
  state.update(more);
  return {{"weight", at::tensor({0x12, 0x34, 0x5f}, at::kByte).unsqueeze(1)},
          {"weight.quant_map", at::arange(16).to(at::kFloat)},
          {"weight.absmax", at::tensor({1.0F, 10.0F})},
          {"weight.quant_state.bitsandbytes__nf4", bytes_of(state.dump())}};
}

TEST(BitsAndBytesLayers, HoldTheFirstOfTwoValuesInTheHighNibbleOnAScaleABlock) {
  const at::Tensor expected = at::tensor({1.0F, 2.0F, 3.0F, 4.0F, 50.0F, 150.0F}).reshape({2, 3});
  EXPECT_TRUE(at::equal(read(kBitsAndBytes, bitsandbytes_tensors())->decode(at::kFloat), expected));
  const auto halves = read(kBitsAndBytes, bitsandbytes_tensors({{"dtype", "float16"}}));
  EXPECT_EQ(source_dtype(*halves), at::kHalf);
}

TEST(BitsAndBytesLayers, ReadScalesThatAreQuantisedThemselves) {
  Tensors nested = bitsandbytes_tensors({{"nested_blocksize", 256}, {"nested_offset", 1.0}});
  nested["weight.absmax"] = at::tensor({2, 4}, at::kByte);
  nested["weight.nested_quant_map"] = at::arange(256).to(at::kFloat) / 4;
  nested["weight.nested_absmax"] = at::tensor({8.0F});  // 0.5 * 8 + 1 and 1 * 8 + 1
  const at::Tensor expected = at::tensor({5.0F, 10.0F, 15.0F, 20.0F, 45.0F, 135.0F}).reshape({2, 3});
  EXPECT_TRUE(at::equal(read(kBitsAndBytes, nested)->decode(at::kFloat), expected));
}

TEST(BitsAndBytesLayers, ThatAreDamagedAreRefusedByName) {
  for (const auto& [name, tensor] : bitsandbytes_tensors()) {
    if (name.find("quant_state") != std::string::npos) continue;
    Tensors damaged = bitsandbytes_tensors();
    damaged[name] = tensor.narrow(0, 0, tensor.size(0) - 1);
    EXPECT_EQ(reason(kBitsAndBytes, damaged), "BAD_WEIGHT_REP") << name;
    damaged[name] = tensor.to(at::kDouble);
    EXPECT_EQ(reason(kBitsAndBytes, damaged), "BAD_WEIGHT_REP") << name;
    damaged.erase(name);
    EXPECT_EQ(reason(kBitsAndBytes, damaged), "NO_SUCH_TENSOR") << name;
  }
  for (const Json& state : {Json{{"shape", {2, 4}}}, Json{{"shape", {6}}}, Json{{"shape", {0, 3}}},
                            Json{{"shape", {1LL << 40, 1LL << 40}}}, Json{{"blocksize", 0}},
                            Json{{"blocksize", 3}}, Json{{"blocksize", 2}}, Json{{"dtype", "int8"}}})
    EXPECT_EQ(reason(kBitsAndBytes, bitsandbytes_tensors(state)), "BAD_WEIGHT_REP") << state;
  EXPECT_EQ(reason({{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}}, {}), "QUANTIZED_INPUT");
}

TEST(QuantizedLayers, ThatAreStoredPlainlyAreNoneOfTheReaders) {
  EXPECT_EQ(read(kBitsAndBytes, {{"weight", at::ones({8, 8})}}), nullptr);
  EXPECT_EQ(read(gptq(4), {{"weight", at::ones({8, 8})}}), nullptr);
  EXPECT_EQ(read(kAwq, {{"weight", at::ones({8, 8})}}), nullptr);
  EXPECT_EQ(read(compressed(4, true), {{"weight", at::ones({8, 8})}}), nullptr);
}

TEST(CompressedTensorsLayers, HoldBytesWithRoundedInputsAndEightBitFloats) {
  const at::Tensor values = at::tensor({-128, 127, 0, 3}, at::kChar).reshape({2, 2}).repeat({1, 16});
  const auto bytes =
      read(compressed_bytes(false), {{"weight", values}, {"weight_scale", at::full({2, 2}, 0.5)}});
  EXPECT_TRUE(at::equal(bytes->decode(at::kFloat), values.to(at::kFloat) * 0.5));
  EXPECT_EQ(input_rounding(*bytes), (InputRounding{InputType::kInt8, 8}));
  const at::Tensor ones = at::ones({16, 12}).to(at::kFloat8_e4m3fn);
  const auto floats = read(compressed_bytes(true),
                           {{"weight", ones}, {"weight_scale", at::arange(4, at::kFloat).reshape({2, 2})}});
  EXPECT_EQ(floats->decode(at::kFloat)[15][11].item<float>(), 3);
  EXPECT_EQ(floats->decode(at::kFloat)[7][8].item<float>(), 1);
  EXPECT_FALSE(input_rounding(*floats));
  Json config = compressed_bytes(true);
  Json& weights = config["config_groups"]["group_0"]["weights"];
  weights.erase("block_structure");
  weights["strategy"] = "tensor";
  const auto whole = read(config, {{"weight", ones}, {"weight_scale", at::full({1}, 0.25)}});
  EXPECT_TRUE(at::equal(whole->decode(at::kFloat), at::full({16, 12}, 0.25)));
}

TEST(CompressedTensorsLayers, RoundInputsOnTheScaleAndZeroPointOfTheFile) {
  Json config = compressed_bytes(false);
  Json& inputs = config["config_groups"]["group_0"]["input_activations"];
  inputs = {
      {"num_bits", 8}, {"type", "int"}, {"symmetric", false}, {"strategy", "tensor"}, {"dynamic", false}};
  const Tensors whole{{"weight", at::ones({2, 32}, at::kChar)},
                      {"weight_scale", at::full({2, 2}, 0.5)},
                      {"input_scale", at::full({1}, 0.25)},
                      {"input_zero_point", at::full({1}, -7, at::kChar)}};
  EXPECT_EQ(input_rounding(*read(config, whole)), (InputRounding{InputType::kInt8, -1, 0.25, -7}));
  const auto with = [&](const char* name, const at::Tensor& tensor) {
    auto damaged = whole;
    damaged[name] = tensor;
    return reason(config, damaged);
  };
  for (const double scale : {0.0, -0.25, 1e60, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_EQ(with("input_scale", at::full({1}, scale, at::kDouble)), "BAD_WEIGHT_REP") << scale;
  EXPECT_EQ(with("input_scale", at::full({2}, 0.25)), "BAD_WEIGHT_REP");
  EXPECT_EQ(with("input_zero_point", at::full({1}, 128, at::kShort)), "BAD_WEIGHT_REP");
  auto without = whole;
  without.erase("input_zero_point");
  EXPECT_EQ(reason(config, without), "BAD_WEIGHT_REP");
  EXPECT_EQ(with("input_zero_point", at::full({1}, 3.7)), "BAD_WEIGHT_REP");
  inputs["symmetric"] = true;
  EXPECT_EQ(input_rounding(*read(config, without)), (InputRounding{InputType::kInt8, -1, 0.25, 0}));
  inputs = {{"num_bits", 8}};  // what is not said: integers, symmetric, one scale for all, static
  EXPECT_EQ(input_rounding(*read(config, without)), (InputRounding{InputType::kInt8, -1, 0.25, 0}));
}

TEST(CompressedTensorsLayers, HoldFourBitFloatsInGroupsOfTheConfiguration) {
  Json config = compressed(4, true);
  config["format"] = "nvfp4-pack-quantized";
  Json& weights = config["config_groups"]["group_0"]["weights"];
  weights = {{"num_bits", 4}, {"type", "float"}, {"strategy", "tensor_group"}, {"group_size", 16}};
  const Tensors whole{{"weight_packed", at::full({2, 16}, 0x21, at::kByte)},
                      {"weight_scale", at::full({2, 2}, 3.).to(at::kFloat8_e4m3fn)},
                      {"weight_global_scale", at::full({1}, 6.)}};
  const at::Tensor pair = at::tensor({.25, .5}, at::kFloat);
  EXPECT_TRUE(at::equal(read(config, whole)->decode(at::kFloat), pair.repeat({2, 16})));
  const auto with = [&](const char* name, const at::Tensor& tensor) {
    auto damaged = whole;
    damaged[name] = tensor;
    return reason(config, damaged);
  };
  EXPECT_EQ(with("weight_packed", at::zeros({2, 32}, at::kByte)), "BAD_WEIGHT_REP");
  EXPECT_EQ(with("weight_packed", at::zeros({2, 16})), "BAD_WEIGHT_REP");
  EXPECT_EQ(with("weight_scale", at::ones({2, 2})), "BAD_WEIGHT_REP");
  EXPECT_EQ(with("weight_scale", at::ones({1, 2}).to(at::kFloat8_e4m3fn)), "BAD_WEIGHT_REP");
  EXPECT_EQ(with("weight_global_scale", at::ones({2})), "BAD_WEIGHT_REP");
  EXPECT_EQ(with("weight_global_scale", at::zeros({1})), "BAD_WEIGHT_REP");
  weights["num_bits"] = 8;
  EXPECT_EQ(reason(config, whole), "QUANTIZED_INPUT");
}

// What may have become of a tensor.
std::map<std::string, std::function<at::Tensor(const at::Tensor&)>> damages() {
  return {{"cut along its first axis", [](const at::Tensor& t) { return t.slice(0, 0, t.size(0) - 1); }},
          {"cut along its last axis", [](const at::Tensor& t) { return t.slice(-1, 0, t.size(-1) - 1); }},
          {"longer along its first axis",
           [](const at::Tensor& t) {
             return at::cat({t, t}, 0);
           }},
          {"longer along its last axis",
           [](const at::Tensor& t) {
             return at::cat({t, t, t}, -1);
           }},
          {"empty", [](const at::Tensor& t) { return at::empty({0}, t.options()); }},
          {"an empty matrix",
           [](const at::Tensor& t) {
             return at::empty({0, 0}, t.options());
           }},
          {"a scalar", [](const at::Tensor& t) { return at::ones({}, t.options()); }},
          {"of three axes",
           [](const at::Tensor& t) {
             return t.unsqueeze(0).unsqueeze(0).flatten(2).repeat({2, 2, 1});
           }},
          {"of bytes", [](const at::Tensor& t) { return t.to(at::kByte); }},
          {"of booleans", [](const at::Tensor& t) { return t.to(at::kBool); }},
          {"of doubles", [](const at::Tensor& t) { return t.to(at::kDouble); }}};
}

TEST(QuantizedLayers, OfDamagedShapesOrTypesAreRefusedByNameAndNeverCrash) {
  const Tensors dense{{"weight_packed", words_of(std::vector(64, 0x12345678u), {16, 4})},
                      {"weight_scale", at::ones({16, 2})},
                      {"weight_zero_point", words_of({1, 2, 3, 4}, {2, 2})},
                      {"weight_shape", at::tensor({16, 32}, at::kLong)}};
  const std::vector<std::tuple<std::string, Json, Tensors>> formats{
      {"compressed-tensors", compressed(4, false), dense},
      {"int-quantized",
       compressed_bytes(false),
       {{"weight", at::ones({16, 32}, at::kChar)}, {"weight_scale", at::ones({16, 2})}}},
      {"float-quantized",
       compressed_bytes(true),
       {{"weight", at::ones({17, 33}).to(at::kFloat8_e4m3fn)}, {"weight_scale", at::ones({3, 5})}}},
      {"gptq", gptq(4), gptq_tensors()},
      {"awq", kAwq, awq_tensors()}};
  for (const auto& [format, config, tensors] : formats) {
    EXPECT_EQ(reason(config, tensors), "") << format;
    for (const auto& [name, whole] : tensors) {
      for (const auto& [what, damage] : damages()) {
        SCOPED_TRACE(format + ": " + name + " " + what);
        if (name == "g_idx" && what.starts_with("of ")) continue;  // any type that holds its numbers will do
        auto damaged = tensors;
        damaged[name] = damage(whole);
        const auto told = reason(config, damaged);
        EXPECT_TRUE(told == "BAD_WEIGHT_REP" || (name == "g_idx" && told == "QUANTIZED_INPUT"))
            << "'" << told << "'";
      }
      if (name == "g_idx" || name == "qweight" || name == "weight_packed" ||
          (name == "weight_scale" && !tensors.contains("weight_packed")))
        continue;  // without: a plain layer
      auto lacking = tensors;
      lacking.erase(name);
      EXPECT_NE(reason(config, lacking), "") << format << " without " << name;
    }
  }
}

TEST(QuantizedLayers, WhoseShapeIsNoShapeAreRefused) {
  for (const auto& [rows, columns] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{-1, 32},
                                                          {16, -32},
                                                          {16, 0},
                                                          {16, 33},
                                                          {std::int64_t{1} << 62, 32},
                                                          {16, std::int64_t{1} << 62},
                                                          {32, 16}})
    EXPECT_EQ(reason(compressed(4, true), {{"weight_packed", words_of(std::vector(64, 0u), {16, 4})},
                                           {"weight_scale", at::ones({16, 1})},
                                           {"weight_shape", at::tensor({rows, columns}, at::kLong)}}),
              "BAD_WEIGHT_REP")
        << rows << " x " << columns;
}

TEST(QuantizedLayers, OfOtherSchemesAreRefusedByTheirMember) {
  const auto with = [](Json config, const char* path, const Json& value) {
    config[Json::json_pointer(path)] = value;
    return reason(config, {});
  };
  const Json ct = compressed(4, true);
  EXPECT_EQ(with(ct, "/format", "float-quantized"), "QUANTIZED_INPUT");
  EXPECT_EQ(with(ct, "/config_groups/group_0/weights/type", "float"), "QUANTIZED_INPUT");
  EXPECT_EQ(with(ct, "/config_groups/group_0/weights/num_bits", 9), "QUANTIZED_INPUT");
  EXPECT_EQ(with(ct, "/config_groups/group_0/weights/strategy", "block"), "QUANTIZED_INPUT");
  for (const Json& inputs : {Json{{"num_bits", 4}}, Json{{"num_bits", 8}, {"strategy", "channel"}},
                             Json{{"num_bits", 8}, {"dynamic", true}, {"symmetric", false}},
                             Json{{"num_bits", 8}, {"dynamic", "local"}, {"strategy", "group"}},
                             Json{{"num_bits", 8}, {"type", "float"}, {"symmetric", false}}})
    EXPECT_EQ(with(ct, "/config_groups/group_0/input_activations", inputs), "QUANTIZED_INPUT") << inputs;
  EXPECT_EQ(with(compressed_bytes(false), "/config_groups/group_0/input_activations/dynamic", false),
            "QUANTIZED_INPUT");
  EXPECT_EQ(with(compressed_bytes(false), "/config_groups/group_0/weights/symmetric", false),
            "QUANTIZED_INPUT");
  EXPECT_EQ(with(compressed_bytes(true), "/config_groups/group_0/weights/num_bits", 4), "QUANTIZED_INPUT");
  EXPECT_EQ(with(compressed_bytes(true), "/config_groups/group_0/weights/block_structure", {8}),
            "QUANTIZED_INPUT");
  EXPECT_EQ(with(gptq(4), "/bits", 5), "QUANTIZED_INPUT");
  EXPECT_EQ(with(gptq(4), "/checkpoint_format", "marlin"), "QUANTIZED_INPUT");
  EXPECT_EQ(with(kAwq, "/version", "gemv"), "QUANTIZED_INPUT");
  EXPECT_EQ(with(kAwq, "/quant_method", "bitsandbytes"), "QUANTIZED_INPUT");
  auto other_groups = compressed(4, true);
  other_groups["config_groups"]["group_0"]["weights"]["group_size"] = 8;
  const Tensors groups_of_16{{"weight_packed", words_of(std::vector(64, 0u), {16, 4})},
                             {"weight_scale", at::ones({16, 2})},
                             {"weight_shape", at::tensor({16, 32}, at::kLong)}};
  EXPECT_EQ(reason(other_groups, groups_of_16), "BAD_WEIGHT_REP");
  EXPECT_EQ(reason(ct, groups_of_16), "");
}

TEST(PackedRows, ThatAreTooShortOrNoBytesAreRefused) {
  for (const at::Tensor& packed : {at::zeros({1, 127}, at::kByte), at::zeros({1, 0}, at::kByte),
                                   at::zeros({128}, at::kByte), at::zeros({1, 128}, at::kFloat)})
    EXPECT_EQ(thrown_by([&] { unpack_rows(packed, 256, 4); }).reason(), "BAD_WEIGHT_REP");
  EXPECT_EQ(unpack_rows(at::zeros({1, 128}, at::kByte), 256, 4).numel(), 256);
}

}  // namespace
}  // namespace wring
