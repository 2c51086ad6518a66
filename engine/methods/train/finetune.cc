// Fine-tuning: the targets' weights, or adapters beside them, learn to predict the next token.
#include "engine/train/losses.h"
#include "engine/train/trainer.h"

namespace wring {
namespace {

class Finetune final : public Method {
 public:
  explicit Finetune(const Params& params)
      : parts_(TrainedParts::from(params)), options_(TrainOptions::from(params)) {}

  bool reads_data() const override { return true; }
  std::optional<TrainingSize> training() const override { return options_.size(parts_.rank); }
  bool keeps_layers() const override { return true; }

  void check_model(const Model&, const std::set<const Layer*>& targets) const override {
    check_trainable(targets);
  }

  Json run(const StageInput& stage) const override {
    TrainedWeights weights(stage, parts_);
    const auto loss = [&](const at::Tensor& ids) {
      return next_token_loss(run_forward(stage.model, ids, {}).logits, ids);
    };
    Json report{{"training", train(stage, weights, options_, {loss, {}})}};
    report["layers"] = weights.store();
    return report;
  }

  void try_out(Layer& layer, const Statistics*) const override {
    parts_.store(layer, layer.weight().decode(at::kFloat), {});
  }

 private:
  TrainedParts parts_;
  TrainOptions options_;
};

WRING_METHOD("finetune", Finetune);

}  // namespace
}  // namespace wring
