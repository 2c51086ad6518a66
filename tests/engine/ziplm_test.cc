// ZipLM: what is left of a matrix against least squares solved anew, plans against all plans there are, and
// the stage on times that are given.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "common/error.h"
#include "common/files.h"
#include "engine/calibrate/calibrate.h"
#include "engine/methods/search/latency_table.h"
#include "engine/methods/search/spdy.h"
#include "engine/methods/structured/surgeon.h"
#include "engine/run/snapshot.h"
#include "recipe/recipe.h"
#include "tests/common/thrown_by.h"
#include "tests/engine/random_family.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

using small_model::kBlocks, small_model::kVocabulary;
using Kind = CoupledGroups::Kind;

at::Tensor columns_of(const at::Tensor& groups, std::int64_t width) {
  return (groups.unsqueeze(1) * width + at::arange(width, at::kLong)).flatten();
}

at::Tensor damped(const at::Tensor& hessian, double damping) {
  return hessian + damping * hessian.diagonal().mean() * at::eye(hessian.size(0), at::kDouble);
}

// W' = W H_:S H_SS^-1: of all matrices on these columns the one nearest to W x on the calibration data.
at::Tensor refitted(const at::Tensor& w, const at::Tensor& h, const at::Tensor& columns) {
  const at::Tensor among = h.index_select(0, columns).index_select(1, columns);
  return at::linalg_solve(among, at::mm(w, h.index_select(1, columns)).t()).t();
}

double squared_error(const at::Tensor& w, const at::Tensor& h, const at::Tensor& columns,
                     const at::Tensor& pruned) {
  const at::Tensor off = w.index_add(1, columns, pruned, -1);
  return (at::mm(off, h) * off).sum().item<double>();
}

// Groups by the least squares of what would be left, one after the other.
std::vector<std::int64_t> removal_order(const at::Tensor& w, const at::Tensor& h, std::int64_t width) {
  std::vector<std::int64_t> left, order;
  for (std::int64_t group = 0; group < w.size(1) / width; ++group) left.push_back(group);
  while (left.size() > 1) {
    double best = std::numeric_limits<double>::infinity();
    std::size_t worst = 0;
    for (std::size_t i = 0; i < left.size(); ++i) {
      auto others = left;
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
      const at::Tensor columns = columns_of(at::tensor(others, at::kLong), width);
      const double error = squared_error(w, h, columns, refitted(w, h, columns));
      if (error < best) {
        best = error;
        worst = i;
      }
    }
    order.push_back(left[worst]);
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(worst));
  }
  return order;
}

at::Tensor correlated_hessian(std::int64_t features) {
  const at::Tensor mix = at::randn({features, features}, at::kDouble) + 2 * at::eye(features, at::kDouble);
  const at::Tensor x = at::mm(at::randn({200, features}, at::kDouble), mix);
  return 2 * at::mm(x.t(), x) / 200;
}

TEST(PruneColumns, TakesTheGroupsAndLeavesTheWeightsThatLeastSquaresGives) {
  at::manual_seed(5);
  for (const std::int64_t width : {1, 4}) {
    const std::int64_t groups = 12, features = groups * width;
    const at::Tensor h = correlated_hessian(features), w = at::randn({7, features}, at::kDouble);
    for (const double damping : {0.01, 0.3}) {
      const at::Tensor with = damped(h, damping);
      const auto order = removal_order(w, with, width);
      std::vector<std::int64_t> counts;
      for (std::int64_t count = groups - 1; count > 0; --count) counts.push_back(count);
      std::size_t removed = 0;
      prune_columns(w, h, width, damping, counts, [&](const PrunedColumns& pruned) {
        ++removed;
        std::vector<std::int64_t> gone(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(removed));
        std::vector<std::int64_t> stay;
        for (std::int64_t group = 0; group < groups; ++group)
          if (std::find(gone.begin(), gone.end(), group) == gone.end()) stay.push_back(group);
        ASSERT_TRUE(at::equal(pruned.kept, at::tensor(stay, at::kLong))) << removed;
        const at::Tensor columns = columns_of(pruned.kept, width), expected = refitted(w, with, columns);
        EXPECT_LT((pruned.weight - expected).abs().max().item<double>(), 1e-4);
        EXPECT_NEAR(pruned.error,
                    squared_error(w, h, columns, pruned.weight) / (at::mm(w, h) * w).sum().item<double>(),
                    1e-9);
      });
      EXPECT_EQ(removed, counts.size());
    }
  }
}

// Between its levels it lets the matrices lag behind.
TEST(PruneColumns, SkipsFromLevelToLevelAsIfItHadStoppedBetween) {
  at::manual_seed(6);
  const at::Tensor h = correlated_hessian(150), w = at::randn({5, 150}, at::kDouble);
  std::vector<std::int64_t> counts;
  for (std::int64_t count = 149; count > 0; --count) counts.push_back(count);
  std::map<std::int64_t, PrunedColumns> all;
  prune_columns(w, h, 1, 0.01, counts, [&](const PrunedColumns& pruned) {
    all[pruned.kept.numel()] = {pruned.kept, pruned.weight.clone(), pruned.error};
  });
  prune_columns(w, h, 1, 0.01, {147, 60, 2}, [&](const PrunedColumns& pruned) {
    const auto& expected = all.at(pruned.kept.numel());
    EXPECT_TRUE(at::equal(pruned.kept, expected.kept));
    EXPECT_LT((pruned.weight - expected.weight).abs().max().item<double>(), 1e-8);
  });
}

TEST(PruneColumns, LosesNothingByChannelsThatAreAlwaysZeroOrSumsOfOthers) {
  at::manual_seed(7);
  at::Tensor x = at::randn({100, 8}, at::kDouble);
  x.select(1, 2).zero_();
  x.select(1, 5).copy_(x.select(1, 0) - 2 * x.select(1, 1));
  const at::Tensor w = at::randn({6, 8}, at::kDouble);
  prune_columns(w, 2 * at::mm(x.t(), x) / 100, 1, 1e-6, {6}, [&](const PrunedColumns& pruned) {
    EXPECT_LT(pruned.error, 1e-6);
    const at::Tensor outputs = at::mm(x, w.t()),
                     left = at::mm(x.index_select(1, pruned.kept), pruned.weight.t());
    EXPECT_LT((outputs - left).abs().max().item<double>(), 1e-2);
  });
}

// Every pass is run; what the clock says is given: a median hears nothing of the first round, or of one of
// five that was held up.
TEST(LatencyTable, HoldsTheMediansOfEachModuleBesideABlockWithoutIt) {
  const auto model = small_model::make();
  std::vector<CoupledGroups> parts;
  std::vector<std::vector<std::int64_t>> kept;
  for (auto& groups : model->coupled_groups()) {
    if (groups.kind == Kind::kHidden) continue;
    kept.push_back(groups.kind == Kind::kHeads ? std::vector<std::int64_t>{4, 1, 0}
                                               : std::vector<std::int64_t>{64, 30, 0});
    parts.push_back(std::move(groups));
  }
  const std::vector<std::vector<double>> given{{50, 20, 3}, {90, 40, 4}, {11}};
  std::size_t call = 0, measured = 0;
  const Timer clock = [&](const std::function<void()>& pass) {
    pass();
    const auto& of = given[measured];
    const std::size_t round = call / of.size();
    const double seconds = round == 0 ? 1e9 : of[call % of.size()] + (round == 3 ? 1000 : 0);
    if (++call == 6 * of.size()) {
      call = 0;
      ++measured;
    }
    return seconds;
  };
  NoProgress quiet;
  const LatencyTable table = measure_latency(*model, parts, kept, {2, 8, 5}, true, quiet, clock);
  EXPECT_EQ(measured, 3u);
  ASSERT_EQ(table.modules.size(), 2u);
  EXPECT_EQ(table.row, (std::vector<std::size_t>{0, 1, 0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(table.modules[0].seconds, (std::vector<double>{47, 17, 0}));
  EXPECT_EQ(table.modules[1].seconds, (std::vector<double>{86, 36, 0}));
  EXPECT_EQ(table.fixed, 4 * 4 + 11);
  EXPECT_EQ(table.seconds({}), 27 + 4 * (47 + 86));
  EXPECT_EQ(table.seconds({1, 2}), 27 + 17 + 3 * 47 + 3 * 86);
  EXPECT_EQ(LatencyTable::from_json(table.to_json(), "table").to_json(), table.to_json());
}

TEST(LatencyTable, TimesTheModulesOfABlockEachAlone) {
  for (const auto& family : random_family::all()) {
    SCOPED_TRACE(family.name);
    const auto model = family.make();
    const auto parameters = model->parameter_count();
    const at::Tensor hidden = at::randn({2, 8, model->hidden_size()});
    const auto groups = model->coupled_groups();
    ASSERT_EQ(groups[3].block, 1u);
    const auto attention = module_alone(*model, groups[2], groups[2].count),
               mlp = module_alone(*model, groups[3], groups[3].count);
    EXPECT_EQ(attention->block_count(), 1u);
    // An encoder's norms come behind its modules, and what a module adds always stays where it is gone.
    if (model->kind() == "decoder-lm" && !model->reader_of(groups[3]).bias().defined()) {
      const at::Tensor both = mlp->run_block(0, attention->run_block(0, hidden, {}), {});
      EXPECT_LT((both - model->run_block(1, hidden, {})).abs().max().item<double>(), 1e-5);
    }
    const auto narrow = module_alone(*model, groups[3], 5), empty = module_alone(*model, groups[3], 0);
    EXPECT_EQ(narrow->coupled_groups()[0].count, 5);
    EXPECT_EQ(narrow->block_layers(0).back()->weight().columns(), 5);
    EXPECT_TRUE(empty->block_layers(0).empty());
    EXPECT_EQ(model->parameter_count(), parameters);
  }
}

std::vector<TimedLevels> random_units(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<TimedLevels> units(count);
  for (auto& [seconds, errors] : units) {
    double error = 0;
    for (std::size_t level = 0; level < 4; ++level) {
      seconds.push_back(level == 3 ? 0 : static_cast<double>(1 + random.below(40)));
      errors.push_back(error);
      error += random.uniform();
    }
  }
  return units;
}

double sum_over(const std::vector<TimedLevels>& units, const Assignment& at, bool of_errors,
                const std::vector<double>& coefficients) {
  double sum = 0;
  for (std::size_t i = 0; i < units.size(); ++i)
    sum += of_errors ? coefficients[i] * units[i].errors[at[i]] : units[i].seconds[at[i]];
  return sum;
}

TEST(PlanWithin, IsTheBestOfAllPlansWithinTheTime) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto units = random_units(6, seed);
    Random random(seed, 1);
    std::vector<double> coefficients;
    for (std::size_t i = 0; i < units.size(); ++i) coefficients.push_back(1 - random.uniform());
    for (const double limit : {20., 60., 110.}) {
      double best = std::numeric_limits<double>::infinity();
      for (std::size_t code = 0; code < 4096; ++code) {
        Assignment at;
        for (std::size_t i = 0; i < units.size(); ++i) at.push_back(code >> (2 * i) & 3);
        if (sum_over(units, at, false, {}) <= limit)
          best = std::min(best, sum_over(units, at, true, coefficients));
      }
      const auto found = plan_within(units, coefficients, limit, static_cast<std::int64_t>(limit));
      ASSERT_TRUE(found.has_value());
      EXPECT_LE(sum_over(units, *found, false, {}), limit);
      EXPECT_NEAR(sum_over(units, *found, true, coefficients), best, 1e-12);
    }
  }
}

TEST(PlanWithin, NeverTakesMoreThanThereIsAndSaysWhereNothingFits) {
  auto units = random_units(30, 3);
  for (auto& unit : units)
    for (auto& seconds : unit.seconds) seconds *= std::sqrt(2) / 7;
  const std::vector<double> ones(units.size(), 1);
  for (const double limit : {1., 17.3, 61.7}) {
    const auto found = plan_within(units, ones, limit, 1000);
    ASSERT_TRUE(found.has_value());
    EXPECT_LE(sum_over(units, *found, false, {}), limit);
  }
  EXPECT_EQ(plan_within(units, ones, 0, 1000).value(), Assignment(30, 3));
  for (auto& unit : units) unit.seconds.assign(4, 0.5);
  EXPECT_FALSE(plan_within(units, ones, 14.9, 1000).has_value());
}

// The true loss weighs units otherwise than their errors do.
TEST(Tune, FindsPlansThatLoseLessAndTheSameFromAnyStepOn) {
  const auto units = random_units(24, 8);
  std::vector<double> truth;
  Random random(9);
  for (std::size_t i = 0; i < units.size(); ++i) truth.push_back(i % 3 == 0 ? 10 : random.uniform());
  std::size_t asked = 0;
  const auto plan = [&](const std::vector<double>& c) { return plan_within(units, c, 120, 120).value(); };
  const auto loss = [&](const Assignment& at) {
    ++asked;
    return sum_over(units, at, true, truth);
  };
  const auto run = [&](std::size_t steps, SpdyState state) {
    tune(plan, loss, units.size(), steps, 0.25, 4, state, [] {});
    return state;
  };
  const SpdyState whole = run(200, {});
  EXPECT_LE(asked, 201u);
  const double best = loss(plan(truth));
  EXPECT_EQ(whole.start, loss(plan(std::vector<double>(units.size(), 1))));
  EXPECT_LT(whole.loss - best, 0.3 * (whole.start - best));
  EXPECT_EQ(whole.loss, loss(plan(whole.coefficients)));
  for (const std::size_t stop : {0, 1, 77})
    EXPECT_EQ(run(200, SpdyState::from_json(run(stop, {}).to_json(), "state")).to_json(), whole.to_json());
}

// Of every decoder and encoder: an attention takes a second a head, an MLP one and a tenth for each channel.
constexpr const char* kSmall =
    "samples=6, sequence_length=48, ffn_step=0.5, repeats=1, batch=1, length=8, corrections=0";

std::vector<std::int64_t> halves(std::int64_t count) {
  std::vector<std::int64_t> kept{count};
  for (double share = 0.5; share >= 0.01; share /= 2) {
    const auto width = std::max<std::int64_t>(1, std::llround(share * static_cast<double>(count)));
    if (width < kept.back()) kept.push_back(width);
  }
  kept.push_back(0);
  return kept;
}

LatencyTable given_times(const Model& model, double fixed = 2) {
  LatencyTable table;
  table.fixed = fixed;
  for (const auto& groups : model.coupled_groups()) {
    if (groups.kind == Kind::kHidden) continue;
    ModuleTimes times{"", {}, {}};
    if (groups.kind == Kind::kFfn)
      times.kept = halves(groups.count);
    else
      for (std::int64_t heads = groups.count; heads >= 0; --heads) times.kept.push_back(heads);
    for (const auto kept : times.kept)
      times.seconds.push_back(groups.kind == Kind::kHeads ? static_cast<double>(kept)
                                                          : (kept > 0) + 0.1 * static_cast<double>(kept));
    table.row.push_back(table.modules.size());
    table.modules.push_back(std::move(times));
  }
  return table;
}

at::Tensor tokens(std::int64_t vocabulary = kVocabulary) {
  at::manual_seed(11);
  return at::randint(vocabulary, {6, 48}, at::kLong);
}

void put_times(const LatencyTable& table, Snapshot& snapshot) {
  snapshot.put("latency", {}, table.to_json());
  snapshot.commit({{"blocks", 0}, {"hidden", false}, {"reports", Json::array()}});
}

Json run(Model& model, const std::string& params, Progress& progress, Snapshot& snapshot) {
  const auto stage = parse_recipe("ziplm(" + std::string(kSmall) + ", " + params + ")").stages[0];
  const auto method = make_method(stage.method, Params(stage.params, "params"));
  const auto targets = small_model::linear_layers(model, false);
  method->check_model(model, targets);
  const Calibration calibration{tokens(model.vocabulary_size()), {}, Propagate::kDense};
  Json report = method->run({model, targets, calibration, progress, snapshot, nullptr, 0});
  report["latency"].erase("measured_seconds");
  report["latency"].erase("measured_speedup");
  report["latency"].erase("within_tolerance");
  return report;
}

Json run(Model& model, const std::string& params, double fixed = 2) {
  const TempDir folder;
  NoProgress quiet;
  Snapshot snapshot(folder.path());
  put_times(given_times(model, fixed), snapshot);
  return run(model, params, quiet, snapshot);
}

double dense_seconds(const Model& model) {
  return given_times(model).seconds({});
}

// By the report's own widths.
double seconds_of(const Json& report) {
  double seconds = 2;
  for (const Json& line : report.at("layers")) {
    const bool ffn = line.contains("channels");
    const auto kept = line.at(ffn ? "channels" : "kv_heads").get<double>();
    seconds += ffn ? (kept > 0) + 0.1 * kept : kept;
  }
  return seconds;
}

TEST(ZipLm, CutsEveryFamilyToTheTimeThatIsAskedFor) {
  for (const auto& family : random_family::all())
    for (const double speedup : {1.3, 2.}) {
      SCOPED_TRACE(family.name);
      const auto model = family.make();
      const double target = dense_seconds(*model) / speedup;
      const auto before = model->parameter_count();
      const Json report = run(*model, "search_steps=0, speedup=" + std::to_string(speedup));
      const double forecast = report.at("latency").at("forecast_seconds")[1];
      EXPECT_LE(forecast, target);
      EXPECT_GT(forecast, target - 2.1);  // the MLPs' other half takes 2
      EXPECT_NEAR(seconds_of(report), forecast, 1e-9);
      EXPECT_LT(model->parameter_count(), before);
      std::map<std::string, std::int64_t> kept;
      for (const Json& line : report.at("layers"))
        kept[line.at("layer")] = line.value("channels", line.value("kv_heads", 0));
      for (const auto& groups : model->coupled_groups())
        if (groups.kind != Kind::kHidden) {
          EXPECT_EQ(groups.count, kept.at(model->reader_of(groups).name()));
        }
      EXPECT_TRUE(at::isfinite(model->forward(tokens(model->vocabulary_size()))).all().item<bool>());
    }
}

// Collects what a layer is given.
struct Inputs final : InputObserver {
  void on_input(const Layer& layer, const at::Tensor& x) override {
    seen[layer.name()].push_back(x.reshape({-1, x.size(-1)}).to(at::kDouble));
  }
  std::map<std::string, std::vector<at::Tensor>> seen;
};

// Rows of `whole` that `part` has.
at::Tensor find_rows(const at::Tensor& part, const at::Tensor& whole) {
  return (part.unsqueeze(1) == whole.unsqueeze(0)).all(-1).nonzero().select(1, 1);
}

TEST(ZipLm, WhatStaysOfEachModuleIsLeastSquaresOfTheDenseModelsOutputs) {
  const auto dense = small_model::make(), model = small_model::make();
  Inputs inputs;
  dense->forward(tokens(), {{}, nullptr, &inputs});
  const Json report = run(*model, "search_steps=6, search_tokens=100, speedup=2.5");
  std::size_t pruned = 0;
  for (const Json& line : report.at("layers")) {
    const auto name = line.at("layer").get<std::string>();
    const Layer *const left = model->find_layer(name), *const whole = dense->find_layer(name);
    if (!left || left->weight().columns() == whole->weight().columns()) continue;
    SCOPED_TRACE(name);
    const bool ffn = line.contains("channels");
    const auto weight = [&](Model& of, const std::string& layer) {
      return of.find_layer(name.substr(0, name.rfind('.')) + layer)->weight().decode(at::kFloat);
    };
    const char* const rows = ffn ? ".gate_proj" : ".q_proj";
    const at::Tensor columns = find_rows(weight(*model, rows), weight(*dense, rows));
    ASSERT_EQ(columns.numel(), left->weight().columns());
    const at::Tensor x = at::cat(inputs.seen.at(name)),
                     w = whole->weight().decode(at::kFloat).to(at::kDouble),
                     h = 2 * at::mm(x.t(), x) / x.size(0), expected = refitted(w, damped(h, 0.01), columns),
                     found = left->weight().decode(at::kFloat).to(at::kDouble);
    EXPECT_LT((found - expected).abs().max().item<double>(), 2e-3 * expected.abs().max().item<double>());
    EXPECT_NEAR(line.at("error").get<double>(),
                squared_error(w, h, columns, expected) / (at::mm(w, h) * w).sum().item<double>(), 1e-3);
    ++pruned;
  }
  EXPECT_GT(pruned, 2u);
  EXPECT_LE(report.at("search").at("kl"), report.at("search").at("kl_at_first"));
}

TEST(ZipLm, UniformlyEveryModuleKeepsTheSameShare) {
  const auto model = small_model::make();
  const double target = dense_seconds(*model) / 1.7;
  const Json report = run(*model, "allocation=uniform, speedup=1.7");
  EXPECT_LE(report.at("latency").at("forecast_seconds")[1].get<double>(), target);
  std::set<std::int64_t> heads, channels;
  for (const Json& line : report.at("layers"))
    (line.contains("channels") ? channels : heads).insert(line.value("channels", line.value("kv_heads", 0)));
  EXPECT_EQ(heads, (std::set<std::int64_t>{2}));
  EXPECT_EQ(channels, (std::set<std::int64_t>{32}));
}

TEST(ZipLm, AfterAKillAnywhereItEndsAsIfItHadNotBeenKilled) {
  struct Counter final : Progress {
    explicit Counter(std::uint64_t last) : left(last) {}
    void report(std::uint64_t done, std::uint64_t, const std::string& unit, const std::string&,
                double) override {
      first.emplace(unit, done);
      ++reports;
      if (left-- == 0) throw Error(ErrorCode::kCancelled, "CANCELLED", "killed");
    }
    std::uint64_t left, reports = 0;
    std::map<std::string, std::uint64_t> first;
  };
  const std::string params = "search_steps=5, search_tokens=100, speedup=2";
  const TempDir folder;
  const auto times = given_times(*small_model::make());
  const auto start = [&](const std::string& name) {
    Snapshot snapshot(folder.path() / name);
    put_times(times, snapshot);
  };
  const auto go_on = [&](const std::string& name, Counter& counter) {
    Snapshot snapshot(folder.path() / name);
    const auto model = small_model::make();
    Json report = run(*model, params, counter, snapshot);
    return std::pair{std::move(report), small_model::copy_weights(*model)};
  };
  start("whole");
  Counter all(~0ull);
  const auto expected = go_on("whole", all);
  EXPECT_EQ(all.first.at("timed rounds"), 0u);
  for (std::uint64_t kill = 1; kill < all.reports; kill += 3) {
    const std::string name = std::to_string(kill);
    start(name);
    Counter killer(kill), counter(~0ull);
    EXPECT_EQ(thrown_by([&] { go_on(name, killer); }).reason(), "CANCELLED");
    const auto found = go_on(name, counter);
    EXPECT_EQ(found.first, expected.first) << kill;
    EXPECT_EQ(counter.first["blocks"], std::min<std::uint64_t>(kill, kBlocks)) << kill;
    for (const auto& [tensor, weight] : expected.second)
      EXPECT_TRUE(at::equal(weight, found.second.at(tensor))) << tensor;
  }
}

TEST(ZipLm, RefusesWhatCannotBeWithTheFieldAndTheFix) {
  const auto model = small_model::make();
  const auto slow = thrown_by([&] { run(*model, "speedup=3", 41); });  // of 41 + 4 * 4 + 4 * 7.4
  EXPECT_EQ(slow.reason(), "OUT_OF_RANGE");
  EXPECT_EQ(slow.field(), "params.speedup");
  EXPECT_EQ(slow.hint(), "Below 2.11, or exclude_head=true.");
  const auto encoder = random_family::bert();
  EXPECT_EQ(thrown_by([&] { run(*encoder, "speedup=1.5"); }).field(), "params.search_steps");
}

}  // namespace
}  // namespace wring
