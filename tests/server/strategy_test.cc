// Strategies against what their papers say they do, and against random search.
#include "server/sweeps/strategy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "common/random.h"

namespace wring {
namespace {

using testing::ElementsAre;

Dimension range(const std::string& path, double low = 0, double high = 1) {
  Dimension d;
  d.path = path;
  d.low = low;
  d.high = high;
  return d;
}

Dimension list(const std::string& path, std::vector<Json> values, bool ordered) {
  Dimension d;
  d.path = path;
  d.values = std::move(values);
  d.ordered = ordered;
  return d;
}

Sweep cube(const std::string& strategy, std::size_t dimensions, std::uint64_t seed,
           std::uint64_t parallel = 1) {
  Sweep sweep;
  for (std::size_t d = 0; d < dimensions; ++d)
    sweep.space.dimensions.push_back(range("x" + std::to_string(d)));
  sweep.strategy.name = strategy;
  sweep.strategy.seed = seed;
  sweep.parallel = parallel;
  return sweep;
}

using Function = std::function<std::vector<double>(const std::vector<Json>&, std::uint32_t rung)>;

// Runs `count` trials, `parallel` open at a time, ended in an order that `luck` makes.
std::vector<TrialView> played(const Sweep& sweep, std::size_t count, const Function& measure,
                              std::uint64_t luck = 0, const std::vector<std::uint64_t>& extents = {}) {
  const auto strategy = make_strategy(sweep, extents);
  Random random(luck);
  std::vector<TrialView> trials;
  std::vector<std::size_t> open;
  const auto end_one = [&] {
    const auto at = luck == 0 ? 0 : random.below(open.size());
    TrialView& trial = trials[open[at]];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
    trial.ended = true;
    trial.measured.losses = measure(sweep.space.values(trial.at), trial.rung);
  };
  while (trials.size() < count) {
    const auto next = open.size() < sweep.parallel ? strategy->next(trials) : Next{Advice::kWait, {}};
    if (next.advice == Advice::kDone && open.empty()) break;
    if (next.advice == Advice::kTry) {
      trials.push_back({next.proposal.at, next.proposal.rung, next.proposal.parent, false, {}});
      open.push_back(trials.size() - 1);
    } else if (open.empty()) {
      ADD_FAILURE() << "it waits for nothing";
      break;
    } else {
      end_one();
    }
  }
  while (!open.empty()) end_one();
  return trials;
}

std::vector<Coordinates> points(const std::vector<TrialView>& trials) {
  std::vector<Coordinates> points;
  for (const auto& trial : trials) points.push_back(trial.at);
  return points;
}

double number(const Json& value) {
  return value.get<double>();
}

TEST(Grid, HasAsManyTrialsAsTheProductOfItsLists) {
  Sweep sweep;
  sweep.space.dimensions = {list("a", {1, 2, 3}, true), list("b", {"x", "y"}, false),
                            list("c", {0, 1, 2, 3}, true)};
  const auto trials = played(sweep, 1000, [](const auto&, auto) { return std::vector<double>{}; });
  EXPECT_EQ(trials.size(), 3u * 2 * 4);
  const auto at = points(trials);
  EXPECT_EQ(std::set<Coordinates>(at.begin(), at.end()).size(), trials.size());
  EXPECT_EQ(expected_trials(sweep, {}), 24u);
}

TEST(RandomSearch, TriesNoPointTwiceAndEndsWithTheSpace) {
  auto sweep = cube("random", 0, 3);
  sweep.space.dimensions = {list("a", {1, 2, 3, 4, 5}, true), list("b", {"x", "y"}, false)};
  const auto at = points(played(sweep, 1000, [](const auto&, auto) { return std::vector<double>{}; }));
  EXPECT_EQ(at.size(), 10u);
  EXPECT_EQ(std::set<Coordinates>(at.begin(), at.end()).size(), 10u);
}

// McKay, Beckman, Conover 1979: each of the k strata of each dimension holds exactly one of the k trials.
TEST(LatinHypercube, HasOneTrialInEachStratumOfEachDimensionAlsoWhenExtended) {
  const std::vector<std::uint64_t> extents{16, 9};
  const auto at = points(played(
      cube("latin-hypercube", 3, 7, 4), 1000, [](const auto&, auto) { return std::vector<double>{}; }, 5,
      extents));
  ASSERT_EQ(at.size(), 25u);
  std::size_t from = 0;
  for (const auto count : extents) {
    for (std::size_t d = 0; d < 3; ++d) {
      std::set<int> strata;
      for (std::size_t i = from; i < from + count; ++i)
        strata.insert(static_cast<int>(at[i][d] * static_cast<double>(count)));
      EXPECT_EQ(strata.size(), count) << "dimension " << d;
    }
    from += count;
  }
}

Sweep halving(const std::string& name, double low, double high, double eta, std::uint64_t configurations,
              std::uint64_t parallel = 1) {
  auto sweep = cube(name, 1, 1, parallel);
  sweep.strategy.fidelity = Fidelity{"f", low, high, eta};
  sweep.strategy.configurations = configurations;
  return sweep;
}

std::vector<std::size_t> by_rung(const std::vector<TrialView>& trials) {
  std::vector<std::size_t> counts;
  for (const auto& trial : trials) {
    counts.resize(std::max<std::size_t>(counts.size(), trial.rung + 1));
    ++counts[trial.rung];
  }
  return counts;
}

const Function kFirst = [](const std::vector<Json>& x, std::uint32_t) {
  return std::vector<double>{number(x[0])};
};

// Li et al. 2020, Figure 1 (eta 3, r 1, R 9, n 9, early-stopping rate 0): 9, 3 and 1 configurations.
TEST(SuccessiveHalving, HasThePapersRungs) {
  const auto sweep = halving("successive-halving", 1, 9, 3, 9, 4);
  const auto trials = played(sweep, 1000, kFirst, 11);
  EXPECT_THAT(by_rung(trials), ElementsAre(9, 3, 1));
  EXPECT_EQ(expected_trials(sweep, {}), 13u);
  std::vector<double> first;
  for (std::size_t n = 0; n < 9; ++n) first.push_back(trials[n].at[0]);
  std::sort(first.begin(), first.end());
  for (std::size_t n = 9; n < 12; ++n) EXPECT_LE(trials[n].at[0], first[2]);
  EXPECT_EQ(trials[12].at[0], first[0]);
}

// A trial of the first rung was retried after two had gone on, and is the best one now.
TEST(SuccessiveHalving, LetsNobodyGoOnTwiceWhenARetryChangesTheOrder) {
  const auto strategy = make_strategy(halving("successive-halving", 1, 9, 3, 9), {});
  std::vector<TrialView> trials;
  for (int n = 0; n < 9; ++n) {
    const auto next = strategy->next(trials);
    trials.push_back({next.proposal.at, 0, -1, true, {}});
    trials.back().measured.losses = {static_cast<double>(n)};
  }
  for (const std::int64_t parent : {0, 1, 8}) {
    const auto next = strategy->next(trials);
    ASSERT_EQ(next.advice, Advice::kTry);
    EXPECT_EQ(next.proposal.parent, parent);
    trials.push_back({next.proposal.at, next.proposal.rung, next.proposal.parent, true, {}});
    trials.back().measured.losses = {1.0};
    if (parent == 1) trials[8].measured.losses = {-1.0};
  }
}

// The same case, one worker: Algorithm 2 promotes as soon as the best third of a rung allows.
TEST(Asha, PromotesAsThePapersFigure2Does) {
  const auto trials = played(halving("asha", 1, 9, 3, 9), 1000, kFirst);
  std::vector<std::uint32_t> rungs;
  for (const auto& trial : trials) rungs.push_back(trial.rung);
  // Three at rung 0, their best at rung 1, and so on; who is promoted to rung 2 depends on the draw alone.
  EXPECT_THAT(std::vector<std::uint32_t>(rungs.begin(), rungs.begin() + 4), ElementsAre(0, 0, 0, 1));
  EXPECT_EQ(by_rung(trials)[0], 9u);
  EXPECT_GE(by_rung(trials)[1], 3u);
  EXPECT_GE(by_rung(trials)[2], 1u);
}

// At any moment whoever was promoted was among the best third of those of its rung that had ended, and never
// twice.
TEST(Asha, PromotesOnlyFromTheBestThirdAndNobodyTwice) {
  for (std::uint64_t luck = 1; luck <= 20; ++luck) {
    const auto sweep = halving("asha", 1, 27, 3, 0, 5);
    const auto strategy = make_strategy(sweep, {});
    Random random(luck);
    std::vector<TrialView> trials;
    std::set<std::int64_t> promoted;
    while (trials.size() < 120) {
      const auto open = std::count_if(trials.begin(), trials.end(), [](const auto& t) { return !t.ended; });
      if (open < 5) {
        const auto next = strategy->next(trials);
        ASSERT_EQ(next.advice, Advice::kTry);
        if (const auto parent = next.proposal.parent; parent >= 0) {
          const auto& from = trials[static_cast<std::size_t>(parent)];
          EXPECT_TRUE(promoted.insert(parent).second);
          EXPECT_EQ(from.rung + 1, next.proposal.rung);
          std::size_t peers = 0, better = 0;
          for (const auto& t : trials) {
            peers += t.ended && t.rung == from.rung;
            better += t.ended && t.rung == from.rung && t.measured.losses < from.measured.losses;
          }
          EXPECT_LT(better, peers / 3);
        }
        trials.push_back({next.proposal.at, next.proposal.rung, next.proposal.parent, false, {}});
        continue;
      }
      for (auto at = random.below(trials.size());; at = (at + 1) % trials.size())
        if (TrialView& trial = trials[at]; !trial.ended) {
          trial.ended = true;
          trial.measured.losses = {trial.at[0]};
          break;
        }
    }
  }
}

double best(const std::vector<TrialView>& trials) {
  double least = INFINITY;
  for (const auto& trial : trials) least = std::min(least, trial.measured.losses[0]);
  return least;
}

// How often of `seeds` pairs `strategy` comes to a lower loss than random search.
int wins(const std::string& strategy, std::size_t dimensions, std::size_t trials, const Function& f,
         int seeds) {
  int count = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    count += best(played(cube(strategy, dimensions, s), trials, f)) <
             best(played(cube("random", dimensions, s + 1000), trials, f));
  }
  return count;
}

// Of 40 fair coins 29 or more show heads with a probability of 0.3 %.
TEST(Tpe, BeatsRandomSearchOnABowlAndOnBranin) {
  const Function bowl = [](const std::vector<Json>& x, std::uint32_t) {
    double sum = 0;
    for (std::size_t d = 0; d < x.size(); ++d)
      sum += std::pow(number(x[d]) - 0.2 - 0.15 * static_cast<double>(d), 2);
    return std::vector<double>{sum};
  };
  EXPECT_GE(wins("tpe", 4, 60, bowl, 40), 29);
  const Function branin = [](const std::vector<Json>& x, std::uint32_t) {
    const double a = 15 * number(x[0]) - 5, b = 15 * number(x[1]), pi = std::acos(-1.0);
    return std::vector<double>{std::pow(b - 5.1 / (4 * pi * pi) * a * a + 5 / pi * a - 6, 2) +
                               10 * (1 - 1 / (8 * pi)) * std::cos(a) + 10};
  };
  EXPECT_GE(wins("tpe", 2, 60, branin, 40), 29);
}

TEST(Tpe, KeepsAsManyTrialsOpenAsItMayAndNoMore) {
  const auto sweep = cube("tpe", 2, 1, 4);
  auto trials = played(sweep, 20, kFirst);
  const auto strategy = make_strategy(sweep, {});
  for (int open = 0; open < 4; ++open) {
    const auto next = strategy->next(trials);
    ASSERT_EQ(next.advice, Advice::kTry) << open;
    trials.push_back({next.proposal.at, 0, -1, false, {}});
  }
  EXPECT_EQ(strategy->next(trials).advice, Advice::kWait);
}

TEST(Tpe, FindsTheRightChoiceAmongMany) {
  int right = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    auto sweep = cube("tpe", 1, seed);
    sweep.space.dimensions.push_back(list("m", {"a", "b", "c", "d", "e", "f", "g", "h"}, false));
    const auto trials = played(sweep, 60, [](const std::vector<Json>& x, std::uint32_t) {
      return std::vector<double>{std::pow(number(x[0]) - 0.5, 2) + (x[1] == "e" ? 0 : 1)};
    });
    int chosen = 0;
    for (std::size_t n = 30; n < trials.size(); ++n) chosen += sweep.space.values(trials[n].at)[1] == "e";
    right += chosen > 15;  // of 30; chance alone would give 4
  }
  EXPECT_GE(right, 18);
}

// ZDT1 (Zitzler, Deb, Thiele 2000): f1 = x1, f2 = g (1 - sqrt(x1 / g)), g = 1 + 9 mean(x2..).
const Function kZdt1 = [](const std::vector<Json>& x, std::uint32_t) {
  double g = 0;
  for (std::size_t d = 1; d < x.size(); ++d) g += number(x[d]);
  g = 1 + 9 * g / static_cast<double>(x.size() - 1);
  return std::vector<double>{number(x[0]), g * (1 - std::sqrt(number(x[0]) / g))};
};

double volume(const std::vector<TrialView>& trials) {
  std::vector<std::vector<double>> losses;
  for (const auto& trial : trials) losses.push_back(trial.measured.losses);
  return hypervolume(losses, {1.1, 6});
}

TEST(Nsga2, CoversMoreOfZdt1ThanRandomSearch) {
  double missed = 0, missed_by_random = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    auto sweep = cube("nsga2", 8, seed, 4);
    sweep.strategy.population = 20;
    const double found = volume(played(sweep, 400, kZdt1)),
                 random = volume(played(cube("random", 8, seed), 400, kZdt1));
    EXPECT_GT(found, random) << "seed " << seed;
    // All there is: the rectangle less the area below f2 = 1 - sqrt(f1) on [0, 1], which is 1/3.
    const double whole = 1.1 * 6 - 1.0 / 3;
    missed += whole - found;
    missed_by_random += whole - random;
  }
  EXPECT_LT(missed, 0.4 * missed_by_random);
}

const Function kMixed = [](const std::vector<Json>& x, std::uint32_t) {
  return std::vector<double>{std::pow(number(x[0]) - 0.3, 2) + number(x[1]) * (x[2] == "b" ? 0.1 : 1)};
};

std::string state_of(const Sweep& sweep, const std::vector<TrialView>& trials) {
  const auto strategy = make_strategy(sweep, {});
  strategy->next(trials);
  return strategy->state(trials);
}

TEST(StrategyState, SaysWhichRungRunsAndHowManyGoOn) {
  const auto sweep = halving("successive-halving", 1, 9, 3, 9, 4);
  auto trials = played(sweep, 11, kFirst);
  EXPECT_EQ(state_of(sweep, trials), "rung 2 of 3: 2 of 3 trials have ended, the best 1 go on");
  trials.resize(4);
  trials.back().ended = false;
  EXPECT_EQ(state_of(sweep, trials), "rung 1 of 3: 3 of 9 trials have ended, the best 3 go on");
  EXPECT_EQ(state_of(sweep, played(sweep, 1000, kFirst)), "rung 3 of 3: 1 of 1 trials have ended");
}

TEST(StrategyState, CountsAshasPromotions) {
  const auto sweep = halving("asha", 1, 9, 3, 9);
  EXPECT_EQ(state_of(sweep, played(sweep, 4, kFirst)), "configurations: 3, promotions: 1");
}

TEST(StrategyState, SaysWhereTpeDrawsFrom) {
  auto sweep = cube("tpe", 2, 1, 4);
  sweep.strategy.startup = 10;
  EXPECT_EQ(state_of(sweep, played(sweep, 7, kFirst)), "drawn at random until 10 trials are known, 4 are");
  EXPECT_EQ(state_of(sweep, played(sweep, 40, kFirst)), "drawn near the best 4 of 37");
}

TEST(StrategyState, CountsGenerations) {
  auto sweep = cube("nsga2", 2, 1, 4);
  sweep.strategy.population = 8;
  auto trials = played(sweep, 20, kFirst);
  EXPECT_EQ(state_of(sweep, trials), "generation 3: 4 of 8 trials have ended");
  trials.resize(16);
  EXPECT_EQ(state_of(sweep, trials), "generation 2: 8 of 8 trials have ended");
  EXPECT_EQ(state_of(sweep, {}), "generation 1: 0 of 8 trials have ended");
}

class Deterministic : public testing::TestWithParam<const char*> {};

// What decides is the seed and what was measured, not the order in which trials end or a restart.
TEST_P(Deterministic, TrialsAreTheSameWhateverOrderTheyEndIn) {
  auto sweep = halving(GetParam(), 1, 9, 3, 18, 4);
  sweep.space.dimensions.push_back(range("y"));
  sweep.space.dimensions.push_back(list("m", {"a", "b", "c"}, false));
  if (std::string(GetParam()) != "successive-halving") sweep.strategy.fidelity.reset();
  const std::vector<std::uint64_t> extents{60};
  const auto one = played(sweep, 60, kMixed, 0, extents);
  for (std::uint64_t luck = 1; luck < 5; ++luck)
    EXPECT_EQ(points(played(sweep, 60, kMixed, luck, extents)), points(one)) << "luck " << luck;
}

// A restart builds the strategy anew from the trials.
TEST_P(Deterministic, AStrategyThatIsMadeAnewGoesOnTheSame) {
  auto sweep = halving(GetParam(), 1, 9, 3, 18, 4);
  if (std::string(GetParam()) != "successive-halving") sweep.strategy.fidelity.reset();
  const std::vector<std::uint64_t> extents{26};
  const auto all = played(sweep, 26, kFirst, 0, extents);
  for (std::size_t n = 0; n < all.size(); ++n) {
    const auto next = make_strategy(sweep, extents)->next(std::span(all).first(n));
    ASSERT_EQ(next.advice, Advice::kTry);
    EXPECT_EQ(next.proposal.at, all[n].at) << n;
    EXPECT_EQ(next.proposal.parent, all[n].parent) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Deterministic,
                         testing::Values("random", "latin-hypercube", "successive-halving", "tpe", "nsga2"));

}  // namespace
}  // namespace wring
