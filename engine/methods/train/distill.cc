// Distillation: a compressed model learns to give the logits, and where asked for the hidden states, of the
// model that it was made of (Hinton et al. 2015; hidden states as in Jiao et al., TinyBERT, 2020).
#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>

#include "common/error.h"
#include "engine/calibrate/calibrate.h"
#include "engine/methods/train/training_method.h"
#include "engine/train/losses.h"

namespace wring {
namespace {

// For each of the student's blocks the teacher's that it is compared with: as far along, the first at least.
std::vector<std::size_t> blocks_beside(std::size_t student, std::size_t teacher) {
  std::vector<std::size_t> beside;
  for (std::size_t i = 0; i < student; ++i)
    beside.push_back(std::max<std::size_t>(1, (i + 1) * teacher / student) - 1);
  return beside;
}

std::vector<std::size_t> all_blocks(std::size_t count) {
  return blocks_beside(count, count);
}

class Distill final : public TrainingMethod {
 public:
  explicit Distill(const Params& params)
      : TrainingMethod(params),
        temperature_(params.get<double>("temperature")),
        logits_(params.get<double>("logits")),
        hidden_(params.get<double>("hidden")),
        labels_(params.get<double>("labels")),
        logits_field_(params.field("logits")),
        hidden_field_(params.field("hidden")) {}

  bool needs_reference() const override { return true; }
  bool compares_layers() const override { return false; }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    if (logits_ == 0 && hidden_ == 0)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "nothing is learned from the teacher",
                  logits_field_, "Give logits or hidden a weight above 0, or use finetune.");
    TrainingMethod::check_model(model, targets);
  }

 private:
  TrainingObjective objective(const StageInput& stage, TrainedWeights&) const override {
    Model& teacher = *stage.reference;
    check_teacher(stage.model, teacher);
    const auto decoded = std::make_shared<DecodedLayers>(teacher.layers(), stage.calibration.forward);
    return {[this, &student = stage.model, &teacher, decoded](const at::Tensor& ids) {
              return loss_of(student, teacher, ids);
            },
            {}};
  }

  void check_teacher(const Model& student, const Model& teacher) const {
    if (student.vocabulary_size() != teacher.vocabulary_size())
      throw Error(ErrorCode::kInvalidArgument, "REFERENCE_MISMATCH",
                  "the reference model has " + std::to_string(teacher.vocabulary_size()) +
                      " tokens, this one " + std::to_string(student.vocabulary_size()),
                  "reference", "Hand in a reference with the same vocabulary.");
    if (hidden_ > 0 && student.hidden_size() != teacher.hidden_size())
      throw Error(ErrorCode::kInvalidArgument, "REFERENCE_MISMATCH",
                  "the reference model's hidden states have " + std::to_string(teacher.hidden_size()) +
                      " channels, this one's " + std::to_string(student.hidden_size()),
                  hidden_field_, "Set hidden=0.");
  }

  at::Tensor loss_of(const Model& student, const Model& teacher, const at::Tensor& ids) const {
    const bool states = hidden_ > 0;
    const auto blocks = student.block_count();
    const auto taught = [&] {
      const c10::NoGradGuard unrecorded;
      return run_forward(teacher, ids,
                         states ? blocks_beside(blocks, teacher.block_count()) : std::vector<std::size_t>{});
    }();
    const auto learned = run_forward(student, ids, states ? all_blocks(blocks) : std::vector<std::size_t>{});
    at::Tensor loss = at::zeros({}, learned.logits.options());
    if (logits_ > 0) loss = loss + distillation_loss(learned.logits, taught.logits, temperature_) * logits_;
    if (labels_ > 0) loss = loss + next_token_loss(learned.logits, ids) * labels_;
    for (std::size_t i = 0; i < learned.hidden.size(); ++i)
      loss = loss + hidden_state_loss(learned.hidden[i], taught.hidden[i]) *
                        (hidden_ / static_cast<double>(learned.hidden.size()));
    return loss;
  }

  double temperature_, logits_, hidden_, labels_;
  std::string logits_field_, hidden_field_;
};

WRING_METHOD("distill", Distill);

}  // namespace
}  // namespace wring
