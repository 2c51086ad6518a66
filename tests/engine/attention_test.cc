// Attention and the passes between products, against the formulas in float64.
#include "engine/math/attention.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "engine/math/elementwise.h"
#include "engine/math/float_rows.h"

namespace wring {
namespace {

struct Heads {
  at::Tensor query, key, value;
};

// As a model has them: [batch, positions, heads, dim] seen as [batch, heads, positions, dim].
Heads random_heads(std::int64_t heads, std::int64_t kv_heads, std::int64_t positions, std::int64_t keys,
                   std::int64_t dim) {
  at::manual_seed(positions * 31 + keys);
  const auto make = [&](std::int64_t n, std::int64_t h) { return at::randn({2, n, h, dim}).transpose(1, 2); };
  return {make(positions, heads) * 3, make(keys, kv_heads), make(keys, kv_heads)};
}

// The formula, with the mask as minus infinity; rows that see nothing are zeros.
at::Tensor formula(const Heads& x, bool causal, const at::Tensor& key_mask) {
  const std::int64_t group = x.query.size(1) / x.key.size(1), positions = x.query.size(2),
                     keys = x.key.size(2);
  const auto k = x.key.to(at::kDouble).repeat_interleave(group, 1),
             v = x.value.to(at::kDouble).repeat_interleave(group, 1);
  auto scores = at::matmul(x.query.to(at::kDouble), k.transpose(2, 3)) / std::sqrt(double(x.query.size(3)));
  auto seen = at::ones({2, 1, positions, keys}, at::kBool);
  if (causal) seen = seen.tril(keys - positions);
  if (key_mask.defined()) seen = seen.logical_and(key_mask.unsqueeze(1).unsqueeze(1));
  scores = scores.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
  const auto weights = at::nan_to_num(at::softmax(scores, -1), 0.0);
  return at::matmul(weights, v).transpose(1, 2).reshape({2, positions, -1});
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST(Attention, IsTheFormulaAtEveryShape) {
  for (const std::int64_t dim : {32, 64, 80, 128})
    for (const std::int64_t positions : {1, 7, 24, 33, 130})
      for (const bool causal : {false, true}) {
        const Heads x = random_heads(6, 2, positions, positions, dim);
        const auto y = attention(x.query, x.key, x.value, causal, {});
        ASSERT_EQ(y.sizes(), (std::vector<std::int64_t>{2, positions, 6 * dim}));
        EXPECT_LT(largest_difference(y, formula(x, causal, {})), 5e-6) << dim << " " << positions << causal;
      }
}

// Heads that were narrowed keep the scale of the whole ones, and values are of another width than keys.
// Beside zeros that make both as wide as they were nothing changes.
TEST(Attention, OfNarrowHeadsIsThatOfWholeOnesWithZeros) {
  for (const std::int64_t positions : {1, 7, 24, 130})
    for (const auto& [keys_width, values_width] : {std::pair{10, 33}, std::pair{64, 6}, std::pair{44, 64}}) {
      Heads x = random_heads(6, 2, positions, 140, 64);
      x.query.narrow(3, keys_width, 64 - keys_width).zero_();
      x.value.narrow(3, values_width, 64 - values_width).zero_();
      const at::Tensor whole = formula(x, true, {}).reshape({2, positions, 6, 64});
      const auto y = attention(x.query.narrow(3, 0, keys_width), x.key.narrow(3, 0, keys_width),
                               x.value.narrow(3, 0, values_width), true, {}, 1 / std::sqrt(64.0));
      ASSERT_EQ(y.sizes(), (std::vector<std::int64_t>{2, positions, 6 * values_width}));
      EXPECT_LT(
          largest_difference(y.reshape({2, positions, 6, values_width}), whole.narrow(3, 0, values_width)),
          5e-6)
          << positions << " " << keys_width << " " << values_width;
    }
}

TEST(Attention, QueriesAfterACacheSeeItAll) {
  for (const std::int64_t positions : {1, 5, 40}) {
    const Heads x = random_heads(4, 4, positions, 97, 64);
    EXPECT_LT(largest_difference(attention(x.query, x.key, x.value, true, {}), formula(x, true, {})), 5e-6);
  }
}

TEST(Attention, HiddenKeysCountForNothing) {
  for (const auto& [positions, causal] : {std::pair{50, false}, {50, true}, {1, false}, {1, true}}) {
    const Heads x = random_heads(3, 1, positions, 50, 32);
    at::Tensor keep = at::rand({2, 50}).gt(0.4);
    keep.index_put_({0, at::indexing::Slice(0, 9)}, false);  // causal: the first queries see nothing
    EXPECT_LT(largest_difference(attention(x.query, x.key, x.value, causal, keep), formula(x, causal, keep)),
              5e-6);
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  Heads x = random_heads(1, 1, 64, 64, 64);
  x.query = x.query * 1e4;
  const auto y = attention(x.query, x.key, x.value, true, {});
  EXPECT_TRUE(at::isfinite(y).all().item<bool>());
  EXPECT_LT(largest_difference(y, formula(x, true, {})), 1e-2);  // fp32 scores of 1e4 have steps of 1e-3
}

TEST(Attention, OfBf16IsRoundedOnce) {
  Heads x = random_heads(4, 2, 60, 60, 64);
  for (at::Tensor* t : {&x.query, &x.key, &x.value}) *t = t->to(at::kBFloat16);
  const auto y = attention(x.query, x.key, x.value, true, {});
  ASSERT_EQ(y.scalar_type(), at::kBFloat16);
  const auto exact = formula(x, true, {});
  EXPECT_TRUE(((y.to(at::kDouble) - exact).abs() <= exact.abs() / 256 + 1e-5).all().item<bool>());
}

TEST(Attention, KeepsItsGradient) {
  for (const std::int64_t positions : {1, 16}) {
    Heads x = random_heads(2, 1, positions, 16, 32);
    x.value.set_requires_grad(true);
    attention(x.query, x.key, x.value, true, {}).sum().backward();  // weights of a query sum to one
    EXPECT_NEAR(x.value.grad().sum().item<double>(), 2.0 * 2 * static_cast<double>(positions) * 32, 1e-2);
  }
}

TEST(Attention, IsTheSameBitsAtAnyThreadCount) {
  const Heads x = random_heads(5, 1, 200, 200, 64);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = attention(x.query, x.key, x.value, true, {});
  at::set_num_threads(2);
  const auto two = attention(x.query, x.key, x.value, true, {});
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one, two));
}

TEST(Elementwise, RmsNormIsTheFormula) {
  for (const std::int64_t n : {5, 16, 576, 579})
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const auto x = at::randn({3, 11, n}), gain = at::rand({n}) + 0.5, exact = x.to(at::kDouble);
      const auto y = exact / (exact.square().mean(-1, true) + 1e-5).sqrt() * gain;
      EXPECT_LT(largest_difference(rms_norm(x, gain, 1e-5, dtype), y.to(dtype)),
                dtype == at::kFloat ? 2e-6 : 0.04);
    }
}

TEST(Elementwise, SiluMultiplyIsTheFormulaFromEndToEnd) {
  const auto gate = at::cat({at::randn({2999}) * 4, at::tensor({0.0F, 90.0F, -90.0F, 1e30F, -1e30F})});
  const auto up = at::randn({3004}), exact = gate.to(at::kDouble);
  const auto y = exact * at::sigmoid(exact) * up;
  const auto error = (silu_multiply(gate.clone(), up).to(at::kDouble) - y).abs();
  EXPECT_TRUE((error <= y.abs() * 1e-6 + 1e-30).all().item<bool>());
}

TEST(Elementwise, RotationTurnsPairsByTheirAngle) {
  const auto x = at::randn({2, 7, 3, 64}).transpose(1, 2), angle = at::rand({7, 32}) * 6;
  const auto y = rotate_halves(x, angle.cos(), angle.sin());
  const auto as_complex = [](const at::Tensor& t) {
    return at::complex(t.narrow(3, 0, 32).to(at::kDouble).contiguous(),
                       t.narrow(3, 32, 32).to(at::kDouble).contiguous());
  };
  const auto turned = as_complex(x) * at::polar(at::ones({7, 32}, at::kDouble), angle.to(at::kDouble));
  EXPECT_LT((as_complex(y) - turned).abs().max().item<double>(), 1e-6);
}

TEST(Elementwise, Bf16IsRoundedAsAtenRounds) {
  const auto x = at::cat(
      {at::randn({999}), at::tensor({INFINITY, -INFINITY, NAN, 3.4e38F, 1e-40F, -0.0F, 1.00390625F})});
  auto narrowed = at::empty({x.numel()}, at::kBFloat16);
  write_floats(x.const_data_ptr<float>(), x.numel(), narrowed, 0);
  EXPECT_TRUE(at::allclose(narrowed, x.to(at::kBFloat16), 0, 0, /*equal_nan=*/true));
  auto widened = at::empty({x.numel()});
  read_floats(narrowed, 0, x.numel(), widened.mutable_data_ptr<float>());
  EXPECT_TRUE(at::allclose(widened, narrowed.to(at::kFloat), 0, 0, /*equal_nan=*/true));
}

}  // namespace
}  // namespace wring
