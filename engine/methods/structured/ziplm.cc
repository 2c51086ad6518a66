// ZipLM: heads and FFN channels leave one by one while those that stay make up for them, as many of each
// module as a measured speed-up allows and harm least (Kurtic et al., NeurIPS 2023).
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/calibrate.h"
#include "engine/methods/search/candidate_kl.h"
#include "engine/methods/search/latency_table.h"
#include "engine/methods/search/level_database.h"
#include "engine/methods/search/searching_method.h"
#include "engine/methods/search/spdy.h"
#include "engine/methods/structured/groups.h"
#include "engine/methods/structured/surgeon.h"
#include "engine/model/model_tensors.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "engine/run/team.h"

namespace wring {
namespace {

constexpr double kLeastWidth = 0.01;  // of an FFN that is not dropped
constexpr std::int64_t kBuckets = 10000;
constexpr double kOff = 0.02;  // from the speed-up asked for, that is good enough

using Levels = std::vector<std::int64_t>;  // groups kept at each: falling from all to none

// A part's reader without the columns of the groups that left, in 16 bits.
std::shared_ptr<const WeightRep> without_pruned(const PrunedColumns& pruned, const Layer& reader,
                                                std::int64_t width) {
  const at::Tensor columns = (pruned.kept.unsqueeze(1) * width + at::arange(width, at::kLong)).flatten();
  const std::int64_t rows = reader.weight().rows(), all = reader.weight().columns();
  const auto dtype = source_dtype(reader.weight()) == at::kBFloat16 ? at::kBFloat16 : at::kHalf;
  const at::Tensor weight = at::zeros({rows, all}, dtype).index_copy_(1, columns, pruned.weight.to(dtype));
  const at::Tensor keep = at::zeros({all}, at::kBool).index_fill_(0, columns, true);
  return masked_rep(weight, keep.expand({rows, all}).contiguous());
}

// The groups whose columns give anything, int64 [kept], rising.
at::Tensor kept_groups(const WeightRep& weight, std::int64_t count) {
  const at::Tensor gives = weight.decode(at::kFloat).ne(0).any(0);
  return gives.reshape({count, -1}).any(1).nonzero().flatten().cpu();
}

class ZipLm final : public SearchingMethod {
 public:
  explicit ZipLm(const Params& params)
      : params_(params),
        speedup_(params.get<double>("speedup")),
        environment_{params.get<std::int64_t>("batch"), params.get<std::int64_t>("length"),
                     params.get<std::int64_t>("repeats")},
        with_head_(!params.get<bool>("exclude_head")),
        uniform_(params.get<std::string>("allocation") == "uniform"),
        ffn_step_(params.get<double>("ffn_step")),
        multiple_(params.get<std::int64_t>("multiple")),
        damping_(params.get<double>("damping")),
        steps_(params.get<std::size_t>("search_steps")),
        tokens_(params.get<std::int64_t>("search_tokens")),
        mutated_(params.get<double>("mutated")),
        corrections_(params.get<std::int64_t>("corrections")) {}

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }

  std::int64_t searched_tokens() const override {
    return searches() ? tokens_ * static_cast<std::int64_t>(steps_ + 2) : 0;
  }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    prunable_groups(model, targets);
    if (searches() && model.kind() != "decoder-lm")
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                  "an encoder has no next token to compare plans by", params_.field("search_steps"),
                  "Set it to 0: the layers' own errors choose.");
  }

  Json run(const StageInput& stage) const override {
    const auto parts = prunable_groups(stage.model, stage.targets);
    std::vector<Levels> kept;
    for (const auto& part : parts) kept.push_back(levels_of(part.groups));
    const bool first = stage.calibration.team().first();
    LatencyTable table;
    if (first) {
      table = kept_or_measured(stage, parts, kept);
      check_reachable(table, parts.size());
    }
    const auto layers = prune_all(stage, parts, kept);
    if (!first) return {{"layers", Json::array()}};  // the first one's is kept

    const auto units = timed(table, layers);
    double limit = limit_for(table, parts.size(), table.seconds({}) / speedup_);
    const SpdyState found = search(stage, layers, units, limit);
    Assignment levels;
    std::vector<double> measured;                          // of the dense model and the pruned one
    double off = std::numeric_limits<double>::infinity();  // of the plan that came nearest, by its share
    for (std::int64_t round = 0;; ++round) {
      const Assignment tried = plan(table, units, found.coefficients, limit);
      const auto pruned = shaped(stage.model, parts, kept, tried);
      const auto took =
          forward_seconds({&stage.model, pruned.get()}, environment_, with_head_, stage.progress);
      // What the forecast must be for the measured time to be that asked for.
      const double next = limit_for(table, parts.size(), took[0] / speedup_ * table.seconds(tried) / took[1]);
      if (const double by = std::abs(took[0] / took[1] / speedup_ - 1); by < off) {
        levels = tried;
        measured = took;
        off = by;
      }
      if (round == corrections_ || off <= kOff || next <= 0) break;
      limit = next;
    }
    Json report = cut(stage.model, parts, layers, levels);
    report["latency"] = {{"speedup", speedup_},
                         {"forecast_seconds", {table.seconds({}), table.seconds(levels)}},
                         {"measured_seconds", measured},
                         {"measured_speedup", measured[0] / measured[1]},
                         {"within_tolerance", off <= kOff},
                         {"batch", environment_.batch},
                         {"length", environment_.length},
                         {"threads", at::get_num_threads()},
                         {"table", table.to_json()}};
    if (searches())
      report["search"] = {{"steps", found.steps}, {"kl_at_first", found.start}, {"kl", found.loss}};
    return report;
  }

  // An FFN's reader through all its levels.
  void try_out(Layer& layer, const Statistics* x) const override {
    if (x && layer.axes().at(1).ends_with(".ffn"))
      prune_reader(layer, *x, ffn_levels(layer.weight().columns()));
    shrink(layer, 1 - 1 / speedup_);
  }

 private:
  bool searches() const { return !uniform_ && steps_ > 0; }

  // Step 4: every number of heads; widths F ffn_step^i.
  Levels ffn_levels(std::int64_t count) const {
    Levels levels{count};
    for (double share = ffn_step_; share >= kLeastWidth; share *= ffn_step_) {
      const double width = share * static_cast<double>(count) / static_cast<double>(multiple_);
      const std::int64_t lots = std::max<std::int64_t>(1, std::llround(width));
      if (lots * multiple_ < levels.back()) levels.push_back(lots * multiple_);
    }
    levels.push_back(0);
    return levels;
  }

  Levels levels_of(const CoupledGroups& groups) const {
    if (groups.kind == CoupledGroups::Kind::kFfn) return ffn_levels(groups.count);
    Levels levels;
    for (std::int64_t heads = groups.count; heads >= 0; --heads) levels.push_back(heads);
    return levels;
  }

  // Steps 1 to 3: one pass over the columns of a part's reader gives all its levels.
  std::vector<Version> prune_reader(const Layer& reader, const Statistics& x, const Levels& kept) const {
    std::vector<Version> versions{{0, reader.shared_weight(), 0}};
    const std::int64_t rows = reader.weight().rows(), all = reader.weight().columns(),
                       width = all / kept.front();
    prune_columns(
        reader.weight().decode(at::kFloat), x.hessian(), width, damping_, {kept.begin() + 1, kept.end() - 1},
        [&](const PrunedColumns& pruned) {
          versions.push_back({versions.size(), without_pruned(pruned, reader, width), pruned.error});
        });
    const at::Tensor zeros = at::zeros({rows, all}, at::kHalf);
    versions.push_back({versions.size(), masked_rep(zeros, zeros.to(at::kBool)), 1});
    return versions;
  }

  std::vector<LayerVersions> prune_all(const StageInput& stage, const std::vector<PrunableGroups>& parts,
                                       const std::vector<Levels>& kept) const {
    std::map<const Layer*, const Levels*> levels;
    for (std::size_t i = 0; i < parts.size(); ++i) levels[&stage.model.reader_of(parts[i].groups)] = &kept[i];
    const auto readers = readers_of(stage.model, parts);
    return make_level_database(
        {stage.model, readers, stage.calibration, stage.progress, stage.snapshot, nullptr, stage.seed},
        [&](const Layer& reader, const Statistics& x) {
          return prune_reader(reader, x, *levels.at(&reader));
        },
        params_.field("ffn_step"));
  }

  // Step 5. One table a stage: a killed one goes on with what it had measured.
  LatencyTable kept_or_measured(const StageInput& stage, const std::vector<PrunableGroups>& parts,
                                const std::vector<Levels>& kept) const {
    if (stage.snapshot.state()) try {
        auto table = LatencyTable::from_json(stage.snapshot.part("latency").attributes, "snapshot");
        if (table.row.size() < parts.size())
          throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "its table is of other modules");
        return table;
      } catch (const std::exception&) {  // damaged
        stage.snapshot.clear();
      }
    std::vector<CoupledGroups> modules;
    std::set<std::string> pruned;
    for (const auto& part : parts) {
      modules.push_back(part.groups);
      pruned.insert(name_of(part));
    }
    std::vector<Levels> levels = kept;
    for (auto& groups : stage.model.coupled_groups()) {  // what stays as it is takes time, too
      if (groups.kind == CoupledGroups::Kind::kHidden || pruned.contains(groups.axes.back().label)) continue;
      levels.push_back({groups.count, 0});
      modules.push_back(std::move(groups));
    }
    const auto table =
        measure_latency(stage.model, modules, levels, environment_, with_head_, stage.progress);
    stage.snapshot.put("latency", {}, table.to_json());
    stage.snapshot.commit({{"blocks", 0}, {"hidden", false}, {"reports", Json::array()}});
    return table;
  }

  // What is left of `seconds` for the modules that are pruned.
  static double limit_for(const LatencyTable& table, std::size_t parts, double seconds) {
    Assignment none;
    for (std::size_t i = 0; i < parts; ++i) none.push_back(table.of(i).kept.size() - 1);
    return std::max(0.0, seconds - table.seconds(none));
  }

  void check_reachable(const LatencyTable& table, std::size_t parts) const {
    const double dense = table.seconds({}), rest = dense - limit_for(table, parts, dense);
    if (dense / speedup_ > rest) return;
    const double most = std::floor(100 * dense / rest) / 100;
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                "what is not pruned takes " + std::to_string(std::llround(1e6 * rest)) + " of " +
                    std::to_string(std::llround(1e6 * dense)) + " us",
                params_.field("speedup"), "Below " + Json(most).dump() + ", or exclude_head=true.");
  }

  static std::vector<TimedLevels> timed(const LatencyTable& table, const std::vector<LayerVersions>& layers) {
    std::vector<TimedLevels> units;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      units.push_back({table.of(i).seconds, {}});
      for (const auto& version : layers[i].versions) units.back().errors.push_back(version.error);
    }
    return units;
  }

  // Step 6.
  SpdyState search(const StageInput& stage, const std::vector<LayerVersions>& layers,
                   const std::vector<TimedLevels>& units, double limit) const {
    SpdyState state;
    state.coefficients.assign(units.size(), 1);
    if (!searches()) return state;
    state.coefficients.clear();
    const Json kept = stage.snapshot.state().value_or(Json::object());
    if (kept.contains("search")) state = SpdyState::from_json(kept.at("search"), "snapshot.search");
    const auto report = [&] { stage.progress.report(state.steps, steps_, "steps", "KL", state.loss); };
    Calibration some = stage.calibration;
    const std::int64_t length = some.ids.size(1), there = some.ids.size(0);
    some.ids = some.ids.narrow(0, 0, std::min(there, (tokens_ + length - 1) / length));
    const std::int64_t tokens = std::min(tokens_, some.ids.numel());
    const CandidateKl kl(stage.model, layers, some, report);
    tune([&](const auto& coefficients) { return *plan_within(units, coefficients, limit, kBuckets); },
         [&](const Assignment& levels) { return kl({levels}, tokens, Random(stage.seed)).front(); },
         units.size(), steps_, mutated_, stage.seed, state,
         [&] {
           if (!std::isfinite(state.loss))
             throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the pruned model's outputs are not",
                         params_.field("speedup"), "Ask for less.");
           Json with = stage.snapshot.state().value_or(Json::object());
           with["search"] = state.to_json();
           if (stage.snapshot.keeps()) stage.snapshot.commit(std::move(with));
           report();
         });
    return state;
  }

  Assignment plan(const LatencyTable& table, const std::vector<TimedLevels>& units,
                  const std::vector<double>& coefficients, double limit) const {
    return uniform_ ? uniform_plan(table, units.size(), limit)
                    : *plan_within(units, coefficients, limit, kBuckets);
  }

  // Of every module the same share stays, or what its levels have nearest to it: the largest that is fast
  // enough.
  static Assignment uniform_plan(const LatencyTable& table, std::size_t parts, double limit) {
    const auto share = [&](std::size_t part, std::size_t level) {
      const Levels& kept = table.of(part).kept;
      return static_cast<double>(kept[level]) / static_cast<double>(kept.front());
    };
    std::set<double, std::greater<>> shares;
    for (std::size_t i = 0; i < parts; ++i)
      for (std::size_t level = 0; level < table.of(i).kept.size(); ++level) shares.insert(share(i, level));
    Assignment levels;
    for (const double wanted : shares) {
      levels.assign(parts, 0);
      double seconds = 0;
      for (std::size_t i = 0; i < parts; ++i) {
        const auto off = [&](std::size_t level) { return std::abs(share(i, level) - wanted); };
        for (std::size_t level = 1; level < table.of(i).kept.size(); ++level)
          if (off(level) < off(levels[i])) levels[i] = level;
        seconds += table.of(i).seconds[levels[i]];
      }
      if (seconds <= limit) break;
    }
    return levels;
  }

  // A model of the plan's shapes.
  static std::unique_ptr<Model> shaped(const Model& model, const std::vector<PrunableGroups>& parts,
                                       const std::vector<Levels>& kept, const Assignment& levels) {
    auto copy = copy_of(model);
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (levels[i] > 0) copy->keep_groups(parts[i].groups, at::arange(kept[i][levels[i]], at::kLong));
    return copy;
  }

  // Step 7.
  static Json cut(Model& model, const std::vector<PrunableGroups>& parts,
                  const std::vector<LayerVersions>& layers, const Assignment& levels) {
    std::vector<Json> lines;
    std::vector<at::Tensor> stay;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto& [reader, versions] = layers[i];
      const Version& chosen = versions[levels[i]];
      stay.push_back(at::arange(parts[i].groups.count, at::kLong));
      if (levels[i] > 0) {
        stay.back() = kept_groups(*chosen.weight, parts[i].groups.count);
        reader->set_weight(dense_rep(chosen.weight->decode(source_dtype(reader->weight()))));
      }
      lines.push_back(cut_down(model, parts[i], stay.back()));
      lines.back()["error"] = chosen.error;
    }
    return cut_report(std::move(lines), parts, stay);
  }

  Params params_;
  double speedup_;
  Environment environment_;
  bool with_head_, uniform_;
  double ffn_step_;
  std::int64_t multiple_;
  double damping_;
  std::size_t steps_;
  std::int64_t tokens_;
  double mutated_;
  std::int64_t corrections_;
};

WRING_METHOD("ziplm", ZipLm);

}  // namespace
}  // namespace wring
