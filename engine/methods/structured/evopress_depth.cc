// EvoPress in depth: as many attentions as MLPs leave, those that an evolutionary search finds, by the whole
// model's divergence from what it was (Sieberling et al., ICML 2025).
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/calibrate.h"
#include "engine/methods/search/candidate_kl.h"
#include "engine/methods/search/search_stage.h"
#include "engine/methods/search/searching_method.h"
#include "engine/methods/structured/groups.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

constexpr std::size_t kDropped = 0, kKept = 1;  // levels
constexpr std::int64_t kForecastParts = 64;     // of a model that is not read yet

bool is_attention(const PrunableGroups& part) {
  return part.groups.kind == CoupledGroups::Kind::kHeads;
}

std::vector<std::size_t> of_kind(const std::vector<PrunableGroups>& parts, bool attention) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (is_attention(parts[i]) == attention) found.push_back(i);
  return found;
}

// Attentions are exchanged for attentions, MLPs for MLPs: they cost differently.
LevelSpace space_of(const std::vector<PrunableGroups>& parts, std::uint64_t dropped) {
  LevelSpace space;
  for (const auto& part : parts) space.costs.push_back({0, is_attention(part) ? 1u : 2u});
  space.budget = space.most() - dropped * (1 + 2);
  return space;
}

// The layer that reads a part's channels gives nothing where the part is dropped.
std::vector<LayerVersions> versions_of(Model& model, const std::vector<PrunableGroups>& parts) {
  std::vector<LayerVersions> layers;
  for (const auto& part : parts) {
    Layer& reader = model.reader_of(part.groups);
    const at::Tensor zeros = at::zeros({reader.weight().rows(), reader.weight().columns()}, at::kHalf);
    layers.push_back(
        {&reader,
         {{kDropped, masked_rep(zeros, zeros.to(at::kBool)), 1}, {kKept, reader.shared_weight(), 0}}});
  }
  return layers;
}

class EvoPressDepth final : public SearchingMethod {
 public:
  explicit EvoPressDepth(const Params& params)
      : params_(params),
        dropped_(params.get<std::uint64_t>("blocks")),
        one_shot_(params.get<std::string>("search") == "one-shot"),
        initial_(params.get<std::size_t>("initial")),
        options_(evolution_options(params)) {
    check_tokens(options_, params.get<std::int64_t>("samples") * params.get<std::int64_t>("sequence_length"),
                 params);
  }

  bool reads_data() const override { return true; }
  std::int64_t searched_tokens() const override {
    return one_shot_ ? kForecastParts * options_.steps.back().tokens : wring::searched_tokens(options_);
  }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    const auto parts = prunable_groups(model, targets);
    const auto attentions = std::count_if(parts.begin(), parts.end(), is_attention),
               least = std::min(attentions, std::ptrdiff_t(parts.size()) - attentions);
    if (static_cast<std::ptrdiff_t>(dropped_) >= least)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                  std::to_string(dropped_) + " of " + std::to_string(least) + " are too many",
                  params_.field("blocks"),
                  "At most " + std::to_string(std::max<std::ptrdiff_t>(0, least - 1)) +
                      ": one attention and one MLP stay.");
  }

  Json run(const StageInput& stage) const override {
    check_tokens(options_, stage.calibration.ids.numel(), params_);
    const auto parts = prunable_groups(stage.model, stage.targets);
    const auto layers = versions_of(stage.model, parts);
    const LevelSpace space = space_of(parts, dropped_);
    const SearchState found =
        one_shot_ ? least_alone(stage, parts, layers)
                  : search_plan(
                        stage, options_, space, layers, [&] { return first_points(parts, stage.seed); },
                        params_.field("blocks"));
    std::vector<Json> lines;
    std::vector<at::Tensor> kept;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      kept.push_back(at::arange(found.parent[i] == kKept ? parts[i].groups.count : 0, at::kLong));
      lines.push_back(cut_down(stage.model, parts[i], kept.back()));
    }
    Json report = cut_report(std::move(lines), parts, kept);
    report["generations"] = found.generations;
    report["searched_tokens"] = found.tokens;
    report["kl"] = found.fitness;
    return report;
  }

 private:
  // The parts without which, one at a time, the model diverges least leave together; all on the same tokens.
  SearchState least_alone(const StageInput& stage, const std::vector<PrunableGroups>& parts,
                          const std::vector<LayerVersions>& layers) const {
    std::vector<double> alone;
    const auto report = [&] { stage.progress.report(alone.size(), parts.size(), "parts"); };
    const CandidateKl kl(stage.model, layers, stage.calibration, report);
    const std::int64_t tokens = options_.steps.back().tokens;
    while (alone.size() < parts.size()) {
      std::vector<Assignment> some;
      for (std::size_t i = alone.size(); i < parts.size() && some.size() < options_.offspring; ++i)
        some.emplace_back(parts.size(), kKept)[i] = kDropped;
      for (const double value : kl(some, tokens, Random(stage.seed)))
        alone.push_back(std::isfinite(value) ? value : std::numeric_limits<double>::infinity());
      report();
    }
    SearchState found{Assignment(parts.size(), kKept), 0, tokens * std::ssize(parts), {}};
    for (const bool attention : {true, false}) {
      std::vector<std::size_t> rising = of_kind(parts, attention);
      std::stable_sort(rising.begin(), rising.end(), [&](auto a, auto b) { return alone[a] < alone[b]; });
      for (std::uint64_t i = 0; i < dropped_; ++i) found.parent[rising[i]] = kDropped;
    }
    return found;
  }

  // So many of each kind, at random.
  std::vector<Assignment> first_points(const std::vector<PrunableGroups>& parts, std::uint64_t seed) const {
    Random random(seed);
    std::vector<Assignment> points;
    while (points.size() < initial_) {
      Assignment& at = points.emplace_back(parts.size(), kKept);
      for (const bool attention : {true, false}) {
        std::vector<std::size_t> left = of_kind(parts, attention);
        for (std::uint64_t i = 0; i < dropped_; ++i) {
          std::swap(left[i], left[i + random.below(left.size() - i)]);
          at[left[i]] = kDropped;
        }
      }
    }
    return points;
  }

  Params params_;
  std::uint64_t dropped_;
  bool one_shot_;
  std::size_t initial_;
  EvolutionOptions options_;
};

WRING_METHOD("evopress-depth", EvoPressDepth);

}  // namespace
}  // namespace wring
