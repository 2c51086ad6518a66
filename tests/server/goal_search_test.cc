// The strategy of goals in worlds whose true losses are known.
#include "server/sweeps/goal_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "common/random.h"
#include "server/sweeps/outcome.h"

namespace wring {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr int kLayers = 24;
constexpr std::uint64_t kWeights = 64'000, kRest = 20'000;
constexpr const char* kLevels = "gptq(bits=2) | gptq(bits=3) | gptq(bits=4) | gptq(bits=8)";
constexpr double kBits[] = {2.25, 3.25, 4.25, 8.25}, kErrors[] = {0.3, 0.06, 0.013, 0.0001};

// A world of layers of equal size that differ in what their errors cost, by a factor of up to e^3.
struct World {
  std::uint64_t header = 500;  // bytes around a layer that no table knows of
  double interaction = 0.1;    // by which a sum of losses is not the loss of all

  static double fragility(int layer) { return std::exp(3.0 * ((layer * 7) % kLayers) / kLayers); }
  static std::uint64_t input() { return kLayers * kWeights * 2 + kRest; }

  Json table() const {
    Json layers = Json::array();
    for (int i = 0; i < kLayers; ++i) {
      Json levels = Json::array();
      for (int k = 0; k < 4; ++k)
        levels.push_back({{"level", k},
                          {"bytes", static_cast<std::uint64_t>(kWeights * kBits[k] / 8)},
                          {"error", kErrors[k]},
                          {"kl", fragility(i) * kErrors[k] / 24}});
      layers.push_back({{"layer", "model.layers." + std::to_string(i) + ".x"},
                        {"bytes", kWeights * 2},
                        {"levels", levels}});
    }
    return {{"layers", layers},
            {"artifact_bytes", input()},
            {"weight_bytes", input()},
            {"parameters", kLayers * kWeights}};
  }

  // Of a recipe as the engine would read it.
  Json outcome(const Json& recipe) const {
    const auto parsed = parse_recipe(recipe.dump());
    if (parsed.stages.empty()) return {{"metrics", Json::array()}, {"sensitivity", table()}};
    const StageSpec& stage = parsed.stages[0];
    double kl = 0, bytes = static_cast<double>(kRest);
    for (int i = 0; i < kLayers; ++i) {
      const auto bits = bits_of(stage, "model.layers." + std::to_string(i) + ".x");
      const auto k = bits == 8 ? 3 : bits - 2;
      kl += fragility(i) * kErrors[k] / 24;
      bytes += kWeights * kBits[k] / 8 + static_cast<double>(header);
    }
    kl *= 1 + interaction;
    const auto row = [](const char* suite, const char* metric, double value, double baseline) {
      return Json{{"suite", suite}, {"metric", metric}, {"value", value}, {"baseline", baseline}};
    };
    Json kl_row = row("perplexity", "kl_mean", kl, 0);
    kl_row.erase("baseline");
    return {{"metrics",
             {kl_row, row("perplexity", "perplexity", 20 * std::exp(kl), 20),
              row("size", "artifact_bytes", bytes, static_cast<double>(input()))}}};
  }

  static int bits_of(const StageSpec& stage, const std::string& layer) {
    if (stage.method != "mixed-levels") return stage.params.at("bits").get<int>();
    for (const auto& level : stage.params.at("levels")) {
      const StageSpec one = parse_recipe(Json{{"stages", {level}}}.dump()).stages[0];
      if (one.takes(layer, "Linear")) return one.params.at("bits").get<int>();
    }
    ADD_FAILURE() << "no level takes " << layer;
    return 8;
  }
};

Sweep sweep_to(const std::string& goal, const std::string& more = "") {
  return parse_sweep("{model: M, data: {calibration: C, test: T}, parallel: 3, goal: '" + goal +
                     "', strategy: {levels: '" + kLevels + "'" + more + "}}");
}

struct Played {
  std::vector<TrialView> trials;
  std::vector<std::string> labels;
  std::string reason;
  Measured best;  // of those that hold
};

// As the runner plays it: `parallel` open at a time, ended in an order that `luck` makes; `restarts`: with a
// new strategy each time.
Played played(const Sweep& sweep, const World& world, std::uint64_t luck = 0, bool restarts = false) {
  Played game;
  auto strategy = make_strategy(sweep, {});
  Random random(luck);
  std::vector<std::size_t> open;
  std::vector<Json> recipes;
  while (game.trials.size() < 100) {
    if (restarts) strategy = make_strategy(sweep, {});
    const Next next = open.size() < sweep.parallel ? strategy->next(game.trials) : Next{Advice::kWait, {}};
    if (next.advice == Advice::kTry) {
      TrialView trial;
      open.push_back(game.trials.size());
      game.trials.push_back(trial);
      game.labels.push_back(next.proposal.label);
      recipes.push_back(next.proposal.recipe);
      continue;
    }
    if (open.empty()) {
      EXPECT_EQ(next.advice, Advice::kDone);
      game.reason = next.reason;
      break;
    }
    const auto at = luck == 0 ? 0 : random.below(open.size());
    TrialView& trial = game.trials[open[at]];
    trial.ended = true;
    trial.outcome = world.outcome(recipes[open[at]]);
    trial.measured = measured_of(trial.outcome, sweep.objectives, sweep.constraints);
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
  }
  for (const auto& trial : game.trials)
    if (!trial.measured.losses.empty() && trial.measured.violation == 0 &&
        (game.best.losses.empty() || trial.measured.losses < game.best.losses))
      game.best = trial.measured;
  return game;
}

double value(const TrialView& trial, const char* suite, const char* metric) {
  return find_metric_row(trial.outcome, {suite, metric})->at("value").get<double>();
}

TEST(GoalSearch, BeatsEveryUniformLevelWithinTheBytes) {
  const auto game = played(sweep_to("bytes<=22%, kl=min"), World{});
  EXPECT_EQ(game.labels.at(0), "sensitivity");
  EXPECT_THAT(game.reason, StartsWith("met: trial "));
  double uniform = 1e9;
  for (std::size_t i = 1; i < game.trials.size(); ++i)
    if (game.labels[i].starts_with("uniform") && game.trials[i].measured.violation == 0)
      uniform = std::min(uniform, game.trials[i].measured.losses[0]);
  ASSERT_LT(uniform, 1e9) << "3 bits fit";
  EXPECT_LT(game.best.losses.at(0), 0.8 * uniform);
  EXPECT_THAT(game.reason, HasSubstr("uniform gptq(bits=3)"));
  EXPECT_LE(game.trials.size(), most_goal_trials(sweep_to("bytes<=22%, kl=min").strategy));
}

TEST(GoalSearch, FillsTheBudgetOnceItKnowsTheBytesAroundALayer) {
  for (const std::uint64_t header : {0, 500, 3000}) {  // against 400 that it reckons with
    World world;
    world.header = header;
    const auto game = played(sweep_to("bytes<=22%, kl=min"), world);
    double most = 0;
    for (std::size_t i = 1; i < game.trials.size(); ++i)
      if (game.trials[i].measured.violation == 0)
        most = std::max(most, value(game.trials[i], "size", "artifact_bytes"));
    const double budget = 0.22 * static_cast<double>(World::input()), step = kWeights / 8.0;
    EXPECT_LE(most, budget) << header;
    EXPECT_GT(most, budget - step - 1) << header;
  }
}

TEST(GoalSearch, ClosesInOnTheSmallestThatHoldsABoundOnTheLoss) {
  for (const double interaction : {-0.5, 0.1, 3.0}) {
    World world;
    world.interaction = interaction;
    const auto game = played(sweep_to("ppl<=+2%"), world);
    EXPECT_THAT(game.reason, StartsWith("met: ")) << interaction;
    ASSERT_EQ(game.best.losses.size(), 2u);
    const double smallest = game.best.losses[0];
    // By all of the plan's own budgets, the smallest that holds: a search of every size.
    double least = 1e18;
    const Sweep sweep = sweep_to("ppl<=+2%");
    const Plans plans(sweep, {{"sensitivity", world.table()}});
    for (double bytes = 3e5; bytes < 2.5e6; bytes *= 1.003)
      if (const auto plan = plans.mixed(1, static_cast<std::uint64_t>(bytes))) {
        const Json outcome = world.outcome(plan->recipe);
        if (violation_of(outcome, sweep.constraints) == 0.0)
          least = std::min(least,
                           find_metric_row(outcome, {"size", "artifact_bytes"})->at("value").get<double>());
      }
    EXPECT_LT(smallest, 1.06 * least) << interaction;
  }
}

TEST(GoalSearch, SaysThatAGoalCannotBeMetAndHowNearItCame) {
  const auto small = played(sweep_to("bytes<=5%, kl=min"), World{});
  EXPECT_THAT(small.reason, StartsWith("not met: nearest is trial 1 (the smallest levels)"));
  EXPECT_THAT(small.reason, HasSubstr("artifact_bytes is "));
  const auto good = played(sweep_to("bytes<=22%, ppl<=+0.01%"), World{});
  EXPECT_THAT(good.reason, StartsWith("not met: nearest is trial "));
  EXPECT_THAT(good.reason, HasSubstr("; its perplexity is "));
  EXPECT_THAT(good.reason, HasSubstr("wanted at most 20"));
}

TEST(GoalSearch, SaysHowFarItIs) {
  const auto sweep = sweep_to("bytes<=22%, kl=min");
  auto trials = played(sweep, World{}).trials;
  const auto strategy = make_strategy(sweep, {});
  EXPECT_EQ(strategy->state({}), "measures how sensitive each layer is");
  strategy->next(trials);
  const auto plans = std::to_string(trials.size() - 1);
  EXPECT_THAT(strategy->state(trials), StartsWith(plans + " of " + plans + " plans are verified"));
  trials.back().ended = false;
  EXPECT_THAT(strategy->state(trials),
              StartsWith(std::to_string(trials.size() - 2) + " of " + plans + " plans are verified"));
}

TEST(GoalSearch, MakesTheSameTrialsInWhicheverOrderTheyEndAndOverRestarts) {
  for (const char* goal : {"bytes<=22%, kl=min", "ppl<=+2%"}) {
    const auto first = played(sweep_to(goal), World{});
    for (std::uint64_t luck = 1; luck < 6; ++luck) {
      const auto other = played(sweep_to(goal), World{}, luck, luck % 2 == 0);
      EXPECT_EQ(other.labels, first.labels) << goal << luck;
      EXPECT_EQ(other.reason, first.reason) << goal << luck;
    }
  }
}

TEST(GoalSearch, TakesSharesOfWhatWasHandedInAndNotOfWhatTheFirstStagesLeft) {
  const Sweep sweep = sweep_to("bytes<=22%, kl=min");
  const auto handed_in = static_cast<double>(2 * World::input());
  const Json size{{"suite", "size"}, {"metric", "artifact_bytes"}, {"value", handed_in}};
  const Plans plans(sweep, {{"sensitivity", World{}.table()}, {"metrics", Json::array({size})}});
  EXPECT_EQ(plans.most_bytes(), static_cast<std::uint64_t>(0.22 * handed_in));
}

TEST(GoalSearch, EndsWithTheReasonWhereNothingCouldBeMeasured) {
  const auto sweep = sweep_to("bytes<=22%, kl=min");
  std::vector<TrialView> trials(1);
  trials[0].ended = true;
  const Next next = make_strategy(sweep, {})->next(trials);
  EXPECT_EQ(next.advice, Advice::kDone);
  EXPECT_THAT(next.reason, HasSubstr("see trial 0"));
}

TEST(GoalSearch, EndsWhereTheTableIsNone) {
  for (const Json& table : {Json::object(), Json("nonsense"), Json{{"layers", Json::array()}}}) {
    std::vector<TrialView> trials(1);
    trials[0].ended = true;
    trials[0].outcome = {{"sensitivity", table}, {"metrics", Json::array()}};
    GoalSearch search(sweep_to("bytes<=22%, kl=min"));
    const Next next = search.next(trials);
    EXPECT_EQ(next.advice, Advice::kDone) << table;
    EXPECT_THAT(next.reason, StartsWith("not met: the layers' sensitivity cannot be used: ")) << table;
  }
}

TEST(GoalSearch, RefusesALossThatIsNoNumber) {
  Json table = World{}.table();
  table["layers"][0]["levels"][0]["kl"] = nullptr;
  EXPECT_THROW(Plans(sweep_to("bytes<=22%, kl=min"), {{"sensitivity", table}, {"metrics", Json::array()}}),
               Error);
}

TEST(GoalSearch, MakesAsManyUniformPlansAsWereAskedForAndNoMoreTrialsThanItSays) {
  for (const char* goal : {"bytes<=22%, kl=min", "ppl<=+2%"}) {
    const auto game = played(sweep_to(goal), World{});
    const auto uniform = std::count_if(game.labels.begin(), game.labels.end(),
                                       [](const auto& label) { return label.starts_with("uniform"); });
    EXPECT_LE(uniform, static_cast<int>(sweep_to(goal).strategy.uniform)) << goal;
    EXPECT_LE(game.trials.size(), most_goal_trials(sweep_to(goal).strategy)) << goal;
  }
}

}  // namespace
}  // namespace wring
