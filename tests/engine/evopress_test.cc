// EvoPress's search against all plans there are, and its divergences against whole forwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "common/error.h"
#include "common/files.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/methods/search/candidate_kl.h"
#include "engine/model/exchanged_weights.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "recipe/levels.h"
#include "tests/common/thrown_by.h"
#include "tests/engine/killer.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

using small_model::kBlocks, small_model::kVocabulary;

// Twelve units of two sizes, three levels each; the sizes' steps differ.
LevelSpace two_sizes() {
  LevelSpace space;
  for (int unit = 0; unit < 12; ++unit) {
    const std::uint64_t size = unit % 3 == 0 ? 6 : 3;
    space.costs.push_back({2 * size, 3 * size, 4 * size});
  }
  space.budget = 3 * (4 * 6 + 8 * 3);
  return space;
}

// Losses that do not add up: neighbours that are both at the least level hurt each other.
double loss_of(const Assignment& at) {
  double loss = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    loss += std::exp(-1.3 * static_cast<double>(at[i])) * (1 + static_cast<double>((7 * i) % 5));
    if (i > 0 && at[i] == 0 && at[i - 1] == 0) loss += 2;
  }
  return loss;
}

std::vector<double> losses_of(const std::vector<Assignment>& candidates, std::int64_t, Random) {
  std::vector<double> losses;
  for (const auto& at : candidates) losses.push_back(loss_of(at));
  return losses;
}

double least_loss(const LevelSpace& space) {
  double best = std::numeric_limits<double>::infinity();
  Assignment at(space.costs.size());
  const std::function<void(std::size_t)> go = [&](std::size_t unit) {
    if (unit == at.size()) {
      if (space.cost_of(at) <= space.budget) best = std::min(best, loss_of(at));
      return;
    }
    for (at[unit] = 0; at[unit] < space.costs[unit].size(); ++at[unit]) go(unit + 1);
    at[unit] = 0;
  };
  go(0);
  return best;
}

EvolutionOptions options(std::size_t generations) {
  EvolutionOptions options;
  options.generations = generations;
  options.offspring = 24;
  options.steps = {{8, 10}, {1, 20}};
  return options;
}

SearchState search(const LevelSpace& space, const EvolutionOptions& options, std::uint64_t seed,
                   const Fitness& fitness = losses_of) {
  SearchState state;
  Random random(seed);
  state.parent = uniform_point(space, random);
  evolve(space, options, fitness, seed, state, [] {});
  return state;
}

TEST(Evolution, FindsTheBestOfAllPlansWithinTheBudget) {
  LevelSpace space = two_sizes();
  space.within_sizes = false;
  const double best = least_loss(space);
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const SearchState found = search(space, options(120), seed);
    EXPECT_DOUBLE_EQ(loss_of(found.parent), best) << seed;
    EXPECT_LE(space.cost_of(found.parent), space.budget);
  }
  EXPECT_GT(loss_of(Assignment(12, 1)), 1.1 * best);
}

TEST(Evolution, KeepsTheBudgetToTheByteWhereSizesExchangeAmongThemselves) {
  const LevelSpace space = two_sizes();
  Random random(3);
  Assignment at(12, 1);
  std::size_t moved = 0;
  for (int round = 0; round < 2000; ++round) {
    const auto child = mutated(at, space, 1 + random.below(3), random);
    if (!child) continue;
    EXPECT_EQ(space.cost_of(*child), space.budget);
    moved += *child != at;
    at = *child;
  }
  EXPECT_GT(moved, 500u);
}

TEST(Evolution, NeverExceedsTheBudgetAndLosesAtMostAFifthOfWhatAnExchangeFrees) {
  LevelSpace space;
  Random random(4);
  for (int unit = 0; unit < 30; ++unit) {
    auto& costs = space.costs.emplace_back();
    std::uint64_t cost = 1 + random.below(50);
    for (std::size_t levels = 1 + random.below(6); levels > 0; --levels)
      costs.push_back(cost += random.below(40));
  }
  space.within_sizes = false;
  space.budget = (space.least() + space.most()) / 2;
  Assignment at = random_point(space, random);
  for (int round = 0; round < 3000; ++round) {
    for (const auto& point : {uniform_point(space, random), random_point(space, random)})
      ASSERT_LE(space.cost_of(point), space.budget);
    const auto child = mutated(at, space, 1 + random.below(3), random);
    if (!child) continue;
    double added = 0, freed = 0;
    for (std::size_t unit = 0; unit < at.size(); ++unit) {
      ASSERT_LT((*child)[unit], space.costs[unit].size());
      const auto before = static_cast<double>(space.costs[unit][at[unit]]),
                 after = static_cast<double>(space.costs[unit][(*child)[unit]]);
      added += std::max(0.0, after - before);
      freed += std::max(0.0, before - after);
    }
    ASSERT_LE(space.cost_of(*child), space.budget);
    ASSERT_GE(added, 0.8 * freed);
    at = *child;
  }
}

TEST(Evolution, StartsAtTheUniformPlanWhereTheBudgetIsThatPlansOwn) {
  LevelSpace space = two_sizes();
  Random random(1);
  EXPECT_EQ(uniform_point(space, random), Assignment(12, 1));
  space.budget += 5;  // one of the small ones fits
  const Assignment more = uniform_point(space, random);
  EXPECT_EQ(std::count(more.begin(), more.end(), 2u), 1);
  EXPECT_EQ(std::count(more.begin(), more.end(), 1u), 11);
}

TEST(Evolution, SelectsStepByStepOnFreshTokensAndTheParentMeetsTheLast) {
  struct Call {
    std::size_t candidates;
    std::int64_t tokens;
    std::uint64_t draw;
  };
  std::vector<Call> calls;
  Assignment parent(12, 1);
  const SearchState found =
      search(two_sizes(), options(6), 2, [&](const auto& candidates, std::int64_t tokens, Random draw) {
        calls.push_back({candidates.size(), tokens, draw.next()});
        if (tokens == 20) {
          EXPECT_EQ(candidates.front(), parent);
        }
        auto losses = losses_of(candidates, tokens, draw);
        if (tokens == 20)
          parent = candidates[std::min_element(losses.begin(), losses.end()) - losses.begin()];
        return losses;
      });
  ASSERT_EQ(calls.size(), 12u);
  std::set<std::uint64_t> draws;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(calls[i].candidates, i % 2 == 0 ? 24u : 9u);
    EXPECT_EQ(calls[i].tokens, i % 2 == 0 ? 10 : 20);
    draws.insert(calls[i].draw);
  }
  EXPECT_EQ(draws.size(), 12u);
  EXPECT_EQ(found.tokens, 6 * (24 * 10 + 9 * 20));
  for (std::size_t i = 1; i < found.fitness.size(); ++i) EXPECT_LE(found.fitness[i], found.fitness[i - 1]);
}

TEST(Evolution, IsTheSameFromASeedAndFromAnyGenerationOn) {
  const LevelSpace space = two_sizes();
  const SearchState whole = search(space, options(20), 9);
  EXPECT_EQ(search(space, options(20), 9).to_json(), whole.to_json());
  EXPECT_NE(search(space, options(20), 10).to_json(), whole.to_json());
  for (std::size_t stop : {1, 7, 19}) {
    SearchState state = SearchState::from_json(search(space, options(stop), 9).to_json(), "state");
    evolve(space, options(20), losses_of, 9, state, [] {});
    EXPECT_EQ(state.to_json(), whole.to_json()) << stop;
  }
}

at::Tensor tokens() {
  at::manual_seed(11);
  return at::randint(kVocabulary, {6, 48}, at::kLong);
}

at::Tensor log_probabilities(Model& model) {
  return at::log_softmax(model.forward(tokens()).to(at::kDouble), -1);
}

double divergence(const at::Tensor& log_q, const at::Tensor& log_p) {
  return (log_q.exp() * (log_q - log_p)).sum(-1).mean().item<double>();
}

constexpr const char* kLevels =
    "gptq(bits=2, group_size=16) | gptq(bits=3, group_size=16) | gptq(bits=4, group_size=16)";

TEST(CandidateKl, IsThatOfWholeForwardsOnTheTokensDrawn) {
  const auto model = small_model::make();
  const auto targets = small_model::linear_layers(*model, false);
  const Calibration calibration{tokens(), {}, Propagate::kDense};
  NoProgress quiet;
  Snapshot none;
  const auto levels =
      make_levels(Params({{"levels", check_levels(kLevels, "levels", Source{})}}, "params"), "levels");
  const auto layers = make_level_database(
      {*model, targets, calibration, quiet, none},
      [&](const Layer& layer, const Statistics& x) { return versions_of(levels, layer, x); }, "levels");
  ASSERT_EQ(layers.size(), targets.size());
  const CandidateKl kl(*model, layers, calibration, [] {});
  std::vector<Assignment> candidates(5, Assignment(layers.size(), 1));
  for (std::size_t i = 1; i < candidates.size(); ++i)  // from block 0, 1, 3 on; one twice
    candidates[i][std::vector<std::size_t>{0, 2, 9, 23, 23}[i]] = i % 2 == 0 ? 2 : 0;
  candidates[4] = candidates[3];
  const auto before = small_model::copy_weights(*model);
  const auto all = kl(candidates, tokens().numel(), Random(1));
  for (const auto& [name, weight] : small_model::copy_weights(*model))
    EXPECT_TRUE(at::equal(weight, before.at(name))) << name;

  const at::Tensor dense = log_probabilities(*model);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    ExchangedWeights::Weights weights;
    for (std::size_t unit = 0; unit < layers.size(); ++unit)
      weights.emplace_back(layers[unit].layer, layers[unit].versions[candidates[i][unit]].weight);
    const ExchangedWeights exchanged(std::move(weights));
    const double expected = divergence(dense, log_probabilities(*model));
    EXPECT_NEAR(all[i], expected, 1e-4 * expected) << i;
  }
  EXPECT_EQ(all[3], all[4]);

  // Alone a candidate is what it is among others; a sequence and a half are other tokens with another draw.
  EXPECT_EQ(kl({candidates[2]}, 72, Random(5)).front(), kl(candidates, 72, Random(5))[2]);
  EXPECT_NE(kl({candidates[2]}, 72, Random(5)), kl({candidates[2]}, 72, Random(6)));
}

struct Outcome {
  Json report;
  std::map<std::string, at::Tensor> weights;
};

std::string recipe(const std::string& more) {
  return "evopress(levels=\"" + std::string(kLevels) +
         "\", samples=6, sequence_length=48, generations=5, offspring=6, survivors=[2, 1], tokens=[48, 144], "
         "forward_dtype=float32" +
         more + ")";
}

Outcome run(const std::string& text, Progress& progress, Snapshot& snapshot,
            std::shared_ptr<const StoredStatistics> stored = nullptr, std::uint64_t seed = 0) {
  const auto model = small_model::make();
  const auto stage = parse_recipe(text).stages[0];
  const auto method = make_method(stage.method, Params(stage.params, "params"));
  const auto targets = small_model::linear_layers(*model, false);
  method->check_model(*model, targets);
  Calibration calibration{tokens(), {}, Propagate::kDense};
  calibration.stored = std::move(stored);
  Outcome outcome;
  outcome.report = method->run({*model, targets, calibration, progress, snapshot, nullptr, seed});
  outcome.weights = small_model::copy_weights(*model);
  return outcome;
}

Outcome run(const std::string& text, std::uint64_t seed = 0) {
  NoProgress quiet;
  Snapshot none;
  return run(text, quiet, none, nullptr, seed);
}

void expect_equal(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.report, b.report);
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (const auto& [name, weight] : a.weights) EXPECT_TRUE(at::equal(weight, b.weights.at(name))) << name;
}

// Groups of 16 with a scale in 16 bits: one bit a weight beside its own.
TEST(EvoPress, HoldsTheBudgetAndDoesNoWorseThanItsStart) {
  const Outcome found = run(recipe(", budget=4"));
  double bits = 0, weights = 0;
  std::set<std::string> levels;
  for (const auto& layer : found.report["layers"]) {
    const double count = layer["shape"][0].get<double>() * layer["shape"][1].get<double>();
    bits += layer["bits"].get<double>() * count;
    weights += count;
    levels.insert(layer["level"]);
  }
  EXPECT_EQ(found.report["layers"].size(), 7u * kBlocks);
  EXPECT_DOUBLE_EQ(bits / weights, 4);
  EXPECT_GT(levels.size(), 1u);
  EXPECT_EQ(found.report["cost"], found.report["budget"]);
  EXPECT_EQ(found.report["kl"].size(), 5u);
  expect_equal(found, run(recipe(", budget=4")));
  EXPECT_NE(found.report["kl"], run(recipe(", budget=4"), 1).report["kl"]);
}

TEST(EvoPress, CountsZerosWhereTheBudgetIsASparsity) {
  const auto found =
      run("evopress(levels='sparsegpt(pattern=0.25) | sparsegpt(pattern=0.5) | sparsegpt(pattern=0.75)', "
          "budget=0.5, "
          "unit=sparsity, samples=6, sequence_length=48, generations=3, offspring=4, survivors=[1], "
          "tokens=[96])");
  double zeros = 0, weights = 0;
  for (const auto& layer : found.report["layers"]) {
    const double count = layer["shape"][0].get<double>() * layer["shape"][1].get<double>();
    zeros += layer["sparsity"].get<double>() * count;
    weights += count;
  }
  EXPECT_DOUBLE_EQ(zeros / weights, 0.5);
}

TEST(EvoPress, IsTheSameFromStoredStatisticsAndAfterAKillAtAnyBlockOrGeneration) {
  const Outcome expected = run(recipe(", budget=4.1"));
  const TempDir folder;
  const auto model = small_model::make();
  const auto targets = statistics_targets(*model);
  const Calibration calibration{tokens(), {}, Propagate::kDense};
  NoProgress quiet;
  Snapshot kept(folder.path() / "statistics");
  gather_statistics({Statistic::kHessian}, folder.path() / "out")
      ->run({*model, targets, calibration, quiet, kept});
  const auto stored = std::make_shared<StoredStatistics>(FileTree::on_disk(folder.path() / "out"),
                                                         std::set{Statistic::kHessian}, at::kCPU);
  for (const std::uint64_t reports : {1, 3, 5, 8, 30, 50}) {
    struct Counter final : Progress {
      explicit Counter(std::uint64_t last) : left(last) {}
      void report(std::uint64_t done, std::uint64_t, const std::string& unit, const std::string&,
                  double) override {
        first.emplace(unit, done);
        if (left-- == 0) throw Error(ErrorCode::kCancelled, "CANCELLED", "killed");
      }
      std::uint64_t left;
      std::map<std::string, std::uint64_t> first;
    };
    const auto path = folder.path() / std::to_string(reports);
    Counter killer(reports);
    Snapshot first(path);
    EXPECT_EQ(thrown_by([&] { run(recipe(", budget=4.1"), killer, first, stored); }).reason(), "CANCELLED");
    Counter counter(~0ull);
    Snapshot second(path);
    ASSERT_TRUE(second.state().has_value()) << reports;
    expect_equal(run(recipe(", budget=4.1"), counter, second, stored), expected);
    EXPECT_EQ(counter.first["blocks"], std::min<std::uint64_t>(reports, kBlocks));
    EXPECT_EQ(counter.first["generations"] > 0, reports >= 30) << reports;
  }
}

TEST(EvoPress, RefusesWhatCannotBeWithTheFieldAndTheFix) {
  const auto refused = [](const std::string& text) { return thrown_by([&] { run(text); }); };
  const auto low = refused(recipe(", budget=2.9")), high = refused(recipe(", budget=5.1"));
  EXPECT_EQ(low.field(), "params.budget");
  EXPECT_EQ(low.hint(), "Give between 3 and 5, or other levels.");
  EXPECT_EQ(high.field(), "params.budget");
  EXPECT_EQ(refused(recipe(", budget=1, unit=sparsity")).field(), "params.budget");
  EXPECT_EQ(refused("evopress(offspring=0)").field(), "stages[0].params.offspring");
  EXPECT_EQ(refused("evopress(levels=flap)").reason(), "NO_LEVEL");
  EXPECT_EQ(refused("evopress(survivors=[4, 2])").field(), "params.survivors");
  EXPECT_EQ(refused("evopress(survivors=[4, 4, 1])").field(), "params.survivors");
  EXPECT_EQ(refused("evopress(survivors=[256, 1], tokens=[1, 1])").field(), "params.survivors");
  EXPECT_EQ(refused("evopress(tokens=[4, 4])").field(), "params.tokens");
  EXPECT_EQ(refused("evopress(samples=8)").field(), "params.tokens");
  EXPECT_EQ(refused("evopress(samples=8, tokens=[1, 2, 4096], levels='gptq(group_size=16, targets=lm_head, "
                    "ignore=[])')")
                .reason(),
            "NO_LEVEL");
}

Layer* reader_of(Model& model, bool attention, int block) {
  return model.find_layer("model.layers." + std::to_string(block) +
                          (attention ? ".self_attn.o_proj" : ".mlp.down_proj"));
}

// Without the parts whose bits are set: attentions first.
double divergence_without(Model& model, int mask, const at::Tensor& dense) {
  ExchangedWeights::Weights without;
  for (int bit = 0; bit < 2 * kBlocks; ++bit) {
    Layer* const layer = reader_of(model, bit < kBlocks, bit % kBlocks);
    if (mask >> bit & 1)
      without.emplace_back(layer, dense_rep(at::zeros({layer->weight().rows(), layer->weight().columns()})));
  }
  const ExchangedWeights exchanged(std::move(without));
  return divergence(dense, log_probabilities(model));
}

Json run_depth(Model& model, const std::string& recipe) {
  const auto stage = parse_recipe(recipe).stages[0];
  const auto method = make_method(stage.method, Params(stage.params, "params"));
  const auto targets = small_model::linear_layers(model, false);
  method->check_model(model, targets);
  const Calibration calibration{tokens(), {}, Propagate::kDense};
  NoProgress quiet;
  Snapshot none;
  return method->run({model, targets, calibration, quiet, none, nullptr, 0});
}

// Two of four attentions and two of four MLPs: 36 plans.
TEST(EvoPressDepth, FindsTheBestOfAllPlansAndCutsThemOut) {
  const auto model = small_model::make();
  const at::Tensor dense = log_probabilities(*model);
  double best = std::numeric_limits<double>::infinity();
  for (int mask = 0; mask < 256; ++mask)
    if (__builtin_popcount(mask & 15) == 2 && __builtin_popcount(mask >> 4) == 2)
      best = std::min(best, divergence_without(*model, mask, dense));
  const Json report = run_depth(*model,
                                "evopress-depth(blocks=2, initial=4, generations=20, offspring=6, "
                                "survivors=1, tokens=288, samples=6, sequence_length=48)");
  int attentions = 0, mlps = 0;
  for (int block = 0; block < kBlocks; ++block) {
    attentions += reader_of(*model, true, block) != nullptr;
    mlps += reader_of(*model, false, block) != nullptr;
  }
  EXPECT_EQ(attentions, 2);
  EXPECT_EQ(mlps, 2);
  EXPECT_NEAR(divergence(dense, log_probabilities(*model)), best, 1e-5 * best);
  EXPECT_NEAR(report["kl"].back().get<double>(), best, 1e-4 * best);
  const auto four = parse_recipe("evopress-depth(blocks=4, samples=256)").stages[0];
  EXPECT_EQ(thrown_by([&] {
              const auto fresh = small_model::make();
              make_method(four.method, Params(four.params, "params"))
                  ->check_model(*fresh, small_model::linear_layers(*fresh, false));
            }).field(),
            "params.blocks");
}

TEST(EvoPressDepth, DropsInOneShotThePartsWhoseAbsenceAloneDivergesLeast) {
  const auto model = small_model::make();
  const at::Tensor dense = log_probabilities(*model);
  int least = 0;
  for (const bool attention : {true, false}) {
    std::vector<std::pair<double, int>> alone;
    for (int block = 0; block < kBlocks; ++block) {
      const int mask = 1 << (attention ? block : kBlocks + block);
      alone.emplace_back(divergence_without(*model, mask, dense), mask);
    }
    std::sort(alone.begin(), alone.end());
    for (int i = 0; i < 2; ++i) least |= alone[i].second;
  }
  const Json report = run_depth(*model,
                                "evopress-depth(blocks=2, search=one-shot, offspring=3, survivors=1, "
                                "tokens=288, samples=6, sequence_length=48)");
  for (int bit = 0; bit < 2 * kBlocks; ++bit)
    EXPECT_EQ(reader_of(*model, bit < kBlocks, bit % kBlocks) == nullptr, (least >> bit & 1) == 1) << bit;
  EXPECT_EQ(report["searched_tokens"], 288 * 2 * kBlocks);
}

TEST(EvoPress, SaysWhichLevelsTakeTooMuchOfTheDisk) {
  std::string eight = "gptq(bits=8, group_size=16, scale_dtype=float32)";
  std::string many = eight;
  for (int i = 0; i < 12; ++i) many += " | " + eight;
  const auto error = thrown_by([&] {
    run("evopress(levels='" + many +
        "', budget=10, samples=6, sequence_length=48, survivors=[1], tokens=[48])");
  });
  EXPECT_EQ(error.reason(), "TOO_MANY_LEVELS");
  EXPECT_EQ(error.field(), "params.levels");
}

}  // namespace
}  // namespace wring
