// AWQ's scaling: channels with large inputs get larger weights, and with them finer steps, before a quantiser
// rounds (Lin et al., MLSys 2024, section 3.2).
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "engine/calibrate/block_walk.h"
#include "engine/math/matmul.h"
#include "engine/methods/quantize/grid.h"
#include "engine/methods/quantize/rescale.h"
#include "engine/run/team.h"

namespace wring {
namespace {

// s = magnitude^alpha, centred by sqrt(max s * min s); dead channels keep 1. [channels] fp32.
at::Tensor scales_of(const at::Tensor& magnitude, double alpha) {
  const at::Tensor live = magnitude > 0;
  const at::Tensor raw = at::where(live, magnitude.clamp_min(1e-6).pow(alpha), at::ones_like(magnitude));
  const at::Tensor known = raw.masked_select(live);
  const double centre =
      known.numel() ? std::sqrt(known.max().item<double>() * known.min().item<double>()) : 1;
  return at::where(live, raw / centre, at::ones_like(raw)).to(at::kFloat);
}

// tr(D H D^T) with D = Q(W s) / s - W: the squared error of the outputs once W s is rounded to the nearest.
double rounding_loss(const GridSpec& grid, const at::Tensor& weight, const at::Tensor& scales,
                     const Statistics& x) {
  const at::Tensor scaled = weight * scales;
  QuantizedWeight quantized(grid, scaled.size(0), scaled.size(1));
  find_all_grids(scaled, {}, quantized);  // as rtn does
  round_to_grids(scaled, quantized);
  const at::Tensor error = (quantized.rep()->decode(at::kFloat) / scales - weight).to(x.device());
  return (wring::matmul(error, x.hessian()) * error).sum(at::kDouble).item<double>();
}

class AwqScaling final : public Method {
 public:
  explicit AwqScaling(const Params& params)
      : grid_(GridSpec::from(params)),
        steps_(params.get<int>("search_steps")),
        norms_only_(params.get<std::string>("taps") == "norms"),
        group_field_(params.field("group_size")) {}

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }

  void check_model(const Model&, const std::set<const Layer*>& targets) const override {
    for (const Layer* layer : targets)
      if (layer->class_name() == "Linear") check_group_size("awq-scaling", grid_, *layer, group_field_);
  }

  void try_out(Layer& layer, const Statistics* x) const override {
    const at::Tensor weight = decode_to_own(layer.weight());
    search(weight, x->hessian().diagonal().to(at::kCPU, at::kDouble).sqrt(), *x);
    set_plain(layer, weight);
  }

  Json run(const StageInput& stage) const override {
    const auto blocks = walk_blocks(
        stage,
        [&](std::size_t block, BlockStream& stream) {
          TapObserver observer(stage.targets, needs());
          stream.observe_and_advance(block, observer);  // scaling changes no output
          Team& team = stage.calibration.team();
          BlockTensors found;
          int number = 0;  // each process takes some taps
          for (const auto& tap : taps_of(stage.model, block)) {
            if (!is_targeted(tap, stage.targets)) continue;
            const Statistics* const x = observer.of(*tap.readers.front());
            if (x && number++ % team.size() == team.rank()) search(tap, stage.targets, *x, found);
          }
          return found_by_all(team, std::move(found));
        },
        [&](std::size_t block, const BlockTensors& found) {
          for (const auto& tap : taps_of(stage.model, block))
            if (const auto it = found.find(tap.name); it != found.end())
              rescale("awq-scaling", tap, it->second);
        });
    Json reports = Json::array();
    for (std::size_t block = 0; block < blocks.size(); ++block)
      for (const auto& tap : taps_of(stage.model, block))
        if (const auto it = blocks[block].find(tap.name + kOutcome); it != blocks[block].end())
          reports.push_back({{"layer", tap.name},
                             {"alpha", it->second[0].item<double>()},
                             {"error", it->second[1].item<double>()}});
    if (reports.empty())
      throw Error(ErrorCode::kInvalidArgument, "NO_TARGETS", "no targeted layer reads what can be rescaled",
                  "targets", "Leave 'targets' out: all linear layers of the blocks are meant.");
    return {{"layers", reports}};
  }

 private:
  static constexpr const char* kOutcome = ".outcome";  // exponent, what is left of the error

  std::vector<ScalableTap> taps_of(Model& model, std::size_t block) const {
    auto taps = model.scalable_taps(block);
    if (norms_only_) std::erase_if(taps, [](const ScalableTap& tap) { return !tap.gain; });
    return taps;
  }

  static bool is_targeted(const ScalableTap& tap, const std::set<const Layer*>& targets) {
    return std::any_of(tap.readers.begin(), tap.readers.end(),
                       [&](const Layer* reader) { return targets.contains(reader); });
  }

  // Adds the tap's scales of least loss over all targeted readers.
  void search(const ScalableTap& tap, const std::set<const Layer*>& targets, const Statistics& x,
              BlockTensors& block) const {
    std::vector<at::Tensor> weights;
    for (const Layer* reader : tap.readers)
      if (targets.contains(reader)) weights.push_back(decode_to_own(reader->weight()));
    const Found found =
        search(at::cat(weights, 0), magnitudes(tap, x.hessian().diagonal().to(at::kCPU, at::kDouble) / 2), x);
    block[tap.name] = found.scales;
    block[tap.name + kOutcome] = at::tensor({found.alpha, found.error}, at::kDouble);
  }

  struct Found {
    double alpha, error;  // error: what is left of the loss without scales
    at::Tensor scales;
  };

  // The exponent of least loss over the readers' rows; 0 is the weight as it is.
  Found search(const at::Tensor& weight, const at::Tensor& magnitude, const Statistics& x) const {
    Found best{0, 1, at::ones({weight.size(1)})};
    const double plain = rounding_loss(grid_, weight, best.scales, x);
    for (int step = 1; step < steps_; ++step) {
      const double alpha = static_cast<double>(step) / steps_;
      const at::Tensor scales = scales_of(magnitude, alpha);
      const double error = plain > 0 ? rounding_loss(grid_, weight, scales, x) / plain : 1.0;
      if (error < best.error) best = {alpha, error, scales};
    }
    return best;
  }

  GridSpec grid_;
  int steps_;  // exponents tried: 0, 1/n, ... (n-1)/n
  bool norms_only_;
  std::string group_field_;
};

WRING_METHOD("awq-scaling", AwqScaling);

}  // namespace
}  // namespace wring
