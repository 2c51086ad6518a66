// BitStack: each weight as a sum of levels, signs times a low-rank size, and one order of all levels of the
// model, so that a beginning of it can be taken for any size (Wang et al., ICLR 2025).
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/logger.h"
#include "engine/calibrate/block_walk.h"
#include "engine/eval/changed_loss.h"
#include "engine/math/matmul.h"
#include "engine/methods/lowrank/factors.h"
#include "engine/methods/quantize/rescale.h"
#include "engine/model/residual_rep.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "engine/run/team.h"

namespace wring {
namespace {

// The best u v of |R|, in fp16.
struct Sizes {
  at::Tensor u, v;  // [out, rank], [rank, in]
  at::Tensor product() const { return wring::matmul(u.to(at::kFloat), v.to(at::kFloat)); }
};

Sizes sizes_of(const at::Tensor& residual, std::int64_t rank) {
  const bool tall = residual.size(0) > residual.size(1);
  const at::Tensor size = residual.abs();
  auto [v, u] = best_factors(tall ? size.t() : size, {}, rank);
  if (tall) std::tie(v, u) = std::pair(u.t(), v.t());
  return {u.to(at::kHalf), v.to(at::kHalf)};
}

struct Levels {
  at::Tensor negative, u, v;  // as in Residual
  at::Tensor left;            // [levels + 1] fp64: energy of the residual before each level, and at the end
};

// R_0 = W; S_i = sign(R_i) with sign(0) = 1, u_i v_i about |R_i|; R_{i+1} = R_i - S_i u_i v_i. The factors
// are subtracted as they are stored, so that each level makes up for the rounding of those before it.
Levels decompose(const Layer& layer, const at::Tensor& weight, std::int64_t levels, std::int64_t rank) {
  std::vector<at::Tensor> negative, u, v;
  std::vector<double> left;
  at::Tensor residual = weight;
  const auto energy = [&] { return residual.square().sum(at::kDouble).item<double>(); };
  for (std::int64_t level = 0; level < levels; ++level) {
    left.push_back(energy());
    const Sizes sizes = sizes_of(residual, rank);
    const at::Tensor product = sizes.product();
    if (!at::isfinite(product).all().item<bool>())
      throw Error(ErrorCode::kInvalidArgument, "FACTOR_RANGE", "a factor of it exceeds what fp16 holds",
                  layer.name(), "Set scaling to false, or leave the layer out with 'ignore'.");
    negative.push_back(residual < 0);
    residual = residual - at::where(negative.back(), -product, product);
    u.push_back(sizes.u);
    v.push_back(sizes.v);
  }
  left.push_back(energy());
  return {at::stack(negative), at::stack(u), at::stack(v), at::tensor(left, at::kDouble)};
}

// Of levels b + 1 of all layers, those first that `least` is least for; all of a level before any of the
// next. `weights` have all their levels; `least(b)` gives a number for each.
template <typename Least>
void stack_levels(const std::vector<Layer*>& layers, std::int64_t levels, const Least& least) {
  std::vector<std::vector<std::int64_t>> orders(layers.size());
  std::int64_t place = 0;
  for (auto& order : orders) order.push_back(place++);
  for (std::int64_t level = 1; level < levels; ++level) {
    const std::vector<double> keys = least(level);
    std::vector<std::size_t> rising(layers.size());
    std::iota(rising.begin(), rising.end(), std::size_t{0});
    std::stable_sort(rising.begin(), rising.end(), [&](auto a, auto b) { return keys[a] < keys[b]; });
    for (const auto i : rising) orders[i].push_back(place++);
  }
  for (std::size_t i = 0; i < layers.size(); ++i)
    layers[i]->set_weight(with_level_order(layers[i]->weight(), orders[i]));
}

class BitStack final : public Method {
 public:
  explicit BitStack(const Params& params)
      : levels_(params.get<std::int64_t>("levels")),
        rank_(params.get<std::int64_t>("rank")),
        order_samples_(params.get<std::int64_t>("order_samples")),
        scaling_(params.get<bool>("scaling")),
        order_(params.get<std::string>("order")),
        rank_field_(params.field("rank")) {}

  std::set<Statistic> needs() const override { return {Statistic::kInputNorm}; }

  void check_model(const Model&, const std::set<const Layer*>& targets) const override {
    for (const Layer* layer : targets)
      if (const auto most = std::min(layer->weight().rows(), layer->weight().columns()); rank_ > most)
        throw Error(ErrorCode::kInvalidArgument, "RANK",
                    "a rank of " + std::to_string(rank_) + " is more than that of " + layer->name() + ", " +
                        std::to_string(most),
                    rank_field_, "Lower it, or leave the layer out with 'ignore'.");
  }

  void try_out(Layer& layer, const Statistics*) const override {
    layer.set_weight(residual_of(decompose(layer, decode_to_own(layer.weight()), levels_, rank_)));
  }

  Json run(const StageInput& stage) const override {
    const auto blocks = walk_blocks(
        stage,
        [&](std::size_t block, BlockStream& stream) {
          TapObserver observer(stage.targets, needs());
          stream.observe_and_advance(block, observer);  // scaling changes no output
          return decompose_block(stage, block, observer);
        },
        [&](std::size_t block, const BlockTensors& found) { put(stage.model, block, found); });
    std::vector<Layer*> layers;
    std::vector<at::Tensor> left;
    for (std::size_t block = 0; block < blocks.size(); ++block)
      for (Layer* layer : stage.model.block_layers(block))
        if (const auto it = blocks[block].find(layer->name() + ".left"); it != blocks[block].end()) {
          layers.push_back(layer);
          left.push_back(it->second / it->second[0].clamp_min(1e-30));
        }
    if (layers.empty())
      throw Error(ErrorCode::kInvalidArgument, "NO_TARGETS", "no linear layer of a block is targeted",
                  "targets", "Leave 'targets' out: all linear layers of the blocks are meant.");
    order(stage, layers, left);
    Json reports = Json::array();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const WeightRep& rep = layers[i]->weight();
      reports.push_back({{"layer", layers[i]->name()},
                         {"shape", {rep.rows(), rep.columns()}},
                         {"error", left[i][levels_].item<double>()},
                         {"errors", std::vector<double>(left[i].const_data_ptr<double>() + 1,
                                                        left[i].const_data_ptr<double>() + levels_ + 1)},
                         {"bits", 8.0 * static_cast<double>(rep.stored_bytes()) /
                                      static_cast<double>(rep.rows() * rep.columns())}});
    }
    return {{"layers", reports}};
  }

 private:
  static constexpr const char* kLosses = "losses";

  static std::shared_ptr<const WeightRep> residual_of(const Levels& levels) {
    return residual_rep({levels.negative, levels.u, levels.v});
  }

  // W_j *= a_j, what makes x_j /= a_j, with a_j the root mean square of x_j, plus 1e-3. In place.
  void scale(const StageInput& stage, std::size_t block, const TapObserver& observer) const {
    for (Layer* layer : stage.model.block_layers(block))
      if (stage.targets.contains(layer)) layer->set_weight(dense_rep(layer->weight().decode(at::kFloat)));
    for (const auto& tap : stage.model.scalable_taps(block)) {
      const auto targeted = [&](const Layer* layer) { return stage.targets.contains(layer); };
      if (!std::all_of(tap.readers.begin(), tap.readers.end(), targeted)) continue;
      if (tap.producer && !targeted(tap.producer)) continue;
      const Statistics& x = *observer.of(*tap.readers.front());
      const at::Tensor squares =
          x.input_norm().to(at::kCPU, at::kDouble).square() / static_cast<double>(x.rows());
      rescale("bitstack", tap, (magnitudes(tap, squares) + 1e-3).to(at::kFloat));
    }
  }

  // What put() needs: gains, biases and levels; each process decomposes some layers.
  BlockTensors decompose_block(const StageInput& stage, std::size_t block,
                               const TapObserver& observer) const {
    if (scaling_) scale(stage, block, observer);
    BlockTensors found;
    for (const auto& tap : stage.model.scalable_taps(block))
      if (tap.gain) found[tap.gain->name] = tap.gain->value.cpu();
    Team& team = stage.calibration.team();
    int number = 0;
    for (Layer* layer : stage.model.block_layers(block)) {
      if (!stage.targets.contains(layer) || number++ % team.size() != team.rank()) continue;
      const Levels levels = decompose(*layer, decode_to_own(layer->weight()), levels_, rank_);
      for (const auto& named : residual_of(levels)->tensors())
        found[layer->name() + "." + named.suffix] = named.tensor;
      found[layer->name() + ".left"] = levels.left;
      if (layer->bias().defined()) found[layer->name() + ".bias"] = layer->bias().cpu();
    }
    return found_by_all(team, std::move(found));
  }

  void put(Model& model, std::size_t block, const BlockTensors& found) const {
    for (const auto& tap : model.scalable_taps(block))
      if (tap.gain) tap.gain->value = found.at(tap.gain->name).to(tap.gain->value.device());
    std::vector<std::int64_t> order(static_cast<std::size_t>(levels_));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    for (Layer* layer : model.block_layers(block)) {
      if (!found.contains(layer->name() + ".left")) continue;
      layer->set_weight(
          load_weight_rep(layer->name(), "residual", {{"order", order}},
                          [&](const auto& suffix) { return found.at(layer->name() + "." + suffix); }));
      if (layer->bias().defined()) layer->set_bias(found.at(layer->name() + ".bias"));
    }
  }

  // `left`: shares of the weight's energy that each level finds.
  void order(const StageInput& stage, const std::vector<Layer*>& layers,
             const std::vector<at::Tensor>& left) const {
    std::mt19937_64 random(stage.seed);
    stack_levels(layers, levels_, [&](std::int64_t level) -> std::vector<double> {
      if (order_ == "perplexity") return losses(stage, layers, level);
      std::vector<double> keys;
      for (std::size_t i = 0; i < layers.size(); ++i)
        keys.push_back(order_ == "random" ? static_cast<double>(random() >> 11)
                                          : (left[i][level + 1] - left[i][level]).item<double>() /
                                                static_cast<double>(layers[i]->weight().stored_bytes()));
      return keys;
    });
  }

  // Of the model with `level` levels in each layer and one more in one. Each process tries some layers.
  std::vector<double> losses(const StageInput& stage, const std::vector<Layer*>& layers,
                             std::int64_t level) const {
    const std::string part = "order." + std::to_string(level);
    Team& team = stage.calibration.team();
    if (auto kept = kept_losses(stage.snapshot, team, part); kept.size() == layers.size()) return kept;
    stage.progress.report(static_cast<std::uint64_t>(level - 1), static_cast<std::uint64_t>(levels_ - 1),
                          "levels ordered");
    const auto mine = [&](std::size_t i) { return static_cast<int>(i) % team.size() == team.rank(); };
    std::vector<std::shared_ptr<const WeightRep>> whole;
    std::vector<LayerChange> changes;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      whole.push_back(layers[i]->shared_weight());
      if (mine(i)) changes.push_back({layers[i], first_levels(*whole.back(), level + 1)});
      layers[i]->set_weight(first_levels(*whole.back(), level));
    }
    const at::Tensor& ids = stage.calibration.ids;
    const auto samples = std::min(order_samples_, ids.size(0));
    const auto losses = changed_losses(stage.model, ids.narrow(0, ids.size(0) - samples, samples),
                                       stage.calibration.forward, changes);
    BlockTensors found;
    for (std::size_t i = 0, next = 0; i < layers.size(); ++i) {
      layers[i]->set_weight(whole[i]);
      if (mine(i)) found[layers[i]->name()] = at::tensor(losses[next++], at::kDouble);
    }
    found = found_by_all(team, std::move(found));
    std::vector<double> all;
    for (const Layer* layer : layers) {
      const auto loss = found.at(layer->name()).item<double>();
      all.push_back(std::isnan(loss) ? std::numeric_limits<double>::infinity() : loss);
    }
    if (stage.snapshot.keeps()) {
      stage.snapshot.put(part, {{kLosses, at::tensor(all, at::kDouble)}});
      stage.snapshot.commit(stage.snapshot.state().value_or(Json::object()));
    }
    return all;
  }

  // What the first process has of a level that was ordered before the stage was broken off; empty: nothing.
  static std::vector<double> kept_losses(const Snapshot& snapshot, Team& team, const std::string& part) {
    BlockTensors kept;
    if (team.first() && !snapshot.file(part).empty()) try {
        kept[kLosses] = snapshot.part(part).tensors.at(kLosses).clone();
      } catch (const std::exception& error) {
        log_warning("what the stage's snapshot has of " + part + " is damaged: " + error.what());
      }
    kept = found_by_all(team, std::move(kept));
    if (!kept.contains(kLosses)) return {};
    const at::Tensor losses = kept.at(kLosses).to(at::kCPU, at::kDouble).contiguous();
    return {losses.const_data_ptr<double>(), losses.const_data_ptr<double>() + losses.numel()};
  }

  std::int64_t levels_, rank_, order_samples_;
  bool scaling_;
  std::string order_, rank_field_;
};

WRING_METHOD("bitstack", BitStack);

}  // namespace
}  // namespace wring
