// Fine-tuning: the targets' weights, or adapters beside them, learn to predict the next token.
#include "engine/methods/train/training_method.h"
#include "engine/train/losses.h"

namespace wring {
namespace {

class Finetune final : public TrainingMethod {
 public:
  explicit Finetune(const Params& params) : TrainingMethod(params) {}

 private:
  TrainingObjective objective(const StageInput& stage, TrainedWeights&) const override {
    return {[&model = stage.model](const at::Tensor& ids) {
              return next_token_loss(run_forward(model, ids, {}).logits, ids);
            },
            {}};
  }
};

WRING_METHOD("finetune", Finetune);

}  // namespace
}  // namespace wring
