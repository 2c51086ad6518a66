// FLAP: the channels that fluctuate least go, and their mean stays behind as a bias (An et al., AAAI 2024).
#include "common/error.h"
#include "engine/calibrate/block_walk.h"
#include "engine/methods/structured/groups.h"

namespace wring {
namespace {

at::Tensor weight_of(const Layer& layer) {
  return layer.weight().decode(at::kFloat).cpu().to(at::kDouble);
}

// (S - mean) / std over the channels of one layer, with the sample's deviation.
at::Tensor standardised(const at::Tensor& scores) {
  const double deviation = scores.numel() > 1 ? scores.std().item<double>() : 0;
  const at::Tensor centred = scores - scores.mean();
  return deviation > 0 ? centred / deviation : centred;
}

class Flap final : public Method {
 public:
  explicit Flap(const Params& params)
      : metric_(params.get<std::string>("metric")),
        bias_(params.get<bool>("bias")),
        square_attention_(params.get<bool>("square_attention")),
        budget_(Budget::from(params)) {
    const auto structure = params.get<std::string>("structure");
    if (budget_.attention_ratio >= 0 && !structure.ends_with("MM"))
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                  "with structure=" + structure + " attention has no share of its own",
                  params.field("attention_ratio"), "Leave it out, or set structure to UL-MM or AL-MM.");
    budget_.by_block = structure.starts_with("UL");
    budget_.modules = structure == "AL-AM" ? Budget::kTogether : Budget::kApart;
    if (structure == "UL-UM") budget_.attention_ratio = budget_.ratio;
  }

  std::set<Statistic> needs() const override {
    std::set needed{Statistic::kMoments};
    if (metric_ == "WIFN") needed.insert(Statistic::kInputNorm);
    return needed;
  }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    prunable_groups(model, targets);
  }

  Json run(const StageInput& stage) const override {
    auto parts = prunable_groups(stage.model, stage.targets);
    const auto readers = readers_of(stage.model, parts);
    const auto measured = walk_blocks(stage, [&](std::size_t block, BlockStream& stream) {
      TapObserver observer(readers, needs());
      stream.observe_and_advance(block, observer);  // statistics of the dense model
      return measure(stage.model, parts, block, observer);
    });
    for (auto& part : parts) part.scores = measured[*part.groups.block].at(name_of(part) + ".scores");
    const auto kept = choose_groups(parts, budget_);
    std::vector<Json> lines;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto& mean = measured[*parts[i].groups.block].at(name_of(parts[i]) + ".mean");
      if (bias_) compensate(stage.model, parts[i], kept[i], mean);
      lines.push_back(cut_down(stage.model, parts[i], kept[i]));
    }
    return cut_report(std::move(lines), parts, kept);
  }

  void try_out(Layer& layer, const Statistics*) const override { shrink(layer, budget_.ratio); }

 private:
  // The scores of a block's groups, and the means of their readers' inputs.
  BlockTensors measure(Model& model, const std::vector<PrunableGroups>& parts, std::size_t block,
                       const TapObserver& observer) const {
    BlockTensors measured;
    for (const auto& part : parts) {
      if (part.groups.block != block) continue;
      const Layer& reader = model.reader_of(part.groups);
      const Statistics& x = *observer.of(reader);
      measured[name_of(part) + ".scores"] = score_of_groups(weight_of(reader), x, part);
      measured[name_of(part) + ".mean"] = x.mean().cpu();
    }
    return measured;
  }

  // Steps 1 to 3: each channel by the metric, standardised within its layer; a head is the mean of its
  // channels.
  at::Tensor score_of_groups(const at::Tensor& weight, const Statistics& x,
                             const PrunableGroups& part) const {
    at::Tensor channels = score_of_channels(weight, x);
    if (!at::isfinite(channels).all().item<bool>())
      throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                  "the inputs of " + name_of(part) + " hold NaN or infinity on the calibration data");
    const bool heads = part.groups.kind == CoupledGroups::Kind::kHeads;
    if (heads && square_attention_) channels = channels.square();
    const auto width = static_cast<double>(channels.numel() / part.groups.count);
    return sum_of_groups(standardised(channels), part) / width;
  }

  // v_j ||W_j||^2, the variance alone, or Wanda's mean_i |W_ij| ||x_j||.  weight [out, in] -> [in]
  at::Tensor score_of_channels(const at::Tensor& weight, const Statistics& x) const {
    if (metric_ == "WIFN") return weight.abs().mean(0) * x.input_norm().cpu().to(at::kDouble);
    const at::Tensor variance = x.variance().cpu();
    return metric_ == "IFV" ? variance : variance * weight.square().sum(0);
  }

  // b += sum over the channels that go of W_j m_j, before they are cut.
  static void compensate(Model& model, const PrunableGroups& part, const at::Tensor& kept,
                         const at::Tensor& mean) {
    if (kept.numel() == part.groups.count) return;
    Layer& reader = model.reader_of(part.groups);
    at::Tensor gone = at::ones({part.groups.count}, at::kDouble).index_fill_(0, kept, 0);
    gone = gone.repeat_interleave(mean.numel() / part.groups.count);
    at::Tensor bias = at::mv(weight_of(reader), mean * gone);
    if (reader.bias().defined()) bias += reader.bias().cpu();
    reader.set_bias(bias.to(at::kFloat));
  }

  std::string metric_;
  bool bias_, square_attention_;
  Budget budget_;
};

WRING_METHOD("flap", Flap);

}  // namespace
}  // namespace wring
