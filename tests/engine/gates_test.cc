// Gates and their budget against closed forms and finite differences, and gated models against a forward with
// gates on its activations.
#include "engine/train/gates.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/calibrate/calibrate.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "engine/train/gated_groups.h"
#include "tests/engine/random_family.h"

namespace wring {
namespace {

using Kind = CoupledGroups::Kind;

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

at::Generator generator_of(std::uint64_t seed) {
  return at::make_generator<at::CPUGeneratorImpl>(seed);
}

double value_of(const at::Tensor& scalar) {
  return scalar.item<double>();
}

TEST(HardConcrete, GatesAreClosedAndOpenAsOftenAsTheirDistributionSays) {
  constexpr std::int64_t kDraws = 400'000;
  for (const double a : {-2.0, 0.0, 1.5, 4.6}) {
    const at::Tensor z = sample_gates(at::full({kDraws}, a), gate_noise(kDraws, generator_of(1)));
    // y < 0.1 / 1.2 and y > 1.1 / 1.2: log(y / (1 - y)) = -/+ log 11.
    const double closed = sigmoid(-2.0 / 3 * std::log(11) - a), open = sigmoid(a - 2.0 / 3 * std::log(11));
    EXPECT_NEAR(value_of(z.eq(0).to(at::kDouble).mean()), closed, 0.003) << a;
    EXPECT_NEAR(value_of(z.eq(1).to(at::kDouble).mean()), open, 0.003) << a;
    EXPECT_NEAR(1 - value_of(keep_probability(at::full({1}, a, at::kDouble))), closed, 1e-9) << a;
    EXPECT_NEAR(value_of(settled_gates(at::full({1}, a, at::kDouble))), sigmoid(1.2 * a), 1e-9) << a;
  }
  EXPECT_NEAR(log_alpha_of(0.01), 4.59512, 1e-5);
}

TEST(HardConcrete, AGateMovesWithLogAlphaAsFiniteDifferencesSay) {
  const at::Tensor noise = at::tensor({0.2, 0.45, 0.7}, at::kDouble),
                   a = at::tensor({0.3, -0.2, 0.1}, at::kDouble).requires_grad_(true);
  sample_gates(a, noise).sum().backward();
  const double h = 1e-6;
  for (std::int64_t i = 0; i < 3; ++i) {
    const at::Tensor step = at::zeros({3}, at::kDouble);
    step[i] = h;
    const double slope = value_of(
        (sample_gates(a.detach() + step, noise).sum() - sample_gates(a.detach() - step, noise).sum()) /
        (2 * h));
    EXPECT_NEAR(value_of(a.grad()[i]), slope, 1e-6);
    EXPECT_GT(slope, 0);
  }
}

TEST(HardConcrete, LogAlphaStaysWhereItsGradientIsNotLost) {
  at::Tensor a = at::tensor({10.0, -10.0, 1.0}, at::kFloat);
  clamp_log_alpha(a);
  EXPECT_TRUE(at::allclose(a, at::tensor({4.60517, -4.60517, 1.0}, at::kFloat)));
}

// All that can be cut of a model, and the layers of its blocks.
GatedGroups all_gated(Model& model) {
  return {model, model.coupled_groups(), random_family::linear_layers(model)};
}

std::vector<at::Tensor> random_shares(const GatedGroups& groups, std::uint64_t seed) {
  auto generator = generator_of(seed);
  std::vector<at::Tensor> shares;
  for (const auto& part : groups.parts())
    shares.push_back(at::rand({part.count}, generator, at::TensorOptions(at::kDouble)) * 0.9 + 0.05);
  return shares;
}

// Zeros and soft survivors, at least one of each part.
std::vector<at::Tensor> random_gates(const GatedGroups& groups, std::uint64_t seed) {
  auto gates = random_shares(groups, seed);
  for (auto& gate : gates) {
    gate = at::where(gate.gt(0.4), gate, at::zeros_like(gate)).to(at::kFloat);
    gate[0] = 0.7;
  }
  return gates;
}

std::vector<random_family::Named> decoders() {
  std::vector<random_family::Named> chosen;
  for (const auto& family : random_family::all())
    if (family.make()->kind() == "decoder-lm") chosen.push_back(family);
  return chosen;
}

void cut(Model& model, const std::vector<CoupledGroups>& parts, const std::vector<at::Tensor>& gates) {
  for (std::size_t i = 0; i < parts.size(); ++i) model.keep_groups(parts[i], gates[i].nonzero().flatten());
}

double weights_of(const std::set<const Layer*>& layers) {
  double weights = 0;
  for (const Layer* layer : layers)
    weights += static_cast<double>(layer->weight().rows() * layer->weight().columns());
  return weights;
}

TEST(GatedGroups, CountTheWeightsThatTheCutModelHas) {
  for (const auto& family : decoders()) {
    SCOPED_TRACE(family.name);
    const auto model = family.make();
    const auto counted = random_family::linear_layers(*model);
    const GatedGroups groups = all_gated(*model);
    EXPECT_EQ(groups.weights(), weights_of(counted));
    const auto gates = random_gates(groups, 3);
    std::vector<at::Tensor> kept;
    for (const auto& gate : gates) kept.push_back(gate.ne(0));
    const double left = value_of(groups.weights_left(kept));
    cut(*model, groups.parts(), gates);
    EXPECT_EQ(left, weights_of(counted));
    EXPECT_LT(left, groups.weights());
  }
}

TEST(GatedGroups, CountInTheMeanWhatThePapersFormulaDoes) {
  // A KV head for each of 6 query heads of 8 channels: 4 d_h sum p_lh sum p_d + 3 sum p_lf sum p_d.
  const auto model = random_family::llama(random_family::llama_config({{"num_key_value_heads", 6}}), false);
  const GatedGroups groups = all_gated(*model);
  const auto p = random_shares(groups, 5);
  double heads = 0, channels = 0, hidden = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const Kind kind = groups.parts()[i].kind;
    (kind == Kind::kHeads ? heads : kind == Kind::kFfn ? channels : hidden) += value_of(p[i].sum());
  }
  EXPECT_NEAR(value_of(groups.weights_left(p)), (4 * 8 * heads + 3 * channels) * hidden, 1e-6);
}

TEST(BudgetLoss, HasTheGradientsThatFiniteDifferencesGive) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  const GatedGroups groups = all_gated(*model);
  const at::Tensor multipliers = at::tensor({0.7, -3.0}, at::kDouble).requires_grad_(true);
  std::vector<at::Tensor> a = random_shares(groups, 7);
  for (auto& part : a) part = (part * 6 - 3).requires_grad_(true);
  const auto loss = [&] {
    std::vector<at::Tensor> p;
    for (const auto& part : a) p.push_back(keep_probability(part));
    return budget_loss(multipliers, 1 - groups.weights_left(p) / groups.weights(), 0.3);
  };
  loss().backward();
  const c10::NoGradGuard unrecorded;
  const auto slope = [&](at::Tensor leaf, std::int64_t i) {
    const double h = 1e-5, value = value_of(leaf[i]);
    leaf[i] = value + h;
    const double above = value_of(loss());
    leaf[i] = value - h;
    const double below = value_of(loss());
    leaf[i] = value;
    return (above - below) / (2 * h);
  };
  for (const auto& part : a)
    for (std::int64_t i = 0; i < part.numel(); i += 7)
      EXPECT_NEAR(value_of(part.grad()[i]), slope(part, i), 1e-8);
  for (std::int64_t i = 0; i < 2; ++i)
    EXPECT_NEAR(value_of(multipliers.grad()[i]), slope(multipliers, i), 1e-8);
}

const Calibration& random_texts() {
  at::manual_seed(11);
  static const Calibration calibration{at::randint(64, {40, 16}, at::kLong), {}};
  return calibration;
}

// The forward of single tokens, which attend to themselves alone: gates where the paper has them, on the
// embedding's output, on heads' contexts, on FFN channels, and on what both modules add.
at::Tensor gated_logits(Model& model, const at::Tensor& ids, const GatedGroups& groups,
                        const std::vector<at::Tensor>& gates) {
  const auto weight = [&](const std::string& name) {
    return model.find_layer(name)->weight().decode(at::kFloat);
  };
  const auto apply = [&](const std::string& name, const at::Tensor& x) {
    const at::Tensor y = at::mm(x, weight(name).t()), bias = model.find_layer(name)->bias();
    return bias.defined() ? y + bias : y;
  };
  const auto norm = [&](const std::string& name, const at::Tensor& x) {
    const at::Tensor mean = x.square().sum(1, true) / static_cast<double>(model.hidden_size());
    return x * at::rsqrt(mean + 1e-5) * model.find_parameter(name + ".weight")->value;
  };
  const auto gate = [&](Kind kind, std::size_t block) {
    for (std::size_t i = 0; i < gates.size(); ++i)
      if (groups.parts()[i].kind == kind && groups.parts()[i].block.value_or(block) == block) return gates[i];
    throw std::logic_error("no gates");
  };
  const auto config = [&](const char* key) { return model.config().at(key).get<std::int64_t>(); };
  const std::int64_t kv_heads = config("num_key_value_heads"),
                     group = config("num_attention_heads") / kv_heads;
  at::Tensor x = weight("model.embed_tokens").index_select(0, ids) * gate(Kind::kHidden, 0);
  for (std::size_t i = 0; i < model.block_count(); ++i) {
    const std::string block = "model.layers." + std::to_string(i) + ".";
    const at::Tensor value = apply(block + "self_attn.v_proj", norm(block + "input_layernorm", x))
                                 .reshape({ids.size(0), kv_heads, 1, -1});
    const at::Tensor context = value * gate(Kind::kHeads, i).reshape({1, -1, 1, 1});
    x = x + gate(Kind::kHidden, i) * apply(block + "self_attn.o_proj",
                                           context.expand({-1, -1, group, -1}).reshape({ids.size(0), -1}));
    const at::Tensor y = norm(block + "post_attention_layernorm", x);
    const at::Tensor inner = at::silu(apply(block + "mlp.gate_proj", y)) * apply(block + "mlp.up_proj", y);
    x = x + gate(Kind::kHidden, i) * apply(block + "mlp.down_proj", inner * gate(Kind::kFfn, i));
  }
  x = norm("model.norm", x);
  return model.find_layer("lm_head") ? apply("lm_head", x)
                                     : at::mm(x * gate(Kind::kHidden, 0), weight("model.embed_tokens").t());
}

TEST(GatedGroups, MultiplyWeightsIntoWhatGatesOnActivationsGiveAndTheCutModelToo) {
  for (const auto& family : decoders()) {
    SCOPED_TRACE(family.name);
    const auto model = family.make();
    const GatedGroups groups = all_gated(*model);
    const auto gates = random_gates(groups, 9);
    const at::Tensor single = at::arange(64, at::kLong).unsqueeze(1), texts = random_texts().ids;
    const at::Tensor wanted = gated_logits(*model, single.flatten(), groups, gates),
                     dense = model->forward(texts);
    at::Tensor masked;
    {
      NoProgress quiet;
      Snapshot none;
      const std::set<const Layer*> nothing;
      TrainedWeights weights({*model, nothing, random_texts(), quiet, none, nullptr, 1}, {});
      weights.multiply(groups.multiplied(), [&](const Layer& layer) { return groups.factors(layer, gates); });
      weights.refresh();
      EXPECT_LT(value_of((model->forward(single).squeeze(1) - wanted).abs().max()), 1e-4);
      masked = model->forward(texts);
      weights.store();
    }
    EXPECT_GT(value_of((masked - dense).abs().max()), 0.1);
    cut(*model, groups.parts(), gates);
    EXPECT_LT(model->hidden_size(), 48);
    EXPECT_LT(value_of((model->forward(texts) - masked).abs().max()), 1e-4);
    EXPECT_LT(value_of((model->forward(single).squeeze(1) - wanted).abs().max()), 1e-4);
  }
}

TEST(GatedGroups, LeaveMaskedWeightsMasked) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  Layer& down = *model->find_layer("model.layers.1.mlp.down_proj");
  const at::Tensor weight = down.weight().decode(at::kFloat).clone(), keep = weight.abs() > 0.1;
  down.set_weight(masked_rep(weight, keep));
  const GatedGroups groups = all_gated(*model);
  const auto gates = random_gates(groups, 9);
  {
    NoProgress quiet;
    Snapshot none;
    const std::set<const Layer*> nothing;
    TrainedWeights weights({*model, nothing, random_texts(), quiet, none, nullptr, 1}, {});
    weights.multiply(groups.multiplied(), [&](const Layer& layer) { return groups.factors(layer, gates); });
    weights.store();
  }
  EXPECT_EQ(down.weight().format(), "masked");
  const WeightFactors factors = groups.factors(down, gates);
  EXPECT_TRUE(at::allclose(down.weight().decode(at::kFloat),
                           weight * keep * factors.rows.unsqueeze(1) * factors.columns));
}

TEST(GatedGroups, GiveTheModelBackAsItWas) {
  const auto model = random_family::llama(random_family::llama_config(), true);
  const GatedGroups groups = all_gated(*model);
  const at::Tensor before = model->forward(random_texts().ids);
  {
    NoProgress quiet;
    Snapshot none;
    const std::set<const Layer*> nothing;
    TrainedWeights weights({*model, nothing, random_texts(), quiet, none, nullptr, 1}, {});
    const auto gates = random_gates(groups, 9);
    weights.multiply(groups.multiplied(), [&](const Layer& layer) { return groups.factors(layer, gates); });
    weights.refresh();
  }
  EXPECT_TRUE(at::equal(model->forward(random_texts().ids), before));
}

}  // namespace
}  // namespace wring
