// Weight representations: what they decode to, that they survive storage, and that hostile parts are refused.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <map>

#include "common/error.h"
#include "engine/kernels/bit_pack.h"
#include "engine/model/ggml_arithmetic.h"
#include "engine/model/layer.h"

namespace wring {
namespace {

std::shared_ptr<const WeightRep> stored_and_loaded(const WeightRep& rep) {
  std::map<std::string, at::Tensor> table;
  for (const auto& named : rep.tensors()) table[named.suffix] = named.tensor.clone();
  return load_weight_rep("layer", std::string(rep.format()), rep.attributes(),
                         [&](const std::string& suffix) { return table.at(suffix); });
}

// The loader's complaint about `format` made of `tensors`; empty where it has none.
std::string complaint(const std::string& format, const Json& attributes,
                      std::map<std::string, at::Tensor> tensors) {
  try {
    load_weight_rep("blocks.3.up", format, attributes,
                    [&](const std::string& suffix) { return tensors[suffix]; });
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "BAD_WEIGHT_REP");
    EXPECT_EQ(e.field(), "blocks.3.up");
    return e.message();
  }
  return "";
}

at::Tensor random_codes(std::int64_t rows, std::int64_t columns, int bits) {
  return at::randint(0, 1 << bits, {rows, columns}, at::kByte);
}

TEST(DenseRep, DecodesToItsValuesInAnyDtype) {
  const at::Tensor weight = at::randn({5, 7}).to(at::kBFloat16);
  const auto rep = stored_and_loaded(*dense_rep(weight));
  EXPECT_TRUE(at::equal(rep->decode(at::kFloat), weight.to(at::kFloat)));
  EXPECT_EQ(rep->decode(at::kBFloat16).scalar_type(), at::kBFloat16);
  EXPECT_EQ(rep->stored_bytes(), 70u);
}

TEST(Float8Rep, DecodesTilesOnTheirScales) {
  // 448, 2^-9, -1.5 and 0 in E4M3.
  const at::Tensor bytes = at::tensor({0x7E, 0x01, 0xBC, 0x00, 0x7E, 0x01}, at::kByte).reshape({2, 3});
  const at::Tensor scales = at::tensor({1., 2., 4., 8.}, at::kFloat).reshape({2, 2});
  const auto rep = stored_and_loaded(*float8_rep({bytes.view(at::kFloat8_e4m3fn), scales, 1, 2}));
  const at::Tensor expected =
      at::tensor({448., 1. / 512, -3., 0., 4 * 448., 8. / 512}, at::kFloat).reshape({2, 3});
  EXPECT_TRUE(at::equal(rep->decode(at::kFloat), expected));
  EXPECT_TRUE(at::equal(rep->decode_rows(at::tensor({1}, at::kLong), at::kFloat), expected.narrow(0, 1, 1)));
  EXPECT_EQ(rep->stored_bytes(), 6u + 16u);
}

TEST(Float8Rep, RefusesScalesOfOtherTilesAndNaN) {
  const at::Tensor ones = at::ones({4, 6}).to(at::kFloat8_e4m3fn);
  const Json tiles{{"block_rows", 2}, {"block_columns", 4}};
  EXPECT_EQ(complaint("float8", tiles, {{"values", ones}, {"scales", at::ones({2, 2})}}), "");
  EXPECT_NE(complaint("float8", tiles, {{"values", ones}, {"scales", at::ones({2, 1})}}), "");
  EXPECT_NE(complaint("float8", tiles, {{"values", at::ones({4, 6})}, {"scales", at::ones({2, 2})}}), "");
  EXPECT_NE(complaint("float8", tiles,
                      {{"values", at::full({4, 6}, 0x7F, at::kByte).view(at::kFloat8_e4m3fn)},
                       {"scales", at::ones({2, 2})}}),
            "");
  EXPECT_NE(complaint("float8", {{"block_rows", 0}, {"block_columns", 4}},
                      {{"values", ones}, {"scales", at::ones({2, 2})}}),
            "");
}

TEST(Float4Rep, DecodesNibblesOnEitherKindOfScale) {
  const at::Tensor codes = at::tensor({0x91, 0x7F}, at::kByte).reshape({1, 2});
  const at::Tensor expected = at::tensor({.5, -.5, -6., 6.}, at::kFloat).reshape({1, 4});
  const at::Tensor tens = at::tensor({10., 2.}, at::kFloat).to(at::kFloat8_e4m3fn).reshape({1, 2});
  const auto nvidia = stored_and_loaded(*float4_rep({codes, tens, 4}));
  EXPECT_TRUE(at::equal(nvidia->decode(at::kFloat),
                        expected * at::tensor({2.5, 2.5, .5, .5}, at::kFloat).reshape({1, 4})));
  const auto powers =
      stored_and_loaded(*float4_rep({codes, at::tensor({128}, at::kByte).reshape({1, 1}), 1}));
  EXPECT_TRUE(at::equal(powers->decode(at::kFloat), expected * 2));
}

TEST(Float4Rep, RefusesOtherScales) {
  const at::Tensor codes = at::zeros({2, 6}, at::kByte), ones = at::full({2, 3}, 127, at::kByte);
  EXPECT_EQ(complaint("float4", {{"global_scale", 1}}, {{"codes", codes}, {"scales", ones}}), "");
  EXPECT_NE(complaint("float4", {{"global_scale", 2}}, {{"codes", codes}, {"scales", ones}}), "");
  EXPECT_NE(complaint("float4", {{"global_scale", 1}}, {{"codes", codes}, {"scales", ones.narrow(0, 0, 1)}}),
            "");
  EXPECT_NE(complaint("float4", {{"global_scale", 1}}, {{"codes", codes}, {"scales", at::ones({2, 3})}}), "");
  EXPECT_NE(complaint("float4", {{"global_scale", 1}},
                      {{"codes", codes}, {"scales", at::full({2, 5}, 127, at::kByte)}}),
            "");
  EXPECT_NE(complaint("float4", {{"global_scale", 1}},
                      {{"codes", codes}, {"scales", at::full({2, 3}, 255, at::kByte)}}),
            "");
}

TEST(RoundedInputRep, RoundsEachTokenOrGroupOnItsOwnScale) {
  const auto weight = dense_rep(at::ones({3, 4}));
  const at::Tensor x = at::tensor({127.5, -1., 0.6, 0., 2., 1., 0.01, -0.03}, at::kFloat).reshape({2, 4});
  const auto token = stored_and_loaded(*rounded_input_rep(weight, {InputType::kInt8, -1}));
  // The first token's scale is 1, the second's 2 / 127.5; the largest lies at 127.5 and gets 127.
  const double s = 2 / 127.5;
  const at::Tensor by_token =
      at::tensor({127., -1., 1., 0., 127 * s, 64 * s, s, -2 * s}, at::kFloat).reshape({2, 4});
  EXPECT_LT((token->round_input(x) - by_token).abs().max().item<double>(), 1e-5);
  const auto groups = rounded_input_rep(weight, {InputType::kFloat8, 2});
  const double u = 0.03 / 448;  // 0.01 is 149.3 of it: E4M3 has 144 and 160 there
  const at::Tensor by_group =
      at::tensor({127.5, -0.9962, 0.6, 0., 2., 1., 144 * u, -0.03}, at::kFloat).reshape({2, 4});
  EXPECT_LT((groups->round_input(x) - by_group).abs().max().item<double>(), 2e-3);
  EXPECT_LT((groups->round_input(x) - by_group)[1].abs().max().item<double>(), 1e-6);
  EXPECT_TRUE(at::equal(token->decode(at::kFloat), weight->decode(at::kFloat)));
}

TEST(RoundedInputRep, RoundsAllInputsOnAScaleThatWasChosenBefore) {
  const auto weight = dense_rep(at::ones({3, 4}));
  const at::Tensor x =
      at::tensor({0.24, -0.26, 40., -40., 0.75, -0.75, 31.9, 0.}, at::kFloat).reshape({2, 4});
  // Codes of x / 0.5 + 10: 10, 9, 127 (of 90 + 10 there is room), -70, 12 and 8 by halves to even, 74, 10.
  const auto int8 = stored_and_loaded(*rounded_input_rep(weight, {InputType::kInt8, -1, 0.5, 10}));
  EXPECT_EQ(input_rounding(*int8), (InputRounding{InputType::kInt8, -1, 0.5, 10}));
  EXPECT_TRUE(at::equal(int8->round_input(x),
                        at::tensor({0., -0.5, 40., -40., 1., -1., 32., 0.}, at::kFloat).reshape({2, 4})));
  EXPECT_TRUE(at::equal(int8->round_input(x * 4),
                        at::tensor({1., -1., 58.5, -69., 3., -3., 58.5, 0.}, at::kFloat).reshape({2, 4})));
  const auto floats = stored_and_loaded(*rounded_input_rep(weight, {InputType::kFloat8, -1, 0.0625}));
  EXPECT_TRUE(
      at::equal(floats->round_input(x),  // x / 0.0625 with 4 bits, 448 at most
                at::tensor({0.234375, -0.25, 28., -28., 0.75, -0.75, 28., 0.}, at::kFloat).reshape({2, 4})));
  EXPECT_EQ(int8->slice(1, at::tensor({0, 2}, at::kLong))->columns(), 2);
}

TEST(RoundedInputRep, RefusesScalesAndZeroPointsThatAreNone) {
  const auto refused = [](double scale, std::int64_t zero, const char* type) {
    return complaint(
        "rounded-input",
        {{"type", type}, {"scale", scale}, {"zero", zero}, {"rep", "dense"}, {"attributes", Json::object()}},
        {{"weight", at::ones({3, 4})}});
  };
  EXPECT_EQ(refused(0.5, -128, "int8"), "");
  EXPECT_EQ(refused(0.5, 0, "float8_e4m3"), "");
  EXPECT_NE(refused(0.5, 128, "int8"), "");
  EXPECT_NE(refused(0.5, 1, "float8_e4m3"), "");
  for (const double scale : {0.0, -0.5, 1e60, 1e-60}) EXPECT_NE(refused(scale, 0, "int8"), "") << scale;
}

TEST(RoundedInputRep, OutlastsWhatComesAfterInItsLayer) {
  Layer layer("blocks.0.mlp.up", Layer::Operator::kLinear,
              rounded_input_rep(dense_rep(at::ones({3, 4})), {InputType::kInt8, -1}), {}, {"out", "in"},
              "tap");
  layer.set_weight(dense_rep(at::ones({3, 4}) * 2));
  EXPECT_EQ(input_rounding(layer.weight()), (InputRounding{InputType::kInt8, -1}));
  EXPECT_EQ(layer.without_rounding().weight().format(), "dense");
  const auto sum = sum_rep({dense_rep(at::ones({3, 4})), dense_rep(at::ones({3, 4}))});
  layer.set_weight(sum);
  const at::Tensor x = at::tensor({127.5, 0.6, 0., 0.}, at::kFloat).reshape({1, 4});
  EXPECT_NEAR(layer.apply(x)[0][0].item<double>(), 2 * (127 + 1), 1e-4);
  layer.set_weight(rounded_input_rep(sum, {InputType::kInt8, 2}));
  EXPECT_EQ(input_rounding(layer.weight())->group_size, 2);
  EXPECT_THROW(sum_rep({layer.shared_weight(), layer.shared_weight()}), Error);
}

TEST(RoundedInputRep, RefusesGroupsThatDoNotDivideAndARoundingWithinARounding) {
  const std::map<std::string, at::Tensor> tensors{{"weight", at::ones({3, 4})}};
  const auto with = [](const char* type, int group, const char* rep, const Json& inner) {
    return Json{{"type", type}, {"group_size", group}, {"rep", rep}, {"attributes", inner}};
  };
  const Json none = Json::object();
  EXPECT_EQ(complaint("rounded-input", with("int8", 2, "dense", none), tensors), "");
  EXPECT_NE(complaint("rounded-input", with("int8", 3, "dense", none), tensors), "");
  EXPECT_NE(complaint("rounded-input", with("int8", 0, "dense", none), tensors), "");
  EXPECT_NE(complaint("rounded-input", with("int4", 2, "dense", none), tensors), "");
  EXPECT_NE(
      complaint("rounded-input", with("int8", 2, "rounded-input", with("int8", 2, "dense", none)), tensors),
      "");
}

TEST(MaskedRep, HoldsOnlyKeptValuesAndDecodesZerosElsewhere) {
  for (const std::int64_t columns : {1, 8, 13, 576}) {
    const at::Tensor weight = at::randn({9, columns}), keep = at::rand({9, columns}) > 0.5;
    const auto rep = stored_and_loaded(*masked_rep(weight, keep));
    EXPECT_TRUE(at::equal(rep->decode(at::kFloat), weight * keep));
    EXPECT_EQ(rep->stored_bytes(),
              static_cast<std::uint64_t>(9 * ((columns + 7) / 8) + 4 * keep.sum().item<std::int64_t>()));
  }
}

TEST(MaskedRep, StoresTheMaskLowestBitFirst) {
  const auto rep =
      masked_rep(at::arange(10, at::kFloat).reshape({1, 10}) + 1,
                 at::tensor({1, 0, 1, 0, 0, 0, 0, 1, 0, 1}, at::kByte).to(at::kBool).reshape({1, 10}));
  const auto tensors = rep->tensors();
  EXPECT_TRUE(at::equal(tensors[0].tensor, at::tensor({0b10000101, 0b10}, at::kByte).reshape({1, 2})));
  EXPECT_TRUE(at::equal(tensors[1].tensor, at::tensor({1, 3, 8, 10}, at::kFloat)));
}

TEST(MaskedRep, RefusesAMaskThatDoesNotMatchItsValues) {
  const at::Tensor mask = at::full({2, 2}, 0b11, at::kByte);
  EXPECT_EQ(complaint("masked", {{"columns", 10}}, {{"mask", mask}, {"values", at::zeros({8})}}), "");
  EXPECT_NE(complaint("masked", {{"columns", 10}}, {{"mask", mask}, {"values", at::zeros({7})}}), "");
  EXPECT_NE(complaint("masked", {{"columns", 9}}, {{"mask", mask}, {"values", at::zeros({8})}}), "");
  EXPECT_NE(complaint("masked", {{"columns", 17}}, {{"mask", mask}, {"values", at::zeros({8})}}), "");
  const at::Tensor endless = at::empty({std::int64_t{1} << 40, 0}, at::kByte);  // takes no bytes in a file
  EXPECT_NE(complaint("masked", {{"columns", 0}}, {{"mask", endless}, {"values", at::zeros({0})}}), "");
  EXPECT_NE(complaint("masked", {{"columns", -1}}, {{"mask", mask}, {"values", at::zeros({8})}}), "");
  EXPECT_NE(complaint("masked", {{"columns", 10}}, {{"mask", mask}}), "");
  EXPECT_NE(complaint("masked", Json::object(), {{"mask", mask}, {"values", at::zeros({8})}}), "");
}

TEST(PackedInt, PutsElementIAtBitsITimesBitsOfTheRow) {
  const std::uint8_t nibbles[] = {1, 2, 15}, threes[] = {1, 2, 3, 4, 5, 6, 7, 0, 7};
  std::uint8_t out[4] = {};
  pack_bits(nibbles, 3, 4, out);
  EXPECT_EQ(out[0], 0x21);
  EXPECT_EQ(out[1], 0x0F);
  pack_bits(threes, 9, 3, out);  // 0 111 110 101 100 011 010 001 = 0x1F58D1... read as bits from the lowest
  EXPECT_EQ(out[0], 0b11010001);
  EXPECT_EQ(out[1], 0b01011000);
  EXPECT_EQ(out[2], 0b00011111);
  EXPECT_EQ(out[3], 0b111);
}

class PackedIntOfBits : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(All, PackedIntOfBits, testing::Values(1, 2, 3, 4, 5, 6, 7, 8));

TEST_P(PackedIntOfBits, DecodesToCodeMinusZeroTimesScale) {
  const int bits = GetParam();
  for (const std::int64_t group : {3, 16, 32}) {
    const std::int64_t groups = 5, rows = 11;
    const PackedInt parts{bits, group, random_codes(rows, groups * group, bits),
                          at::rand({rows, groups}).to(at::kHalf), random_codes(rows, groups, bits)};
    const auto rep = stored_and_loaded(*packed_int_rep(parts));
    const at::Tensor expected = (parts.codes.to(at::kFloat).reshape({rows, groups, group}) -
                                 parts.zeros.to(at::kFloat).unsqueeze(2)) *
                                parts.scales.to(at::kFloat).unsqueeze(2);
    EXPECT_TRUE(at::equal(rep->decode(at::kFloat), expected.reshape({rows, groups * group})));
    EXPECT_TRUE(
        at::equal(rep->decode(at::kBFloat16), expected.reshape({rows, groups * group}).to(at::kBFloat16)));
    EXPECT_EQ(rep->stored_bytes(),
              static_cast<std::uint64_t>(
                  rows * (packed_bytes(groups * group, bits) + 2 * groups + packed_bytes(groups, bits))));
  }
}

TEST(MaskedRep, DecodesOnSeveralThreadsInInferenceMode) {
  const c10::InferenceMode inference;
  const at::Tensor weight = at::randn({512, 256});
  const auto rep = masked_rep(weight, weight > 0);
  EXPECT_TRUE(at::equal(rep->decode(at::kBFloat16), (weight * (weight > 0)).to(at::kBFloat16)));
}

TEST(WeightReps, DecodeAnyRowsAloneAsTheyDoAmongAll) {
  const at::Tensor weight = at::randn({40, 32}), ids = at::tensor({39, 0, 7, 7}, at::kLong);
  const at::Tensor scales = at::rand({40, 2}).to(at::kHalf);
  const std::vector<std::shared_ptr<const WeightRep>> reps{
      dense_rep(weight), masked_rep(weight, weight > 0),
      packed_int_rep({3, 16, random_codes(40, 32, 3), scales, random_codes(40, 2, 3)}),
      packed_int_rep({5, 16, random_codes(40, 32, 5), scales, {}}), ggml_rep(weight.view(at::kByte), 0, 32)};
  for (const auto& rep : reps) {
    EXPECT_TRUE(at::equal(rep->decode_rows(ids, at::kFloat), rep->decode(at::kFloat).index_select(0, ids)))
        << rep->format();
    EXPECT_EQ(rep->decode_rows(ids, at::kBFloat16).scalar_type(), at::kBFloat16) << rep->format();
  }
}

TEST(PackedInt, WithoutZerosHasItsZeroInTheMiddleOfTheGrid) {
  const auto rep = packed_int_rep({4,
                                   2,
                                   at::tensor({0, 8, 15, 9}, at::kByte).reshape({1, 4}),
                                   at::tensor({0.5, 2.0}, at::kFloat).reshape({1, 2}),
                                   {}});
  EXPECT_TRUE(at::equal(stored_and_loaded(*rep)->decode(at::kFloat),
                        at::tensor({-4.0, 0.0, 14.0, 2.0}, at::kFloat).reshape({1, 4})));
}

TEST(PackedInt, RefusesPartsThatDoNotFitTogether) {
  const Json good = {{"bits", 4}, {"group_size", 8}, {"symmetric", true}};
  const at::Tensor codes = at::zeros({2, 8}, at::kByte), scales = at::ones({2, 2});
  EXPECT_EQ(complaint("packed-int", good, {{"codes", codes}, {"scales", scales}}), "");
  const auto with = [&](const char* key, const Json& value) {
    Json bad = good;
    bad[key] = value;
    return complaint("packed-int", bad, {{"codes", codes}, {"scales", scales}});
  };
  EXPECT_NE(with("bits", 0), "");
  EXPECT_NE(with("bits", 9), "");
  EXPECT_NE(with("bits", "four"), "");
  EXPECT_NE(with("group_size", 0), "");
  EXPECT_NE(with("group_size", 16), "");
  EXPECT_NE(with("group_size", std::int64_t{1} << 62), "");
  EXPECT_NE(with("symmetric", false), "");  // and no zeros are there
  EXPECT_NE(complaint("packed-int", good, {{"codes", codes.to(at::kInt)}, {"scales", scales}}), "");
  EXPECT_NE(complaint("packed-int", good, {{"codes", codes}, {"scales", scales / 0}}), "");
  EXPECT_NE(complaint("packed-int", good, {{"codes", codes}, {"scales", scales.reshape({4})}}), "");
  EXPECT_NE(complaint("packed-int", good, {{"codes", codes.narrow(0, 0, 1)}, {"scales", scales}}), "");
}

TEST(PackedInt, RefusesACodeThatDoesNotFitIntoItsBits) {
  EXPECT_THROW(packed_int_rep({2, 2, at::full({1, 2}, 4, at::kByte), at::ones({1, 1}), {}}), Error);
}

TEST(GgmlRep, DecodesF32BlocksToTheirValues) {
  const at::Tensor values = at::randn({3, 5});
  const auto rep = stored_and_loaded(*ggml_rep(values.view(at::kByte), 0, 5));
  EXPECT_TRUE(at::equal(rep->decode(at::kFloat), values));
}

TEST(GgmlRep, DecodesQ8_0BlocksToScaleTimesCode) {
  const at::Tensor codes = at::randint(-128, 128, {4, 64}, at::kChar),
                   scales = at::rand({4, 2}).to(at::kHalf);
  const at::Tensor blocks =
      at::cat({scales.reshape({4, 2, 1}).view(at::kByte), codes.reshape({4, 2, 32}).view(at::kByte)}, 2);
  const auto rep = stored_and_loaded(*ggml_rep(blocks.reshape({4, 68}), 8, 64));
  const at::Tensor expected = codes.to(at::kFloat).reshape({4, 2, 32}) * scales.to(at::kFloat).unsqueeze(2);
  EXPECT_TRUE(at::equal(rep->decode(at::kFloat), expected.reshape({4, 64})));
}

TEST(GgmlRep, RefusesBlocksThatAreNotItsColumns) {
  const at::Tensor blocks = at::zeros({2, 68}, at::kByte);
  EXPECT_EQ(complaint("ggml", {{"type", "Q8_0"}, {"type_id", 8}, {"columns", 64}}, {{"blocks", blocks}}), "");
  EXPECT_NE(complaint("ggml", {{"type", "Q8_0"}, {"type_id", 8}, {"columns", 32}}, {{"blocks", blocks}}), "");
  EXPECT_NE(complaint("ggml", {{"type", "Q8_0"}, {"type_id", 8}, {"columns", -64}}, {{"blocks", blocks}}),
            "");
  EXPECT_NE(complaint("ggml", {{"type", "Q8_0"}, {"type_id", 99}, {"columns", 64}}, {{"blocks", blocks}}),
            "");
  EXPECT_NE(complaint("ggml", {{"type", "Q4_0"}, {"type_id", 8}, {"columns", 64}}, {{"blocks", blocks}}), "");
}

TEST(GgmlArithmetic, RoundsInputsToCodesOnTheScaleOfTheirGroup) {
  // Of a group: the largest gives the scale, one lies halfway between two codes, and both signs.
  at::Tensor x = at::zeros({2, 256});
  x[0][0] = 127;
  x[0][1] = -3.4;
  x[0][2] = 2.5;   // to the even code
  x[0][40] = 254;  // another group of 32, the same of 256
  x[0][41] = 3;
  const at::Tensor narrow = round_as_llama(x, GgmlType::kQ4_0), wide = round_as_llama(x, GgmlType::kQ4_K);
  at::Tensor expected = x.clone();
  expected[0][1] = -3;
  expected[0][2] = 2;
  expected[0][41] = 4;  // 1.5 of its group's scale of 2, to the even code
  EXPECT_TRUE(at::equal(narrow, expected)) << narrow;
  expected[0][0] = 128;  // 63.5 of the scale of 2
  expected[0][1] = -4;
  expected[0][2] = 2;
  EXPECT_TRUE(at::equal(wide, expected)) << wide;
  EXPECT_TRUE(at::equal(round_as_llama(x, GgmlType::kBF16), x));
}

TEST(GgmlArithmetic, HasScalesInHalfPrecisionBesideTypesOf32AndInSingleBesideKQuants) {
  const at::Tensor x = at::full({1, 256}, 0.1F);
  const auto scale = at::full({}, 0.1F / 127);
  EXPECT_TRUE(at::equal(round_as_llama(x, GgmlType::kQ8_0),
                        (scale.to(at::kHalf).to(at::kFloat) * 127).expand({1, 256})));
  EXPECT_TRUE(at::equal(round_as_llama(x, GgmlType::kQ6_K), (scale * 127).expand({1, 256})));
}

TEST(LowRankRep, IsTheProductOfItsFactorsAndMultipliesByOneAfterTheOther) {
  at::manual_seed(9);
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor a = at::randn({3, 40}).to(dtype), b = at::randn({23, 3}).to(dtype),
                     exact = at::mm(b.to(at::kDouble), a.to(at::kDouble));
    const auto rep = stored_and_loaded(*low_rank_rep(a, b));
    EXPECT_EQ(rep->rows(), 23);
    EXPECT_EQ(rep->columns(), 40);
    EXPECT_EQ(rep->parameters(), 3 * (23 + 40));
    EXPECT_EQ(rep->stored_bytes(), 3u * (23 + 40) * at::elementSize(dtype));
    EXPECT_LT((rep->decode(at::kFloat) - exact).abs().max().item<double>(), 1e-5);
    EXPECT_TRUE(at::equal(rep->decode(at::kBFloat16), rep->decode(at::kFloat).to(at::kBFloat16)));
    for (const std::int64_t rows : {1, 64}) {
      const at::Tensor x = at::randn({rows, 40}), y = rep->multiply(x);
      EXPECT_EQ(y.scalar_type(), at::kFloat);
      EXPECT_LT((y - at::mm(x.to(at::kDouble), exact.t())).abs().max().item<double>(), 1e-4);
    }
  }
}

TEST(LowRankRep, RefusesFactorsThatAreNoProductOrOneBeyondAllBounds) {
  const at::Tensor a = at::zeros({2, 5}), b = at::zeros({3, 2});
  EXPECT_EQ(complaint("low-rank", Json::object(), {{"a", a}, {"b", b}}), "");
  EXPECT_NE(complaint("low-rank", Json::object(), {{"a", a}, {"b", at::zeros({3, 1})}}), "");
  EXPECT_NE(complaint("low-rank", Json::object(), {{"a", a}, {"b", at::zeros({6})}}), "");
  EXPECT_NE(complaint("low-rank", Json::object(), {{"a", a}, {"b", b.to(at::kInt)}}), "");
  EXPECT_NE(complaint("low-rank", Json::object(), {{"a", a}}), "");
  EXPECT_NE(complaint("low-rank", Json::object(), {{"a", at::zeros({0, 5})}, {"b", at::zeros({3, 0})}}), "");
  const at::Tensor wide = at::zeros({1, 1 << 17}), tall = at::zeros({1 << 17, 1});  // 64 GiB decoded
  EXPECT_NE(complaint("low-rank", Json::object(), {{"a", wide}, {"b", tall}}), "");
}

std::vector<std::shared_ptr<const WeightRep>> bases_of_sums(const at::Tensor& weight) {
  const std::int64_t rows = weight.size(0), columns = weight.size(1);
  return {dense_rep(weight), masked_rep(weight.to(at::kHalf), weight > 0),
          packed_int_rep({3, 16, random_codes(rows, columns, 3), at::rand({rows, columns / 16}), {}}),
          low_rank_rep(at::randn({2, columns}), at::randn({rows, 2}))};
}

TEST(SumRep, IsTheSumOfItsPartsWhateverTheirFormats) {
  at::manual_seed(10);
  const at::Tensor weight = at::randn({40, 32}), ids = at::tensor({39, 0, 7, 7}, at::kLong);
  const auto path = low_rank_rep(at::randn({3, 32}).to(at::kHalf), at::randn({40, 3}).to(at::kHalf));
  for (const auto& base : bases_of_sums(weight)) {
    SCOPED_TRACE(base->format());
    const auto rep = stored_and_loaded(*sum_rep({base, path}));
    const at::Tensor exact = base->decode(at::kDouble) + path->decode(at::kDouble);
    EXPECT_LT((rep->decode(at::kFloat) - exact).abs().max().item<double>(), 1e-5);
    EXPECT_LT((rep->decode_rows(ids, at::kFloat) - exact.index_select(0, ids)).abs().max().item<double>(),
              1e-5);
    EXPECT_EQ(rep->stored_bytes(), base->stored_bytes() + path->stored_bytes());
    EXPECT_EQ(rep->parameters(), base->format() == "low-rank" ? (2 + 3) * (40 + 32) : 40 * 32);
    for (const std::int64_t rows : {1, 64}) {
      const at::Tensor x = at::randn({rows, 32}), y = rep->multiply(x);
      ASSERT_EQ(y.defined(), base->multiply(x).defined())
          << "a base without a kernel is decoded once, not here";
      if (!y.defined()) continue;
      EXPECT_LT((y - at::mm(x.to(at::kDouble), exact.t())).abs().max().item<double>(), 1e-4);
    }
  }
  EXPECT_TRUE(at::equal(weight, bases_of_sums(weight)[0]->decode(at::kFloat))) << "a part was written to";
}

TEST(SumRep, OfASumHasItsPartsSideBySide) {
  const auto one = dense_rep(at::full({2, 2}, 1.0)), two = dense_rep(at::full({2, 2}, 2.0));
  const auto rep = stored_and_loaded(*sum_rep({sum_rep({one, two}), one}));
  EXPECT_EQ(rep->attributes().at("parts").size(), 3u);
  EXPECT_EQ(rep->tensors()[2].suffix, "2.weight");
  EXPECT_TRUE(at::equal(rep->decode(at::kFloat), at::full({2, 2}, 4.0)));
}

TEST(SumRep, RefusesPartsThatDoNotFitTogether) {
  const Json dense{{"rep", "dense"}, {"attributes", Json::object()}};
  const auto made_of = [&](const Json& parts) {
    return complaint(
        "sum", {{"parts", parts}},
        {{"0.weight", at::zeros({2, 2})}, {"1.weight", at::zeros({2, 2})}, {"2.weight", at::zeros({1, 4})}});
  };
  EXPECT_EQ(made_of({dense, dense}), "");
  EXPECT_NE(made_of({dense, dense, dense}), "");
  EXPECT_NE(made_of(Json::array({dense})), "");
  EXPECT_NE(made_of(Json::array()), "");
  EXPECT_NE(made_of({{"0", dense}}), "");
  EXPECT_NE(made_of({dense, {{"rep", "dense"}}}), "");
  EXPECT_NE(made_of({dense, {{"rep", "sum"}, {"attributes", {{"parts", {dense, dense}}}}}}), "");
  EXPECT_NE(made_of({dense, {{"rep", "codebook"}, {"attributes", Json::object()}}}), "");
  EXPECT_NE(made_of(Json(std::vector<Json>(17, dense))), "");
  EXPECT_NE(complaint("sum", Json::object(), {}), "");
}

TEST(LoadWeightRep, NamesTheFormatsItReadsWhereItMeetsAnother) {
  EXPECT_EQ(complaint("codebook", Json::object(), {}), "'codebook' is no weight format that Wring reads");
  EXPECT_NE(complaint("dense", Json::object(), {{"weight", at::zeros({2, 2}, at::kInt)}}), "");
  EXPECT_NE(complaint("dense", Json::object(), {{"weight", at::zeros({4})}}), "");
}

}  // namespace
}  // namespace wring

namespace wring {
namespace {

// Groups of less than a block of the kernel, of one and of several, and columns that fill no block.
TEST(PackedIntMultiply, EqualsDecodeAndMultiplyForEveryWidthAndGroupWithAndWithoutZeroPoints) {
  at::manual_seed(7);
  for (const std::int64_t group_size : {16, 32, 48, 64, 80, 128})
    for (int bits = 1; bits <= 8; ++bits)
      for (const bool symmetric : {true, false})
        for (std::int64_t count = 1; count <= 4; ++count) {
          SCOPED_TRACE(std::to_string(bits) + " bits, groups of " + std::to_string(group_size));
          const std::int64_t columns = 3 * group_size;
          const auto codes = at::randint(0, 1 << bits, {37, columns}, at::kByte),
                     zeros = at::randint(0, 1 << bits, {37, 3}, at::kByte);
          const auto rep = packed_int_rep(
              {bits, group_size, codes, at::rand({37, 3}) + 0.1, symmetric ? at::Tensor() : zeros});
          const auto x = at::randn({count, columns}), y = rep->multiply(x);
          const auto weight = rep->decode(at::kFloat).to(at::kDouble);
          ASSERT_TRUE(y.defined());
          const auto error = (y - x.to(at::kDouble).matmul(weight.t())).abs();
          const auto bound = 1e-6 * x.to(at::kDouble).abs().matmul(weight.abs().t());
          EXPECT_TRUE(at::all(error <= bound).item<bool>()) << (error / bound).max().item<double>();
        }
}

TEST(PackedIntMultiply, GivesTheSameBitsOnEveryNumberOfThreads) {
  at::manual_seed(11);
  const auto codes = at::randint(0, 16, {517, 96}, at::kByte),
             zeros = at::randint(0, 16, {517, 3}, at::kByte);
  const auto rep = packed_int_rep({4, 32, codes, at::rand({517, 3}), zeros});
  const auto x = at::randn({3, 96});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto alone = rep->multiply(x);
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(rep->multiply(x), alone)) << threads << " threads";
  }
  at::set_num_threads(before);
}

TEST(PackedIntMultiply, LeavesManyRowsAndOddGroupsToDecoding) {
  const auto of_groups = [](std::int64_t group_size) {
    return packed_int_rep({4, group_size, at::zeros({8, 2 * group_size}, at::kByte), at::ones({8, 2}), {}});
  };
  EXPECT_FALSE(of_groups(32)->multiply(at::randn({64, 64})).defined());
  EXPECT_TRUE(of_groups(32)->multiply(at::randn({1, 64})).defined());
  EXPECT_FALSE(of_groups(30)->multiply(at::randn({1, 60})).defined());
}

}  // namespace
}  // namespace wring
