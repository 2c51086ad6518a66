// Choosing groups within a budget of weights.
#include "engine/methods/structured/groups.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "common/error.h"

namespace wring {
namespace {

using Kind = CoupledGroups::Kind;

bool carries(const Layer& layer, const CoupledGroups& groups) {
  return std::any_of(groups.axes.begin(), groups.axes.end(), [&](const CoupledGroups::Axis& axis) {
    return std::find(layer.axes().begin(), layer.axes().end(), axis.label) != layer.axes().end();
  });
}

// Whether all layers of the groups are targeted.
bool is_targeted(const Model& model, const CoupledGroups& groups, const std::set<const Layer*>& targets) {
  const Layer* missing = nullptr;
  bool any = false;
  for (const Layer* layer : model.layers()) {
    if (!carries(*layer, groups)) continue;
    any = any || targets.contains(layer);
    if (!targets.contains(layer)) missing = layer;
    if (targets.contains(layer) && !layer->can_be_cut())
      throw Error(ErrorCode::kInvalidArgument, "NOT_SLICEABLE",
                  "a " + std::string(layer->weight().format()) + " weight cannot be cut", layer->name(),
                  "Prune before the stage that quantises, or hand in the model before it was quantised.");
  }
  if (any && missing)
    throw Error(ErrorCode::kInvalidArgument, "PARTLY_TARGETED",
                "is left out, while other layers that can only be cut with it are targeted", missing->name(),
                "Target or ignore the q, k, v and o projections of a block together, and so its MLP.");
  return any;
}

// Groups of one part that leave together.
struct Lot {
  std::size_t part;
  std::int64_t first, count;  // ranks, from the best
  double score;               // mean
};

class Selection {
 public:
  Selection(const std::vector<PrunableGroups>& parts, const Budget& budget) : parts_(parts), budget_(budget) {
    for (const auto& part : parts_) {
      order_.push_back(std::get<1>(at::sort(part.scores, /*stable=*/true, /*dim=*/0, /*descending=*/true)));
      kept_.push_back(part.groups.count);
    }
  }

  // Lets the worst lots of these parts go until the weights that are gone are nearest to `weights`. Returns
  // how many that were.
  double remove(const std::vector<std::size_t>& pool, double weights) {
    std::vector<Lot> lots;
    for (const std::size_t part : pool) add_lots(part, lots);
    std::stable_sort(lots.begin(), lots.end(), [](const Lot& a, const Lot& b) { return a.score < b.score; });
    double gone = 0;
    for (const Lot& lot : lots) {
      const auto more = static_cast<double>(lot.count * parts_[lot.part].cost);
      if (std::abs(gone + more - weights) >= std::abs(gone - weights)) break;
      gone += more;
      kept_[lot.part] = lot.first;
    }
    return gone;
  }

  std::vector<at::Tensor> kept() const {
    std::vector<at::Tensor> all;
    for (std::size_t i = 0; i < parts_.size(); ++i)
      all.push_back(std::get<0>(at::sort(order_[i].narrow(0, 0, kept_[i]))));
    return all;
  }

 private:
  // From the worst to the best, but for those that must stay.
  void add_lots(std::size_t part, std::vector<Lot>& lots) const {
    const auto& groups = parts_[part].groups;
    const bool heads = groups.kind == Kind::kHeads;
    const std::int64_t lot = heads ? 1 : budget_.channel_multiple;
    const std::int64_t staying =
        heads ? budget_.min_heads : std::min<std::int64_t>(budget_.min_heads, 1) * lot;
    const at::Tensor ranked = parts_[part].scores.index_select(0, order_[part]);
    const double* const score = ranked.const_data_ptr<double>();
    for (std::int64_t end = groups.count; end > staying;) {
      const std::int64_t first = std::max(staying, (end - 1) / lot * lot), count = end - first;
      lots.push_back({part, first, count,
                      std::accumulate(score + first, score + end, 0.0) / static_cast<double>(count)});
      end = first;
    }
  }

  const std::vector<PrunableGroups>& parts_;
  const Budget& budget_;
  std::vector<at::Tensor> order_;   // of each part, from the best
  std::vector<std::int64_t> kept_;  // that many
};

double weights_of(const std::vector<PrunableGroups>& parts, const std::vector<std::size_t>& pool) {
  double weights = 0;
  for (const std::size_t i : pool) weights += static_cast<double>(parts[i].cost * parts[i].groups.count);
  return weights;
}

}  // namespace

std::vector<PrunableGroups> prunable_groups(const Model& model, const std::set<const Layer*>& targets) {
  std::vector<PrunableGroups> parts;
  for (auto& groups : model.coupled_groups()) {
    if (groups.kind == Kind::kHidden || !is_targeted(model, groups, targets)) continue;
    const auto cost = model.weights_per_group(groups);
    parts.push_back({std::move(groups), cost, {}});
  }
  if (parts.empty())
    throw Error(ErrorCode::kInvalidArgument, "NOTHING_TO_CUT", "no targeted layer has heads or FFN channels",
                "targets", "Target the linear layers of blocks, as the default does.");
  return parts;
}

std::set<const Layer*> readers_of(Model& model, const std::vector<PrunableGroups>& parts) {
  std::set<const Layer*> readers;
  for (const auto& part : parts) readers.insert(&model.reader_of(part.groups));
  return readers;
}

const std::string& name_of(const PrunableGroups& part) {
  return part.groups.axes.back().label;
}

at::Tensor sum_of_groups(const at::Tensor& channels, const PrunableGroups& part) {
  return channels.reshape({part.groups.count, -1}).sum(1);
}

Budget Budget::from(const Params& params) {
  Budget budget;
  budget.ratio = params.get<double>("ratio");
  budget.attention_ratio = params.get<double>("attention_ratio");
  budget.min_heads = params.get<std::int64_t>("min_keep");
  budget.channel_multiple = params.get<std::int64_t>("multiple");
  return budget;
}

std::vector<at::Tensor> choose_groups(const std::vector<PrunableGroups>& parts, const Budget& budget) {
  std::map<std::size_t, std::vector<std::size_t>> scopes;  // parts that share a budget
  for (std::size_t i = 0; i < parts.size(); ++i)
    scopes[budget.by_block ? parts[i].groups.block.value() : 0].push_back(i);
  Selection selection(parts, budget);
  for (const auto& [scope, pool] : scopes) {
    const double weights = budget.ratio * weights_of(parts, pool);
    if (budget.modules == Budget::kTogether) {
      selection.remove(pool, weights);
      continue;
    }
    std::vector<std::size_t> heads, channels;
    for (const std::size_t i : pool) (parts[i].groups.kind == Kind::kHeads ? heads : channels).push_back(i);
    const double share =
        budget.attention_ratio < 0 || channels.empty() ? budget.ratio : budget.attention_ratio;
    const double gone = selection.remove(heads, share * weights_of(parts, heads));
    selection.remove(channels, weights - gone);
  }
  return selection.kept();
}

Json cut_down(Model& model, const PrunableGroups& part, const at::Tensor& kept) {
  const bool heads = part.groups.kind == Kind::kHeads;
  const std::string reader = model.reader_of(part.groups).name();
  if (kept.numel() < part.groups.count) model.keep_groups(part.groups, kept);
  const Layer* const left = model.find_layer(reader);
  return {{"layer", reader},
          {"block", *part.groups.block},
          {heads ? "kv_heads" : "channels", kept.numel()},
          {"of", part.groups.count},
          {"shape", {left ? left->weight().rows() : 0, left ? left->weight().columns() : 0}}};
}

Json cut_report(std::vector<Json> lines, const std::vector<PrunableGroups>& parts,
                const std::vector<at::Tensor>& kept) {
  std::int64_t before = 0, removed = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    before += parts[i].cost * parts[i].groups.count;
    removed += parts[i].cost * (parts[i].groups.count - kept[i].numel());
  }
  return {{"layers", std::move(lines)},
          {"weights_removed", removed},
          {"share_removed", static_cast<double>(removed) / static_cast<double>(before)}};
}

void shrink(Layer& layer, double ratio) {
  const auto rows = static_cast<double>(layer.weight().rows());
  layer.keep(0, at::arange(std::llround(rows * (1 - ratio)), at::kLong));
}

}  // namespace wring
