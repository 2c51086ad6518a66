// Compresso: heads, FFN channels and hidden channels learn to leave while adapters learn the text, and a
// Lagrangian holds how many there are (Guo et al., 2023).
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "common/error.h"
#include "engine/methods/structured/groups.h"
#include "engine/train/gated_groups.h"
#include "engine/train/gates.h"
#include "engine/train/losses.h"
#include "engine/train/optimizer_group.h"
#include "engine/train/trainer.h"

namespace wring {
namespace {

using Kind = CoupledGroups::Kind;

constexpr std::uint64_t kGateStream = 0x9e3779b97f4a7c15;  // apart from those of batches and adapters
constexpr std::size_t kCurve = 200;                        // points of the sparsity in the report

// Which steps do what: adapters alone, then gates are drawn, then they stay as they are.
struct Schedule {
  std::int64_t gates = 0, fixed = 0, steps = 0;  // the first step of the gates; of fixed ones; all
  SparsityRamp target;                           // by step of the gates
  double tolerance = 0;                          // around its end, for gates that are kept
};

// What widths are multiples of, unless all of it stays.
struct Multiples {
  std::int64_t channels = 1, hidden = 1;

  std::int64_t of(Kind kind) const {
    return kind == Kind::kFfn ? channels : kind == Kind::kHidden ? hidden : 1;
  }
};

// Step 7: how many groups of each part stay, those with the greatest log alpha first.
class Survivors {
 public:
  Survivors(const GatedGroups& groups, const std::vector<at::Tensor>& log_alphas, const Multiples& multiples)
      : groups_(groups), multiples_(multiples) {
    for (std::size_t i = 0; i < log_alphas.size(); ++i) {
      const at::Tensor a = log_alphas[i].detach().cpu();
      values_.push_back(a);
      order_.push_back(a.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true));
      counts_.push_back(nearest(i, keep_probability(a).sum(at::kDouble).item<double>()));
    }
  }

  double sparsity() const {
    std::vector<at::Tensor> kept;
    for (const std::int64_t count : counts_) kept.push_back(at::full({1}, static_cast<double>(count)));
    return 1 - groups_.weights_left(kept).item<double>() / groups_.weights();
  }

  // What rounding left: lots of groups of the finest kind go or come back, the least sure of all blocks
  // first, until the share that is gone is nearest to `target`. Returns how many did.
  std::int64_t settle(double target) {
    double gone = sparsity();
    for (std::int64_t moved = 0;;) {
      const bool less = gone < target;
      const auto part = next(less);
      if (!part) return moved;
      const std::int64_t before = std::exchange(counts_[*part], neighbour(*part, less));
      const double now = sparsity();
      if (std::abs(now - target) >= std::abs(gone - target)) {
        counts_[*part] = before;
        return moved;
      }
      moved += std::abs(counts_[*part] - before);
      gone = now;
    }
  }

  // Zero, or sigmoid(0.8 a / T): [count] for each part.
  std::vector<at::Tensor> gates() const {
    std::vector<at::Tensor> all;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      const at::Tensor kept = order_[i].narrow(0, 0, counts_[i]);
      all.push_back(
          at::zeros_like(values_[i]).index_copy(0, kept, settled_gates(values_[i].index_select(0, kept))));
    }
    return all;
  }

 private:
  bool has(Kind kind) const {
    return std::any_of(groups_.parts().begin(), groups_.parts().end(),
                       [&](const CoupledGroups& part) { return part.kind == kind; });
  }

  std::int64_t multiple_of(std::size_t part) const { return multiples_.of(groups_.parts()[part].kind); }

  // The width that a part has next below or above its own; its own where it may have no other.
  std::int64_t neighbour(std::size_t part, bool less) const {
    const std::int64_t m = multiple_of(part), count = counts_[part];
    const std::int64_t below = (count - 1) / m * m;
    return !less ? std::min(values_[part].numel(), (count / m + 1) * m) : below > 0 ? below : count;
  }

  std::int64_t nearest(std::size_t part, double expected) const {
    const std::int64_t m = multiple_of(part), all = values_[part].numel();
    const std::int64_t below = static_cast<std::int64_t>(expected) / m * m, above = std::min(all, below + m);
    const double middle = static_cast<double>(below + above) / 2;
    return below > 0 && expected < middle ? below : above;
  }

  // The part whose last survivor is the least sure, or whose first loser is the surest.
  std::optional<std::size_t> next(bool less) const {
    const Kind finest = has(Kind::kFfn) ? Kind::kFfn : has(Kind::kHidden) ? Kind::kHidden : Kind::kHeads;
    std::optional<std::size_t> best;
    double best_value = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (groups_.parts()[i].kind != finest || neighbour(i, less) == counts_[i]) continue;
      const std::int64_t rank = counts_[i] - (less ? 1 : 0);
      const double value = values_[i][order_[i][rank].item<std::int64_t>()].item<double>();
      if (best && (less ? value >= best_value : value <= best_value)) continue;
      best = i;
      best_value = value;
    }
    return best;
  }

  const GatedGroups& groups_;
  Multiples multiples_;
  std::vector<at::Tensor> values_, order_;  // log alpha; groups from the surest
  std::vector<std::int64_t> counts_;
};

// Adapters, gates and multipliers.
class GatedTraining final : public Trainable {
 public:
  GatedTraining(const StageInput& stage, const TrainedParts& parts, const GatedGroups& groups,
                const Schedule& schedule, const Multiples& multiples, double drop_rate)
      : groups_(groups),
        schedule_(schedule),
        multiples_(multiples),
        seed_(stage.seed),
        device_(stage.model.device()),
        weights_(stage, parts),
        adapters_(weights_.leaves()) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(seed_ ^ kGateStream);
    for (const auto& part : groups_.parts()) {
      const double mean = part.kind == Kind::kFfn ? log_alpha_of(drop_rate) : 10;
      log_alphas_.push_back(leaf(at::randn({part.count}, generator) * 0.01 + mean));
    }
    multipliers_ = leaf(at::zeros({2}));
    leaves_ = adapters_;
    leaves_.insert(leaves_.end(), log_alphas_.begin(), log_alphas_.end());
    leaves_.push_back(multipliers_);
    for (const auto& log_alpha : log_alphas_) chosen_.push_back(log_alpha.detach().clone());
    chosen_step_ = at::full({}, -1, at::TensorOptions(at::kLong));
    curve_ = at::zeros({schedule_.fixed - schedule_.gates}, at::kDouble);
    weights_.multiply(groups_.multiplied(), [this](const Layer& layer) {
      return gates_.empty() ? WeightFactors{} : groups_.factors(layer, gates_);
    });
  }

  const std::vector<at::Tensor>& leaves() const override { return leaves_; }
  const std::vector<at::Tensor>& adapters() const { return adapters_; }
  const std::vector<at::Tensor>& log_alphas() const { return log_alphas_; }
  const at::Tensor& multipliers() const { return multipliers_; }

  void begin(std::int64_t step) {
    step_ = step;
    if (step_ >= schedule_.fixed && fixed_.empty()) fix();
    if (!drawing()) return;
    auto generator = at::make_generator<at::CPUGeneratorImpl>((seed_ ^ kGateStream) + 1 +
                                                              static_cast<std::uint64_t>(step_));
    noise_.clear();
    for (const auto& part : groups_.parts()) noise_.push_back(gate_noise(part.count, generator).to(device_));
  }

  // Of a step of the gates: what they descend and the multipliers ascend.
  at::Tensor budget() const {
    return budget_loss(multipliers_, sparsity(), schedule_.target.at(step_ - schedule_.gates)).to(at::kFloat);
  }
  bool drawing() const { return step_ >= schedule_.gates && step_ < schedule_.fixed; }

  void refresh() override {
    gates_ = fixed_;
    if (drawing()) {
      gates_.clear();
      for (std::size_t i = 0; i < noise_.size(); ++i)
        gates_.push_back(sample_gates(log_alphas_[i], noise_[i]));
    }
    weights_.refresh();
  }

  void hold() override {
    weights_.hold();
    if (!drawing()) return;
    for (auto& log_alpha : log_alphas_) clamp_log_alpha(log_alpha);
    const c10::NoGradGuard unrecorded;
    const std::int64_t step = step_ - schedule_.gates;
    const double reached = sparsity().item<double>();
    curve_[step] = reached;
    if (step < schedule_.target.end || std::abs(reached - schedule_.target.last) > schedule_.tolerance)
      return;
    for (std::size_t i = 0; i < log_alphas_.size(); ++i) chosen_[i].copy_(log_alphas_[i]);
    chosen_step_.fill_(step_);
  }

  // The training is over. The groups that stay of each part, rising.
  std::vector<at::Tensor> store() {
    gates_ = fixed_;
    weights_.store();
    std::vector<at::Tensor> kept;
    for (const auto& gates : fixed_) kept.push_back(gates.cpu().nonzero().flatten());
    return kept;
  }

  Json report() const {
    std::vector<double> curve;
    const auto stride =
        static_cast<std::int64_t>((static_cast<std::size_t>(curve_.numel()) + kCurve - 1) / kCurve);
    for (std::int64_t i = 0; i < curve_.numel(); i += stride) curve.push_back(curve_[i].item<double>());
    return {{"target", schedule_.target.last},
            {"expected", curve_[-1].item<double>()},
            {"chosen_step", chosen_step_.item<std::int64_t>()},
            {"rounded", rounded_},
            {"settled_groups", settled_},
            {"curve", std::move(curve)}};
  }

  std::vector<NamedTensor> state() const override {
    auto state = weights_.state();
    for (const auto& [name, tensor] : all()) state.push_back({name, tensor.detach().cpu()});
    return state;
  }

  void set_state(const std::map<std::string, at::Tensor>& state) override {
    weights_.set_state(state);
    const c10::NoGradGuard unrecorded;
    for (auto [name, into] : all()) {
      const auto it = state.find(name);
      if (it == state.end() || it->second.sizes() != into.sizes())
        throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "no " + name + " of this shape");
      into.copy_(it->second);
    }
  }

 private:
  at::Tensor leaf(const at::Tensor& value) const { return value.to(device_).requires_grad_(true); }

  // What moves besides the adapters.
  std::vector<std::pair<std::string, at::Tensor>> all() const {
    std::vector<std::pair<std::string, at::Tensor>> tensors{
        {"multipliers", multipliers_}, {"curve", curve_}, {"chosen_step", chosen_step_}};
    for (std::size_t i = 0; i < log_alphas_.size(); ++i) {
      tensors.emplace_back("log_alpha." + std::to_string(i), log_alphas_[i]);
      tensors.emplace_back("chosen." + std::to_string(i), chosen_[i]);
    }
    return tensors;
  }

  // s = 1 - N(p) / N(1)
  at::Tensor sparsity() const {
    std::vector<at::Tensor> kept;
    for (const auto& log_alpha : log_alphas_) kept.push_back(keep_probability(log_alpha));
    return 1 - groups_.weights_left(kept) / groups_.weights();
  }

  // Steps 6 and 7.
  void fix() {
    Survivors survivors(groups_, chosen_step_.item<std::int64_t>() < 0 ? log_alphas_ : chosen_, multiples_);
    rounded_ = survivors.sparsity();
    settled_ = survivors.settle(schedule_.target.last);
    for (const auto& gates : survivors.gates()) fixed_.push_back(gates.to(device_));
  }

  const GatedGroups& groups_;
  Schedule schedule_;
  Multiples multiples_;
  std::uint64_t seed_;
  at::Device device_;
  TrainedWeights weights_;
  std::vector<at::Tensor> adapters_, log_alphas_, leaves_;
  at::Tensor multipliers_;          // lambda_1, lambda_2
  std::vector<at::Tensor> noise_;   // of this step
  std::vector<at::Tensor> gates_;   // z of the last refresh(); none: all open
  std::vector<at::Tensor> fixed_;   // a function of log alpha, which no longer moves
  std::vector<at::Tensor> chosen_;  // log alpha after the last step that was near enough to the target
  at::Tensor chosen_step_;          // int64; -1: none was
  at::Tensor curve_;                // the sparsity after each step of the gates, fp64
  std::int64_t step_ = -1;
  double rounded_ = 0;  // of the counts that rounding gives
  std::int64_t settled_ = 0;
};

class Compresso final : public Method {
 public:
  explicit Compresso(const Params& params)
      : types_(params.get<std::string>("types")),
        ratio_(params.get<double>("ratio")),
        drop_rate_(params.get<double>("drop_rate")),
        adapt_all_(params.get<std::string>("adapters") == "all"),
        gate_rate_(params.get<double>("gate_learning_rate")),
        multiplier_rate_(params.get<double>("multiplier_learning_rate")),
        adapter_rate_(params.get<double>("learning_rate")),
        parts_(TrainedParts::from(params)) {
    loop_.batch = params.get<std::int64_t>("batch");
    loop_.clip = params.get<double>("clip");
    loop_.rate = {1, params.get<std::int64_t>("steps"), 0, LearningRate::Decay::kConstant};
    loop_.rate_field = params.field("learning_rate");
    const auto share = [&](const char* name, std::int64_t of) {
      return static_cast<std::int64_t>(params.get<double>(name) * static_cast<double>(of));
    };
    schedule_.steps = loop_.rate.steps;
    schedule_.gates = share("prefinetune", schedule_.steps);
    schedule_.fixed = std::min(schedule_.steps - share("recovery", schedule_.steps), schedule_.steps - 1);
    if (schedule_.gates >= schedule_.fixed)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "no step is left for the gates",
                  params.field("steps"), "Raise it, or lower prefinetune and recovery.");
    schedule_.target = {ratio_, 0, share("ramp", schedule_.fixed - schedule_.gates), 1, 1};
    multiples_ = {params.get<std::int64_t>("multiple"), params.get<std::int64_t>("hidden_multiple")};
    schedule_.tolerance = params.get<double>("tolerance");
    recovery_ = {params.get<double>("recovery_learning_rate"), schedule_.steps - schedule_.fixed, 0,
                 LearningRate::Decay::kCosine};
  }

  bool reads_data() const override { return true; }
  // Each weight is there as it is and multiplied, and has a gradient: about as one that is trained itself.
  std::optional<TrainingSize> training() const override {
    return TrainingSize{loop_.rate.steps, loop_.batch, 0};
  }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    check_trainable(targets);
    gated_parts(model, targets);
    if (gates(Kind::kHidden)) check_hidden(model, targets);
  }

  Json run(const StageInput& stage) const override {
    Model& model = stage.model;
    const GatedGroups groups(model, gated_parts(model, stage.targets), stage.targets);
    const auto adapters = adapted(stage.targets);
    std::vector<at::Tensor> kept;
    Json report;
    {
      GatedTraining training(
          {model, adapters, stage.calibration, stage.progress, stage.snapshot, stage.reference, stage.seed},
          parts_, groups, schedule_, multiples_, drop_rate_);
      OptimizerGroup optimizer = optimizers(training);
      report["training"] = train(stage, training, optimizer, loop_, objective(model, training));
      report["sparsity"] = training.report();
      kept = training.store();
    }
    std::int64_t left = 0;
    report["layers"] = cut(model, groups.parts(), kept, report);
    for (const Layer* layer : stage.targets) left += layer->weight().rows() * layer->weight().columns();
    report["weights_removed"] = static_cast<std::int64_t>(groups.weights()) - left;
    report["sparsity"]["final"] = 1 - static_cast<double>(left) / groups.weights();
    return report;
  }

  void try_out(Layer& layer, const Statistics*) const override {
    parts_.store(layer, decode_to_own(layer.weight()), {});
    shrink(layer, ratio_);
  }

 private:
  bool gates(Kind kind) const {
    const char* const name = kind == Kind::kHeads ? "heads" : kind == Kind::kFfn ? "intermediate" : "hidden";
    return types_.find(name) != std::string::npos;
  }

  std::vector<CoupledGroups> gated_parts(const Model& model, const std::set<const Layer*>& targets) const {
    std::vector<CoupledGroups> parts;
    for (auto& part : prunable_groups(model, targets))
      if (gates(part.groups.kind)) parts.push_back(std::move(part.groups));
    for (auto& groups : model.coupled_groups())
      if (groups.kind == Kind::kHidden && gates(Kind::kHidden)) parts.push_back(std::move(groups));
    if (parts.empty())
      throw Error(ErrorCode::kInvalidArgument, "NOTHING_TO_CUT",
                  "no targeted layer has what types names: " + types_, "targets");
    return parts;
  }

  // The hidden width is that of every block, and of what is before and after them.
  static void check_hidden(const Model& model, const std::set<const Layer*>& targets) {
    std::set<const Layer*> around;
    for (const Layer* layer : model.layers()) {
      if (targets.contains(layer)) continue;
      if (std::any_of(layer->axes().begin(), layer->axes().end(),
                      [](const std::string& label) { return label.find('.') != std::string::npos; }))
        throw Error(ErrorCode::kInvalidArgument, "PARTLY_TARGETED",
                    "is left out, while hidden channels leave all blocks", layer->name(),
                    "Target all linear layers of the blocks, or leave hidden out of types.");
      around.insert(layer);
    }
    check_trainable(around);
    for (const auto& parameter : model.parameters())
      if (parameter.name.ends_with("proj.bias"))
        throw Error(ErrorCode::kInvalidArgument, "NOT_SLICEABLE",
                    "what is left of a module that was cut out has no gate", parameter.name,
                    "Leave hidden out of types.");
  }

  // Step 2: the layers that learn.
  std::set<const Layer*> adapted(const std::set<const Layer*>& targets) const {
    std::set<const Layer*> chosen;
    for (const Layer* layer : targets) {
      const std::string& out = layer->axes().front();
      if (adapt_all_ || out.ends_with(".q") || out.ends_with(".v")) chosen.insert(layer);
    }
    return chosen;
  }

  // Step 5, and the second stage's rate.
  OptimizerGroup optimizers(const GatedTraining& training) const {
    AdamWOptions ascending;
    ascending.ascend = true;
    const auto always = [](double rate) { return [rate](std::int64_t) { return rate; }; };
    std::vector<OptimizerGroup::Member> members;
    members.push_back(
        {std::make_unique<AdamW>(training.adapters(), AdamWOptions{}), [this](std::int64_t step) {
           return step < schedule_.fixed ? adapter_rate_ : recovery_.at(step - schedule_.fixed);
         }});
    members.push_back({std::make_unique<AdamW>(training.log_alphas(), AdamWOptions{}), always(gate_rate_)});
    members.push_back(
        {std::make_unique<AdamW>(std::vector{training.multipliers()}, ascending), always(multiplier_rate_)});
    return OptimizerGroup(std::move(members));
  }

  static TrainingObjective objective(const Model& model, GatedTraining& training) {
    return {[&model, &training](const at::Tensor& ids) {
              const at::Tensor loss = next_token_loss(run_forward(model, ids, {}).logits, ids);
              return training.drawing() ? loss + training.budget() : loss;
            },
            [&training](std::int64_t step) { training.begin(step); }};
  }

  // Step 9. The hidden width first, so that the lines have the shapes of the end.
  static std::vector<Json> cut(Model& model, const std::vector<CoupledGroups>& parts,
                               const std::vector<at::Tensor>& kept, Json& report) {
    std::vector<Json> lines;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].kind != Kind::kHidden) continue;
      report["hidden_channels"] = {{"kept", kept[i].numel()}, {"of", parts[i].count}};
      if (kept[i].numel() < parts[i].count) model.keep_groups(parts[i], kept[i]);
    }
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (parts[i].kind != Kind::kHidden) lines.push_back(cut_down(model, {parts[i], 0, {}}, kept[i]));
    return lines;
  }

  std::string types_;
  double ratio_, drop_rate_;
  bool adapt_all_;
  double gate_rate_, multiplier_rate_, adapter_rate_;
  TrainedParts parts_;
  LoopOptions loop_;
  Schedule schedule_;
  Multiples multiples_;
  LearningRate recovery_;
};

WRING_METHOD("compresso", Compresso);

}  // namespace
}  // namespace wring
